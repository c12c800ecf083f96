"""Derivatives that are stated, because the form that differentiation gives is wrong or inaccurate somewhere.

Each function is ``partial(b, g, *inputs, out)``: ``g`` times the partial derivative.  ``docs/DERIVATIVES.md`` lists
them with the reason, and a test proves each one equal to the derivative of the op's expression.  Guards select among
*arguments*, so that the branch not taken stays finite and the next derivative is right too.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.ir.builder import Builder
from graphc.ir.node import Node


def _asin_x(b: Builder, g: Node, x: Node, out: Node) -> Node:
    """Gives g / √((1 - x)(1 + x)): 1 - x² loses all digits near 1."""
    one = b.full_like(x, 1.0)
    return b.op("divide", g, b.op("sqrt", b.op("multiply", b.op("subtract", one, x), b.op("add", one, x))))


def _acos_x(b: Builder, g: Node, x: Node, out: Node) -> Node:
    """The negative of asin'."""
    return b.op("negative", _asin_x(b, g, x, out))


def _asinh_x(b: Builder, g: Node, x: Node, out: Node) -> Node:
    """Gives g / hypot(x, 1): x² would overflow."""
    return b.op("divide", g, b.op("hypot", x, b.full_like(x, 1.0)))


def _atanh_x(b: Builder, g: Node, x: Node, out: Node) -> Node:
    """Gives g / ((1 - x)(1 + x))."""
    one = b.full_like(x, 1.0)
    return b.op("divide", g, b.op("multiply", b.op("subtract", one, x), b.op("add", one, x)))


def _softplus_x(b: Builder, g: Node, x: Node, out: Node) -> Node:
    """Gives g · sigmoid(x): eˣ / (1 + eˣ) is NaN where eˣ overflows."""
    return b.op("multiply", g, b.op("sigmoid", x))


def _atan2_x(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    """Gives g · (y/r)/r with r = hypot(x, y): r² would overflow or underflow."""
    radius = b.op("hypot", x, y)
    return b.op("multiply", g, b.op("divide", b.op("divide", y, radius), radius))


def _atan2_y(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    """-g · (x/r)/r."""
    radius = b.op("hypot", x, y)
    return b.op("negative", b.op("multiply", g, b.op("divide", b.op("divide", x, radius), radius)))


def _hypot_x(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    """Gives g · x/out, and 0 at the origin, as for abs."""
    return b.op("multiply", g, b.op("divide", x, _nonzero(b, out)))


def _hypot_y(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    return _hypot_x(b, g, y, x, out)


def _nonzero(b: Builder, value: Node) -> Node:
    return b.op("select", b.op("equal", value, b.full_like(value, 0.0)), b.full_like(value, 1.0), value)


def _logaddexp_x(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    """Gives g · sigmoid(x - y), where x - y is 0 for equal infinities: two masked (-∞) entries give no NaN."""
    masked = b.op("logical_and", b.op("equal", x, y), b.op("isinf", x))
    difference = b.op("select", masked, b.full_like(x, 0.0), b.op("subtract", x, y))
    return b.op("multiply", g, b.op("sigmoid", difference))


def _logaddexp_y(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    return _logaddexp_x(b, g, y, x, out)


def _copysign_x(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    """Gives g · sign(x) · (±1 by the sign bit of y): 0 at x = 0, as for abs."""
    return b.op("multiply", g, b.op("multiply", b.op("sign", x), b.op("copysign", b.full_like(y, 1.0), y)))


def _pow_x(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    """Gives g · y·xʸ⁻¹, and 0 for 0⁰ (a constant function there), where 0·0⁻¹ would be NaN."""
    zero = b.full_like(x, 0.0)
    both_zero = b.op("logical_and", b.op("equal", x, zero), b.op("equal", y, zero))
    exponent = b.op("select", both_zero, zero, b.op("subtract", y, b.full_like(y, 1.0)))
    return b.op("multiply", g, b.op("multiply", y, b.op("pow", x, exponent)))


def _pow_y(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    """Gives g · xʸ·log x, and 0 for x = 0 ≤ y, where 0·log 0 would be NaN."""
    zero = b.full_like(x, 0.0)
    at_zero = b.op("logical_and", b.op("equal", x, zero), b.op("greater_equal", y, zero))
    return b.op("multiply", g, b.op("multiply", out, b.op("log", b.op("select", at_zero, b.full_like(x, 1.0), x))))


def _remainder_x(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    return g


def _remainder_y(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    """-g · floor(x/y)."""
    return b.op("negative", b.op("multiply", g, b.op("floor_divide", x, y)))


def _relu_x(b: Builder, g: Node, x: Node, out: Node) -> Node:
    """Gives g where x > 0, else 0."""
    return b.op("select", b.op("greater", x, b.full_like(x, 0.0)), g, b.full_like(g, 0.0))


def _extremum(b: Builder, g: Node, ours: Node, out: Node, other: Node) -> Node:
    """Gives g for the operand that won, half of it for each of two equal ones."""
    half = b.op("multiply", b.full_like(g, 0.5), g)
    won = b.op("select", b.op("equal", ours, out), g, b.full_like(g, 0.0))
    return b.op("select", b.op("equal", ours, other), half, won)


def _extremum_x(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    return _extremum(b, g, x, out, y)


def _extremum_y(b: Builder, g: Node, x: Node, y: Node, out: Node) -> Node:
    return _extremum(b, g, y, out, x)


def _select_y(b: Builder, g: Node, condition: Node, x: Node, y: Node, out: Node) -> Node:
    return b.op("select", condition, g, b.full_like(g, 0.0))


def _select_z(b: Builder, g: Node, condition: Node, x: Node, y: Node, out: Node) -> Node:
    return b.op("select", condition, b.full_like(g, 0.0), g)


STATED: dict[str, tuple[Callable[..., Node] | None, ...]] = {
    "acos": (_acos_x,),
    "asin": (_asin_x,),
    "asinh": (_asinh_x,),
    "atan2": (_atan2_x, _atan2_y),
    "atanh": (_atanh_x,),
    "copysign": (_copysign_x, None),
    "hypot": (_hypot_x, _hypot_y),
    "logaddexp": (_logaddexp_x, _logaddexp_y),
    "maximum": (_extremum_x, _extremum_y),
    "minimum": (_extremum_x, _extremum_y),
    "pow": (_pow_x, _pow_y),
    "relu": (_relu_x,),
    "remainder": (_remainder_x, _remainder_y),
    "select": (None, _select_y, _select_z),
    "softplus": (_softplus_x,),
}
