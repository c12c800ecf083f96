"""Which pointwise ops are an instruction or a few, so that to compute one again costs no more than to load it."""

from __future__ import annotations

MOST_KEPT_BYTES = 1 << 19
"""Of values of one row that are kept between walks over it: about half of a second-level cache."""

SLOW_OPS = frozenset({"divide", "sqrt", "reciprocal"})
"""Those of :data:`SIMPLE_OPS` that take several times as long as the others."""

SIMPLE_OPS = frozenset(
    [
        "add",
        "subtract",
        "multiply",
        "divide",
        "negative",
        "abs",
        "square",
        "relu",
        "maximum",
        "minimum",
        "select",
        "cast",
        "sqrt",
        "reciprocal",
        "stop_gradient",
        "sign",
        "floor",
        "ceil",
        "trunc",
        "round",
        "copysign",
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "isnan",
        "isinf",
        "isfinite",
        "logical_not",
        "logical_and",
        "logical_or",
        "logical_xor",
        "bitwise_invert",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "bitwise_left_shift",
        "bitwise_right_shift",
    ]
)
