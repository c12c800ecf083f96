"""How each op becomes a NumPy expression: one table of rules, by topic."""
