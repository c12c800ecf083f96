"""Artifacts: importable folders that hold a compiled model and need numpy only."""
