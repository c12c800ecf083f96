"""Rows whose operands are views (transposed, flipped, sliced with steps, broadcast), and rows of larger extents.

A backend that reads an operand where it lies must follow its strides; tiles and vectors must get their ends right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.types import ALL_DTYPES, NUMERIC, DType, bfloat16, float32, float64, int8, int32, int64
from tests.optable import Operand, Row, Values, between, distinct, given

_SMALL = between(-2, 2)
Shape = tuple[int, ...]
View = tuple[Callable[[Shape], Shape], Callable[[Builder, Node], Node]]
"""The shape to start from for a wanted one, and the view of that shape."""


def _transposed(b: Builder, x: Node) -> Node:
    return b.op("transpose", x, permutation=tuple(reversed(range(x.rank))))


def _flipped(b: Builder, x: Node) -> Node:
    return b.op("flip", x, axes=tuple(range(x.rank)))


def _every_other(b: Builder, x: Node) -> Node:
    return b.op("slice", x, starts=(1,) * x.rank, stops=x.shape, steps=(2,) * x.rank)


def _inside(b: Builder, x: Node) -> Node:
    return b.op("slice", x, starts=(2,) * x.rank, stops=tuple(d - 1 for d in x.shape), steps=(1,) * x.rank)


def _repeated(b: Builder, x: Node) -> Node:
    return b.op("broadcast_to", x, shape=(*x.shape[:-1], 6))


VIEWS: Mapping[str, View] = {
    "transposed": (lambda shape: tuple(reversed(shape)), _transposed),
    "flipped": (lambda shape: shape, _flipped),
    "every other": (lambda shape: tuple(2 * d + 1 for d in shape), _every_other),
    "inside": (lambda shape: tuple(d + 3 for d in shape), _inside),
    "repeated": (lambda shape: (*shape[:-1], 1), _repeated),
}

# Op, attributes, how many operands of shape (6, 6) come first, further operands with their own dtype.
_Case = tuple[str, Mapping[str, object], int, tuple[Operand, ...]]
_INDICES = Operand((6,), given([3, 0, 5, 5, 2, 1]), int64)
_ALONG = Operand((6, 6), between(0, 5), int64)
_CASES: Sequence[_Case] = (
    ("add", {}, 2, ()),
    ("multiply", {}, 2, ()),
    ("square", {}, 1, ()),
    ("sum", {"axes": (0,), "keepdims": False}, 1, ()),
    ("sum", {"axes": (1,), "keepdims": False}, 1, ()),
    ("max", {"axes": (1,), "keepdims": False}, 1, ()),
    ("argmin", {"axes": (0,), "keepdims": False}, 1, ()),
    ("cumsum", {"axis": 0, "reverse": False}, 1, ()),
    ("cumsum", {"axis": 1, "reverse": True}, 1, ()),
    ("matmul", {}, 2, ()),
    ("einsum", {"subscripts": "ij,kj->ki"}, 2, ()),
    ("reshape", {"shape": (4, 9)}, 1, ()),
    ("transpose", {"permutation": (1, 0)}, 1, ()),
    ("concat", {"axis": 1}, 2, ()),
    ("stack", {"axis": 1}, 2, ()),
    ("patches", {"axes": (0,), "window": (3,), "strides": (2,), "dilation": (1,)}, 1, ()),
    ("take", {"axis": 1}, 1, (_INDICES,)),
    ("take_along_axis", {"axis": 0}, 1, (_ALONG,)),
    ("argsort", {"axis": 0, "descending": True}, 1, ()),
)


def _of_views() -> Iterator[Row]:
    for op, attrs, count, others in _CASES:
        for name, (source, view) in VIEWS.items():
            # The second operand is an ordinary one: two kinds of strides in one kernel.
            shapes = [source((6, 6)), *[(6, 6)] * (count - 1)]
            draw: Values = distinct if op in ("max", "argmin", "argsort") else _SMALL

            def build(
                b: Builder,
                operands: Sequence[Node],
                element: DType,
                op: str = op,
                attrs: Mapping[str, object] = attrs,
                view: Callable[[Builder, Node], Node] = view,
            ) -> list[Node]:
                return [b.make(op, [view(b, operands[0]), *operands[1:]], attrs)]

            label = f"{name} {dict(attrs)}"
            dtypes = (float32, float64, bfloat16, int8)
            # Repeated values tie: where the position of one of them is the answer, the first is, in every backend.
            smooth = not (name == "repeated" and op in ("max", "argmin", "argsort"))
            operands = (*(Operand(shape, draw) for shape in shapes), *others)
            yield Row(op, label, operands, dtypes, build=build, smooth=smooth)


def _twice(b: Builder, operands: Sequence[Node], element: DType) -> list[Node]:
    """One buffer read in several ways by one node."""
    (x,) = operands
    return [
        b.op("add", x, _transposed(b, x)),
        b.op("matmul", x, _transposed(b, x)),
        b.op("subtract", _flipped(b, x), x),
    ]


def _written_apart(b: Builder, operands: Sequence[Node], element: DType) -> list[Node]:
    """Results that are parts of one result: each producer may write into it directly."""
    x, y = operands
    both = b.op("add", x, y)
    joined = b.op("concat", both, b.op("multiply", x, y), _transposed(b, both), axis=0)
    return [joined, b.op("stack", both, _flipped(b, both), axis=2), both, b.op("index", joined, axis=0, index=7)]


def _large() -> Iterator[Row]:
    products = (((65, 300), (300, 70)), ((1, 257), (257, 129)), ((130, 1), (1, 67)), ((2, 33, 65), (2, 65, 18)))
    for left, right in products:
        operands = (Operand(left, between(-1, 1)), Operand(right, between(-1, 1)))
        yield Row("matmul", f"large {left}×{right}", operands, (float32, float64, bfloat16, int32))
    for axes in ((0,), (1,), (0, 1)):
        attrs = {"axes": axes, "keepdims": False}
        yield Row("sum", f"large over {axes}", (Operand((67, 515), between(-1, 1)),), NUMERIC, attrs)
        yield Row("max", f"large over {axes}", (Operand((67, 515), between(-9, 9)),), NUMERIC, attrs, smooth=False)
    for axis in (0, 1):
        attrs = {"axes": (axis,), "keepdims": False}
        yield Row("argmax", f"large along {axis}", (Operand((67, 515), between(-9, 9)),), NUMERIC, attrs, smooth=False)
    whole = (Operand((67, 130), _SMALL),)
    yield Row("transpose", "large", whole, ALL_DTYPES, {"permutation": (1, 0)}, moves=True)
    yield Row("tanh", "large", whole, (float32, float64))
    yield Row("add", "large", (Operand((67, 130), _SMALL), Operand((67, 1), _SMALL)), NUMERIC)
    yield Row(
        "argsort",
        "large",
        (Operand((3, 500), between(-99, 99)),),
        NUMERIC,
        {"axis": 1, "descending": False},
        smooth=False,
    )


def rows() -> Iterator[Row]:
    """All rows of this module."""
    yield from _of_views()
    yield Row("matmul", "one operand read twice", (Operand((5, 5), _SMALL),), NUMERIC, build=_twice)
    yield Row(
        "concat",
        "parts written in place",
        (Operand((6, 6), _SMALL), Operand((6, 6), _SMALL)),
        NUMERIC,
        build=_written_apart,
    )
    yield from _large()
