"""Region ops: ``loop`` with ``result``, and ``fused``.

A loop's derivative is a loop.  Reverse mode runs the loop once more, stacking what the derivative reads of each step
(the pass ``share`` makes one loop of the two), and then a loop over the reversed slices, whose body pulls cotangents
back through one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphcIndexError, GraphcTypeError, GraphcValueError
from graphc.ir.attrs import Attrs
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim
from graphc.ir.graph import Graph
from graphc.ir.interp import evaluate_region
from graphc.ir.node import Node
from graphc.ir.op import Array, OpDef, OpKind, register
from graphc.ir.types import TensorType, TupleType, ValueType, int64, round_to, tensor_type, tuple_type
from graphc.ops.composite import region_jvp, region_vjp
from graphc.ops.loop_derivatives import loop_jvp, loop_vjp
from graphc.ops.loop_parts import make_loop
from graphc.ops.rules import check_axis, check_length, is_below

__all__ = ["make_loop"]


def _check_operand(what: str, given: TensorType, expected: TensorType) -> None:
    if given is not expected:
        raise GraphcValueError("E211", f"loop: {what} is {given!r}, the body takes {expected!r}")


def _element(position: int, sequence: TensorType, place: Sequence[Any], trips: Dim) -> TensorType:
    """The type of one step's element of a sequence, whose first and last position must exist."""
    if len(place) != 3:
        raise GraphcValueError("E211", f"loop: slice {position} is (axis, start, step), got {place}")
    axis, start, step = check_axis("loop", place[0], sequence.rank), place[1], place[2]
    dim = sequence.shape[axis]
    if trips != 0:
        for reached in (start, start + step * (trips - 1)):
            if is_below(reached, 0) or is_below(dim - 1, reached):
                raise GraphcIndexError(
                    "E220",
                    f"loop: {trips} steps of {step} from {start} leave axis {axis} of sequence {sequence!r}",
                )
    return sequence.with_shape((*sequence.shape[:axis], *sequence.shape[axis + 1 :]))


def _infer_loop(attrs: Attrs, inputs: Sequence[Any]) -> TupleType:
    body, trips = attrs["body"], attrs["trips"]
    carries, invariants, slices = attrs["carries"], attrs["invariants"], attrs["slices"]
    if is_below(trips, 0):
        raise GraphcValueError("E211", f"loop: the number of steps is {trips}")
    check_length("loop", "operands", inputs, carries + invariants + len(slices))
    check_length("loop", "inputs of the body", body.inputs, 1 + len(inputs))
    if body.updates or body.states:
        raise GraphcValueError("E211", "loop: a body has no state of its own", hint="carry the value")
    expected = [node.tensor for node in body.inputs]
    _check_operand("the step number", tensor_type(int64), expected[0])
    for position in range(carries + invariants):
        what = f"carry {position}" if position < carries else f"invariant {position - carries}"
        _check_operand(what, inputs[position], expected[1 + position])
    for position, place in enumerate(slices):
        where = carries + invariants + position
        _check_operand(
            f"an element of sequence {position}", _element(position, inputs[where], place, trips), expected[1 + where]
        )
    results = [node.tensor for node in body.output_nodes]
    if len(results) < carries:
        raise GraphcValueError("E211", f"loop: {carries} carries, but the body gives {len(results)} values")
    for position in range(carries):
        if results[position] is not inputs[position]:
            raise GraphcValueError(
                "E211",
                f"loop: carry {position} enters as {inputs[position]!r} and leaves the body as {results[position]!r}",
            )
    stacked = [type_.with_shape((trips, *type_.shape)) for type_ in results[carries:]]
    return tuple_type([*results[:carries], *stacked])


