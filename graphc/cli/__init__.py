"""The command line: one module a verb."""

from graphc.cli.main import main

__all__ = ["main"]
