"""What a random graph is made of: functions that propose a node of one family, with operands from the pool.

Each returns a node or None.  Functions with poles, kinks or limited domains get operands that keep away from them by
construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.types import FLOATS, bool_, float32, float64, int8, int32, int64, tensor_type, uint8
from graphc.ops.loop import make_loop

if TYPE_CHECKING:
    from tests.generators import GraphMaker

Proposal = Callable[["GraphMaker"], "Node | None"]

_SMOOTH = ("tanh", "sigmoid", "sin", "cos", "atan", "erf", "softplus", "asinh", "negative", "square", "stop_gradient")
_POSITIVE = ("sqrt", "log", "log1p", "log2", "log10", "reciprocal")
_LIMITED = ("asin", "acos", "atanh", "tan", "exp", "expm1", "sinh", "cosh")
_KINKED = ("relu", "abs", "sign", "floor", "ceil", "trunc", "round", "isnan", "isinf", "isfinite")
_COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
_INTEGER = (
    "add",
    "subtract",
    "multiply",
    "floor_divide",
    "remainder",
    "maximum",
    "minimum",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
)


def _fits(x: Node, y: Node) -> bool:
    if x.dtype is not y.dtype:
        return False
    return all(p == q or 1 in (p, q) for p, q in zip(reversed(x.shape), reversed(y.shape), strict=False))


def _partner(m: GraphMaker, x: Node) -> Node:
    """A node that broadcasts together with ``x``; sometimes a constant."""
    found = m.pick(lambda node: _fits(x, node)) if m.rng.random() < 0.85 else None
    if found is not None:
        return found
    return m.constant(float(m.rng.uniform(-2, 2)) if x.dtype.is_float else m.number(0, 3), x.dtype)


def _shifted_square(m: GraphMaker, x: Node) -> Node:
    """x² + 0.375: positive, with all derivatives."""
    return m.op("add", m.op("square", x), m.constant(0.375, x.dtype))


def _inside(m: GraphMaker, x: Node) -> Node:
    """0.75 · tanh(x): inside (-1, 1)."""
    return m.op("multiply", m.constant(0.75, x.dtype), m.op("tanh", x))


# -- pointwise ---------------------------------------------------------------------------------------------------------


def _unary(m: GraphMaker) -> Node | None:
    x = m.float_node()
    return None if x is None else m.op(m.one_of(_SMOOTH), x)


def _positive(m: GraphMaker) -> Node | None:
    x = m.float_node()
    return None if x is None else m.op(m.one_of(_POSITIVE), _shifted_square(m, x))


def _limited(m: GraphMaker) -> Node | None:
    x = m.float_node()
    if x is None:
        return None
    name = m.one_of((*_LIMITED, "acosh"))
    if name == "acosh":
        return m.op(name, m.op("add", _shifted_square(m, x), m.constant(1, x.dtype)))
    return m.op(name, _inside(m, x))


def _kinked(m: GraphMaker) -> Node | None:
    x = m.float_node()
    return None if x is None else m.op(m.one_of(_KINKED), x)


def _binary(m: GraphMaker) -> Node | None:
    x = m.float_node()
    if x is None:
        return None
    y = _partner(m, x)
    name = m.one_of(
        (
            "add",
            "add",
            "subtract",
            "multiply",
            "multiply",
            "logaddexp",
            "maximum",
            "minimum",
            "hypot",
            "atan2",
            "copysign",
        )
    )
    if m.rng.random() < 0.5:
        x, y = y, x
    if name in ("hypot", "atan2"):
        y = _shifted_square(m, y)
    return m.op(name, x, y)


def _quotient(m: GraphMaker) -> Node | None:
    x = m.float_node()
    if x is None:
        return None
    name = m.one_of(("divide", "divide", "pow", "remainder", "floor_divide"))
    if name == "pow":
        return m.op("pow", _shifted_square(m, x), _inside(m, _partner(m, x)))
    return m.op(name, x, _shifted_square(m, _partner(m, x)))


def _compare(m: GraphMaker) -> Node | None:
    x = m.any_node()
    return None if x is None else m.op(m.one_of(_COMPARISONS), x, _partner(m, x) if x.dtype is not bool_ else x)


def _select(m: GraphMaker) -> Node | None:
    condition = m.pick(lambda node: node.dtype is bool_)
    if condition is None:
        return None
    x = m.pick(
        lambda node: all(
            p == q or 1 in (p, q) for p, q in zip(reversed(node.shape), reversed(condition.shape), strict=False)
        )
    )
    return None if x is None else m.op("select", condition, x, _partner(m, x) if x.dtype is not bool_ else condition)


def _logic(m: GraphMaker) -> Node | None:
    x = m.pick(lambda node: node.dtype is bool_)
    if x is None:
        return None
    if m.rng.random() < 0.3:
        return m.op(m.one_of(("logical_not", "bitwise_invert")), x)
    y = m.pick(lambda node: _fits(x, node))
    return m.op(m.one_of(("logical_and", "logical_or", "logical_xor", "bitwise_and")), x, y or x)


def _integer(m: GraphMaker) -> Node | None:
    x = m.integer_node()
    if x is None:
        return None
    if m.rng.random() < 0.25:
        return m.op(m.one_of(("negative", "abs", "square", "bitwise_invert", "sign", "relu", "floor")), x)
    if m.rng.random() < 0.2:
        return m.op(
            m.one_of(("bitwise_left_shift", "bitwise_right_shift", "pow")), x, m.constant(m.number(0, 9), x.dtype)
        )
    return m.op(m.one_of(_INTEGER), x, _partner(m, x))


def _cast(m: GraphMaker) -> Node | None:
    x = m.any_node()
    if x is None:
        return None
    targets = (*FLOATS, float32, float64, int32, int64, int8, uint8, bool_)
    return m.op("cast", x, dtype=m.one_of(targets))


# -- structure ---------------------------------------------------------------------------------------------------------


def _reduce(m: GraphMaker) -> Node | None:
    x = m.pick(lambda node: node.rank >= 1 and node.dtype is not bool_)
    if x is None:
        return None
    axes = tuple(axis for axis in range(x.rank) if m.rng.random() < 0.6)
    name = m.one_of(("sum", "sum", "sum", "max", "min", "prod"))
    return m.op(name, x, axes=axes, keepdims=bool(m.number(0, 1)))


def _reduce_other(m: GraphMaker) -> Node | None:
    x = m.any_node(1)
    if x is None:
        return None
    axis, keepdims = m.number(0, x.rank - 1), bool(m.number(0, 1))
    if x.dtype is bool_:
        return m.op(m.one_of(("any", "all")), x, axes=(axis,), keepdims=keepdims)
    name = m.one_of(("argmax", "argmin", "cumsum", "cumsum", "argsort"))
    if name == "cumsum":
        return m.op(name, x, axis=axis, reverse=keepdims)
    if name == "argsort":
        return m.op(name, x, axis=axis, descending=keepdims)
    return m.op(name, x, axes=(axis,), keepdims=keepdims)


def _reshape(m: GraphMaker) -> Node | None:
    x = m.any_node()
    if x is None:
        return None
    size = x.tensor.static_size
    splits = [d for d in range(1, size + 1) if size % d == 0] or [1]
    first = m.one_of(splits)
    return m.op("reshape", x, shape=m.one_of(((size,), (first, size // first), (1, *x.shape), (*x.shape, 1))))


def _move(m: GraphMaker) -> Node | None:
    x = m.any_node(1)
    if x is None:
        return None
    axis = m.number(0, x.rank - 1)
    match m.one_of(("transpose", "flip", "slice", "index", "broadcast", "pad")):
        case "transpose":
            return m.op("transpose", x, permutation=tuple(int(p) for p in m.rng.permutation(x.rank)))
        case "flip":
            return m.op("flip", x, axes=(axis,))
        case "slice":
            starts = tuple(m.number(0, d) for d in x.shape)
            stops = tuple(m.number(start, d) for start, d in zip(starts, x.shape, strict=True))
            return m.op("slice", x, starts=starts, stops=stops, steps=tuple(m.number(1, 2) for _ in x.shape))
        case "index":
            return m.op("index", x, axis=axis, index=m.number(0, max(0, x.shape[axis] - 1)))
        case "broadcast":
            return m.op("broadcast_to", x, shape=(m.number(1, 3), *(m.number(1, 4) if d == 1 else d for d in x.shape)))
        case _:
            low, high = (tuple(m.number(0, 2) for _ in x.shape) for _ in range(2))
            return m.op("pad", x, m.constant(m.number(0, 2), x.dtype), low=low, high=high)


def _join(m: GraphMaker) -> Node | None:
    x = m.any_node(0, 3)
    if x is None:
        return None
    y = m.pick(lambda node: node.type is x.type) or x
    parts = [x, y] if m.rng.random() < 0.6 else [y, x, y]
    if x.rank == 0 or m.rng.random() < 0.4:
        return m.op("stack", *parts, axis=m.number(0, x.rank))
    return m.op("concat", *parts, axis=m.number(0, x.rank - 1))


def _matmul(m: GraphMaker) -> Node | None:
    x = m.pick(lambda node: 2 <= node.rank <= 3 and node.dtype is not bool_)
    if x is None:
        return None
    y = m.pick(lambda node: node.rank == 2 and node.dtype is x.dtype and node.shape[0] == x.shape[-1])
    if y is None:
        return m.op("matmul", x, m.op("transpose", x, permutation=(*range(x.rank - 2), x.rank - 1, x.rank - 2)))
    return m.op("matmul", x, y)


def _einsum(m: GraphMaker) -> Node | None:
    x = m.pick(lambda node: node.rank == 2 and node.dtype is not bool_)
    if x is None:
        return None
    y = m.pick(lambda node: node.rank == 2 and node.dtype is x.dtype)
    return m.op(
        "einsum", x, y or x, subscripts=m.one_of(("ij,ij->ij", "ij,ij->i", "ij,kj->ik", "ij,jk->ki", "ij,ij->ji"))
    )


def _patches(m: GraphMaker) -> Node | None:
    x = m.float_node(1, 2)
    if x is None or 0 in x.shape:
        return None
    axis = m.number(0, x.rank - 1)
    window = m.number(1, min(3, x.shape[axis]))
    attrs = {"axes": (axis,), "window": (window,), "strides": (m.number(1, 2),), "dilation": (1,)}
    seen = m.op("patches", x, **attrs)
    return m.op("fold_patches", seen, **attrs, shape=x.shape) if m.rng.random() < 0.5 else seen


# -- indexing, images, regions -----------------------------------------------------------------------------------------


def _indices(m: GraphMaker, shape: Sequence[int], limit: int) -> Node:
    """Positions in [0, limit): a constant, or worked out of an integer node of the pool."""
    known = m.pick(lambda node: node.dtype is int64 and node.shape == tuple(shape)) if limit > 0 else None
    if known is not None:
        return m.op("remainder", known, m.constant(limit, int64))
    return m.constant(m.rng.integers(0, max(limit, 1), tuple(shape)), int64)


def _index(m: GraphMaker) -> Node | None:
    x = m.pick(lambda node: 1 <= node.rank <= 3 and 0 not in node.shape)
    if x is None:
        return None
    axis = m.number(0, x.rank - 1)
    name = m.one_of(("take", "scatter_add", "take_along_axis", "scatter_add_along_axis"))
    along = tuple(m.number(1, 4) if place == axis else d for place, d in enumerate(x.shape))
    if name == "take_along_axis":
        return m.op(name, x, _indices(m, along, x.shape[axis]), axis=axis)
    if name == "take" or x.dtype is bool_:
        return m.op("take", x, _indices(m, m.shape(0, 2), x.shape[axis]), axis=axis)
    if name == "scatter_add_along_axis":
        updates = m.op("broadcast_to", m.constant(m.number(1, 3), x.dtype), shape=along)
        return m.op(name, x, _indices(m, along, x.shape[axis]), updates, axis=axis)
    count = m.number(1, 4)
    where = _indices(m, (count,), x.shape[axis])
    updates = m.op("take", x, where, axis=axis)
    return m.op("scatter_add", x, where, updates, axis=axis)


def _image(m: GraphMaker) -> Node | None:
    """Convolution or pooling over one spatial axis of a rank-3 node."""
    x = m.pick(lambda node: node.rank == 3 and node.dtype.is_float and 0 not in node.shape)
    if x is None:
        return None
    window = m.number(1, min(3, x.shape[1]))
    attrs = {
        "strides": (m.number(1, 2),),
        "padding": ((m.number(0, window - 1), m.number(0, 1)),),
        "dilation": (1,),
        "layout": "NWC",
    }
    match m.one_of(("conv", "conv_transpose", "max_pool", "average_pool")):
        case "max_pool":
            return m.op("max_pool", x, window=(window,), **attrs)
        case "average_pool":
            return m.op("average_pool", x, window=(window,), count_include_pad=bool(m.number(0, 1)), **attrs)
        case name:
            outer = x.shape[2] if name == "conv_transpose" else m.number(1, 3)
            inner = x.shape[2] if name == "conv" else m.number(1, 3)
            kernel = m.constant(m.rng.uniform(-1, 1, (window, inner, outer)), x.dtype)
            more = {"output_padding": (0,)} if name == "conv_transpose" else {}
            return m.op(name, x, kernel, groups=1, kernel_layout="WIO", **attrs, **more)


def _source(m: GraphMaker) -> Node | None:
    match m.one_of(("iota", "constant", "random")):
        case "iota":
            shape = m.shape(1, 2)
            return m.op(
                "iota", shape=shape, axis=m.number(0, len(shape) - 1), dtype=m.one_of((int64, float32, int8, float64))
            )
        case "constant":
            element = m.one_of((*FLOATS, float32, int64))
            return m.constant(m.rng.uniform(-3, 3, m.shape()), element)
        case _:
            key = m.constant([m.number(0, 9), m.number(0, 9)], int64)
            return m.op(
                "random_uniform", key, shape=m.shape(), stream=m.number(0, 3), dtype=m.one_of((float32, float64))
            )


def _loop(m: GraphMaker) -> Node | None:
    """A written-out ``loop`` node over the first axis of a node: c ← tanh(c·½ + s), stacked."""
    from graphc.ir.builder import Builder

    x = m.pick(lambda node: 1 <= node.rank <= 3 and node.dtype.is_float and 0 not in node.shape)
    if x is None:
        return None
    b, row = Builder(), tensor_type(x.dtype, x.shape[1:])
    step, carry, element = b.input("t", tensor_type(int64)), b.input("c", row), b.input("s", row)
    following = b.op("tanh", b.op("add", b.op("multiply", carry, b.constant(0.5, x.dtype)), element))
    body = Graph.make("body", [step, carry, element], [("c", following), ("y", b.op("subtract", following, carry))])
    start = m.op("broadcast_to", m.constant(0.25, x.dtype), shape=row.shape)
    forward = bool(m.number(0, 1))
    place = (0, 0, 1) if forward else (0, x.shape[0] - 1, -1)
    return m.known(m.one_of(make_loop(m.b, x.shape[0], body, [start], [], [x], [place])))


PROPOSALS: tuple[tuple[float, Proposal], ...] = (
    (10, _unary),
    (4, _positive),
    (3, _limited),
    (2, _kinked),
    (12, _binary),
    (4, _quotient),
    (3, _compare),
    (3, _select),
    (2, _logic),
    (4, _integer),
    (4, _cast),
    (5, _reduce),
    (3, _reduce_other),
    (3, _reshape),
    (7, _move),
    (4, _join),
    (4, _matmul),
    (2, _einsum),
    (2, _patches),
    (4, _index),
    (2, _image),
    (3, _source),
    (1.5, _loop),
)
"""Weight and function of each family."""