def _evaluate_loop(attrs: Attrs, *arrays: Array, result: TupleType) -> list[Array]:
    body, carries, slices = attrs["body"], attrs["carries"], attrs["slices"]
    trips = _static(attrs["trips"])
    first_sequence = len(arrays) - len(slices)
    values = [round_to(array, node.dtype) for array, node in zip(arrays, body.inputs[1:], strict=True)]
    state, invariants, sequences = values[:carries], values[carries:first_sequence], values[first_sequence:]
    rows: list[list[Array]] = [[] for _ in result.elements[carries:]]
    for step in range(trips):
        elements = [
            np.take(sequence, _static(start) + stride * step, axis=axis)
            for sequence, (axis, start, stride) in zip(sequences, slices, strict=True)
        ]
        outputs = evaluate_region(body, [np.asarray(step, np.int64), *state, *invariants, *elements])
        state = outputs[:carries]
        for row, value in zip(rows, outputs[carries:], strict=True):
            row.append(value)
    stacks = [
        np.stack(row) if row else np.zeros(type_.static_shape, type_.dtype.carrier)
        for row, type_ in zip(rows, result.elements[carries:], strict=True)
    ]
    return [*state, *stacks]


def _static(dim: Dim) -> int:
    if isinstance(dim, int):
        return dim
    raise GraphcValueError("E340", f"loop: {dim} is symbolic", hint=f"bind {', '.join(dim.symbols)}")


def _infer_result(attrs: Attrs, inputs: Sequence[Any]) -> TensorType:
    (source,) = inputs
    if not isinstance(source, TupleType):
        raise GraphcTypeError("E213", f"result takes one of several results, {source!r} has one")
    index = attrs["index"]
    if not 0 <= index < len(source.elements):
        raise GraphcIndexError("E220", f"result {index} of {len(source.elements)}")
    return source.elements[index]


def _evaluate_result(attrs: Attrs, values: Sequence[Array], *, result: TensorType) -> Array:
    return values[attrs["index"]]


def _infer_fused(attrs: Attrs, inputs: Sequence[Any]) -> ValueType:
    body: Graph = attrs["body"]
    check_length("fused", "operands", inputs, len(body.inputs))
    for position, (given, node) in enumerate(zip(inputs, body.inputs, strict=True)):
        if given is not node.type:
            raise GraphcValueError("E211", f"fused: operand {position} is {given!r}, the body takes {node.type!r}")
    types = [node.tensor for node in body.output_nodes]
    return types[0] if len(types) == 1 else tuple_type(types)


def _evaluate_fused(attrs: Attrs, *arrays: Array, result: ValueType) -> Any:
    body: Graph = attrs["body"]
    values = [round_to(array, node.dtype) for array, node in zip(arrays, body.inputs, strict=True)]
    outputs = evaluate_region(body, values)
    return outputs if isinstance(result, TupleType) else outputs[0]


def _fused_vjp(b: Builder, node: Node, cotangents: Sequence[Node | None]) -> list[Node | None]:
    return region_vjp(b, node.attrs["body"], node, cotangents)


def _fused_jvp(b: Builder, node: Node, tangents: Sequence[Node | None]) -> list[Node | None]:
    return region_jvp(b, node.attrs["body"], node, tangents)


register(
    OpDef(
        "loop",
        OpKind.REGION,
        _infer_loop,
        _evaluate_loop,
        loop_vjp,
        loop_jvp,
        attributes=("trips", "body", "carries", "invariants", "slices"),
        summary="run a body trips times: carries, invariants and slices in, final carries and stacked values out",
    )
)
# A result has no rules of its own: a walk hands its cotangent to the producer, at position ``index``, and
# takes its tangent from there.
register(
    OpDef(
        "result",
        OpKind.REGION,
        _infer_result,
        _evaluate_result,
        attributes=("index",),
        summary="one of several results",
        arity=1,
    )
)
register(
    OpDef(
        "fused",
        OpKind.REGION,
        _infer_fused,
        _evaluate_fused,
        _fused_vjp,
        _fused_jvp,
        attributes=("body",),
        summary="nodes that become one kernel",
    )
)
