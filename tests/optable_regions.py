"""Rows of sources, random numbers, and the ops with a region: ``loop``, ``result``, ``fused``, ``custom_gradient``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import (
    ALL_DTYPES,
    NUMERIC,
    DType,
    bool_,
    float32,
    float64,
    from_carrier,
    int64,
    round_to,
    tensor_type,
)
from graphc.ops.loop import make_loop
from tests.optable import Array, Operand, Row, between, edge, specials

_SMALL = between(-1, 1)

# -- sources -----------------------------------------------------------------------------------------------------------


def special_array(element: DType) -> Array:
    """The special values of a dtype as a boundary array."""
    return from_carrier(round_to(specials(element).astype(element.compute), element), element)


def _constant(b: Builder, operands: Sequence[Node], element: DType) -> list[Node]:
    carried = round_to(np.asarray([[1, 0, 2], [3, 1, 0]]).astype(element.compute), element)
    shapes = [b.constant(value, element) for value in (carried, carried[0, 0], carried[:, :0], carried[:1])]
    edges = round_to(specials(element).astype(element.compute), element)
    return [*shapes, b.constant(edges, element)]


def _state(b: Builder, operands: Sequence[Node], element: DType) -> list[Node]:
    values = special_array(element)
    return [
        b.state(State(f"{element}/vector", tensor_type(element, values.shape), values)),
        b.state(State(f"{element}/scalar", tensor_type(element, ()), values[1])),
        b.state(State(f"{element}/empty", tensor_type(element, (0, 2)), values[:0].repeat(2).reshape(0, 2))),
    ]


def _sources() -> Iterator[Row]:
    for shape in ((3, 4), (), (0,), (1,)):
        yield Row(
            "input",
            str(shape),
            (Operand(shape, edge),),
            ALL_DTYPES,
            build=lambda b, operands, element: operands,
            smooth=False,
            moves=True,
        )
    yield Row("constant", "arrays", (), ALL_DTYPES, build=_constant, smooth=False, moves=True)
    yield Row("state", "variables", (), ALL_DTYPES, build=_state, smooth=False, moves=True)
    yield Row("training", "scalar", (), (bool_,), build=lambda b, operands, element: [b.op("training")], smooth=False)
    for shape, axis in (((7,), 0), ((3, 5), 0), ((3, 5), 1), ((0, 2), 1), ((300,), 0), ((1, 1), 1)):

        def iota(
            b: Builder, operands: Sequence[Node], element: DType, shape: tuple[int, ...] = shape, axis: int = axis
        ) -> list[Node]:
            return [b.op("iota", shape=shape, axis=axis, dtype=element)]

        yield Row("iota", f"{shape} along {axis}", (), NUMERIC, build=iota, smooth=False)


def _random() -> Iterator[Row]:
    """Random numbers are the same bits everywhere."""
    keys = ((0, 0), (2**62 + 12345, 7), (-1, 2**40 + 3))
    for number, key in enumerate(keys):
        for shape in ((), (5,), (3, 7), (0, 2), (130,)):

            def draw(
                b: Builder,
                operands: Sequence[Node],
                element: DType,
                shape: tuple[int, ...] = shape,
                stream: int = number * (2**31 - 1),
            ) -> list[Node]:
                return [b.op("random_uniform", operands[0], shape=shape, stream=stream, dtype=element)]

            held = Operand((2,), lambda rng, shape, dtype, key=key: np.asarray(key, np.int64), int64)
            yield Row(
                "random_uniform",
                f"{shape} key {number}",
                (held,),
                (float32, float64),
                build=draw,
                smooth=False,
                moves=True,
            )


# -- regions -----------------------------------------------------------------------------------------------------------


def region(
    types: Sequence[tuple[DType, tuple[int, ...]]], make: Callable[..., Sequence[Node]], name: str = "body"
) -> Graph:
    """A closed graph over inputs of ``types``; ``make(b, *inputs)`` gives its outputs."""
    b = Builder()
    inputs = [b.input(f"p{k}", tensor_type(*type_)) for k, type_ in enumerate(types)]
    return Graph.make(name, inputs, [(f"r{k}", node) for k, node in enumerate(make(b, *inputs))], builder=b)


def running_body(element: DType, width: int) -> Graph:
    """carry ← carry · w + s, which also is stacked; the second carry counts steps."""

    def make(b: Builder, t: Node, carry: Node, count: Node, w: Node, s: Node) -> list[Node]:
        following = b.op("add", b.op("multiply", carry, w), s)
        return [following, b.op("add", count, t), following, b.op("add", s, s)]

    types = [(int64, ()), (element, (width,)), (int64, ()), (element, (width,)), (element, (width,))]
    return region(types, make)


def _loop(trips: int, axis: int, start: int, step: int) -> Callable[[Builder, Sequence[Node], DType], list[Node]]:
    def build(b: Builder, operands: Sequence[Node], element: DType) -> list[Node]:
        carry, count, w, xs = operands
        return make_loop(
            b, trips, running_body(element, carry.shape[0]), [carry, count], [w], [xs], [(axis, start, step)]
        )

    return build


def _nested(b: Builder, operands: Sequence[Node], element: DType) -> list[Node]:
    """A loop in a loop: the inner one runs over the columns of the outer one's row."""
    carry, xs = operands
    inner = region(
        [(int64, ()), (element, ()), (element, ())],
        lambda b, t, c, s: [b.op("add", b.op("multiply", c, b.constant(0.5 if element.is_float else 3, element)), s)],
        "inner",
    )
    outer = region(
        [(int64, ()), (element, ()), (element, (4,))],
        lambda b, t, c, row: [made := make_loop(b, 4, inner, [c], [], [row], [(0, 0, 1)])[0], made],
        "outer",
    )
    return make_loop(b, 3, outer, [carry], [], [xs], [(0, 0, 1)])


