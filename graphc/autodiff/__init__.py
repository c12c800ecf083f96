"""Symbolic differentiation: graph functions, so derivatives of any order are repeated application."""
