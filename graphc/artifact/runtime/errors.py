"""The exceptions of the runtime; in an artifact a copy of ``graphc/errors.py`` stands in this file's place."""

from graphc.errors import (
    GraphcError,
    GraphcImportError,
    GraphcIndexError,
    GraphcKeyError,
    GraphcMemoryError,
    GraphcOSError,
    GraphcRuntimeError,
    GraphcTypeError,
    GraphcValueError,
    nearest,
)

__all__ = [
    "GraphcError",
    "GraphcImportError",
    "GraphcIndexError",
    "GraphcKeyError",
    "GraphcMemoryError",
    "GraphcOSError",
    "GraphcRuntimeError",
    "GraphcTypeError",
    "GraphcValueError",
    "nearest",
]