def _swapping(b: Builder, operands: Sequence[Node], element: DType) -> list[Node]:
    """Carries that change places, one that stays, and an invariant that becomes a carry."""
    types = [(int64, ()), *([(element, (3,))] * 4)]
    body = region(types, lambda b, t, p, q, r, v: [q, b.op("add", p, v), r, p])
    return make_loop(b, 5, body, operands[:3], [operands[3]])


def _loops() -> Iterator[Row]:
    for label, trips, axis, start, step, shape in (
        ("forward", 5, 0, 0, 1, (5, 3)),
        ("backward", 5, 0, 4, -1, (5, 3)),
        ("every other, second axis", 3, 1, 1, 2, (3, 7)),
        ("one step", 1, 0, 2, 1, (5, 3)),
        ("no step", 0, 0, 0, 1, (5, 3)),
        ("long", 40, 0, 0, 1, (41, 3)),
    ):
        operands = (
            Operand((3,), _SMALL),
            Operand((), between(0, 5), int64),
            Operand((3,), _SMALL),
            Operand(shape, _SMALL),
        )
        for op in ("loop", "result"):
            yield Row(op, label, operands, NUMERIC, build=_loop(trips, axis, start, step))
    yield Row("loop", "nested", (Operand((), _SMALL), Operand((3, 4), _SMALL)), NUMERIC, build=_nested)
    yield Row("loop", "swapping", tuple(Operand((3,), _SMALL) for _ in range(4)), NUMERIC, build=_swapping)


def _fused(b: Builder, operands: Sequence[Node], element: DType) -> list[Node]:
    one = region([(element, (4, 3)), (element, (3,))], lambda b, x, y: [b.op("multiply", b.op("add", x, y), y)])
    total = region(
        [(element, (4, 3)), (element, (3,))],
        lambda b, x, y: [b.op("sum", b.op("multiply", x, y), axes=(1,), keepdims=False)],
    )
    two = region([(element, (4, 3)), (element, (3,))], lambda b, x, y: [b.op("subtract", x, y), b.op("add", x, y)])
    several = b.op("fused", *operands, body=two)
    return [
        b.op("fused", *operands, body=one),
        b.op("fused", *operands, body=total),
        b.op("result", several, index=0),
        b.op("result", several, index=1),
    ]


def _custom(b: Builder, operands: Sequence[Node], element: DType) -> list[Node]:
    """x² · y with its true derivatives by both, so that the gradient suite can hold it against differences."""
    shape = (2, 3)
    forward = region([(element, shape)] * 2, lambda b, x, y: [b.op("multiply", b.op("square", x), y)], "forward")

    def back(b: Builder, x: Node, y: Node, out: Node, g: Node) -> list[Node]:
        return [b.op("multiply", g, b.op("multiply", b.op("add", x, x), y)), b.op("multiply", g, b.op("square", x))]

    def push(b: Builder, x: Node, y: Node, out: Node, tx: Node, ty: Node) -> list[Node]:
        return [
            b.op(
                "add",
                b.op("multiply", tx, b.op("multiply", b.op("add", x, x), y)),
                b.op("multiply", ty, b.op("square", x)),
            )
        ]

    backward = region([(element, shape)] * 4, back, "backward")
    backward = Graph.make("backward", backward.inputs, [(str(k), node) for k, node in enumerate(backward.output_nodes)])
    tangent = region([(element, shape)] * 5, push, "tangent")
    return [
        b.make(
            "custom_gradient", operands, {"name": "cubic", "forward": forward, "backward": backward, "tangent": tangent}
        )
    ]


def rows() -> Iterator[Row]:
    """All rows of this module."""
    yield from _sources()
    yield from _random()
    yield from _loops()
    yield Row(
        "fused",
        "pointwise, reduced, several results",
        (Operand((4, 3), _SMALL), Operand((3,), _SMALL)),
        NUMERIC,
        build=_fused,
    )
    yield Row("custom_gradient", "cubic", (Operand((2, 3), _SMALL), Operand((2, 3), _SMALL)), NUMERIC, build=_custom)
