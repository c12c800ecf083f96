"""Passes: Graph → Graph, each small, named, verified before and after, and switched off by name."""
