"""The ops: ``import graphc.ops`` fills the registry of :mod:`graphc.ir.op`.

Each op stands in one module of its kind with inference, derivatives and reference evaluation side by side.
"""

from graphc.ops import (
    arithmetic,
    conv,
    conversion,
    custom,
    elementary,
    indexing,
    integer,
    linalg,
    logical,
    loop,
    movement,
    pooling,
    random,
    reduce,
    source,
    windows,
)

__all__ = [
    "arithmetic",
    "conv",
    "conversion",
    "custom",
    "elementary",
    "indexing",
    "integer",
    "linalg",
    "logical",
    "loop",
    "movement",
    "pooling",
    "random",
    "reduce",
    "source",
    "windows",
]
