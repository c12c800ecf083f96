"""Threads: what of a program several of them share, and the pool in the code itself that runs them."""
