"""Readable NumPy source: what a person would have written for the same model."""
