"""Cotangents of parts of one value, put back together.

Those of ``index`` and ``slice`` are kept apart as pieces until all of them are known.  Pieces that do not overlap are
written side by side (T steps that each read ``x[t]`` give one ``stack`` of T rows); the naive sum of padded pieces
would be quadratic in T.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from graphc.ir.builder import Builder
from graphc.ir.node import Node
from graphc.ir.types import TensorType

Piece = tuple[Node, Node]
"""An ``index`` or ``slice`` of a value, and its cotangent."""


def assemble(b: Builder, pieces: Sequence[Piece], type_: TensorType) -> list[Node]:
    """Cotangents of a value of type ``type_`` whose sum is that of its pieces."""
    by_axis: dict[int, dict[int, Node]] = defaultdict(dict)
    ranges: dict[int, dict[tuple[int, int], Node]] = defaultdict(dict)
    whole: list[Node] = []
    for reader, cotangent in pieces:
        if reader.op.name == "index" and isinstance(type_.shape[reader.attrs["axis"]], int):
            rows = by_axis[reader.attrs["axis"]]
            position = reader.attrs["index"]
            rows[position] = b.op("add", rows[position], cotangent) if position in rows else cotangent
            continue
        axis = None if reader.op.name == "index" else _sliced_axis(reader, type_)
        if axis is None:
            rule = reader.op.vjp
            assert rule is not None
            placed = rule(b, reader, [cotangent])[0]
            assert placed is not None
            whole.append(placed)
            continue
        span = (reader.attrs["starts"][axis], reader.attrs["stops"][axis])
        spans = ranges[axis]
        spans[span] = b.op("add", spans[span], cotangent) if span in spans else cotangent
    result = [_stack_rows(b, rows, axis, type_) for axis, rows in by_axis.items()]
    for axis, spans in ranges.items():
        result.extend(_concat_spans(b, spans, axis, type_))
    return result + whole


def _sliced_axis(reader: Node, type_: TensorType) -> int | None:
    """The one axis that a unit-step ``slice`` cuts, or None where it cuts several or none or has steps."""
    starts, stops, steps = (reader.attrs[name] for name in ("starts", "stops", "steps"))
    cut = [axis for axis in range(type_.rank) if (starts[axis], stops[axis], steps[axis]) != (0, type_.shape[axis], 1)]
    if len(cut) != 1 or steps[cut[0]] != 1 or not isinstance(type_.shape[cut[0]], int):
        return None
    return cut[0]


def _zeros(b: Builder, type_: TensorType) -> Node:
    zero = b.constant(0, type_.dtype)
    return b.op("broadcast_to", zero, shape=type_.shape) if type_.shape else zero


def _stack_rows(b: Builder, rows: dict[int, Node], axis: int, type_: TensorType) -> Node:
    """All rows of ``type_`` along ``axis``; those without a cotangent are zero."""
    length = type_.shape[axis]
    assert isinstance(length, int)
    row_type = type_.with_shape((*type_.shape[:axis], *type_.shape[axis + 1 :]))
    if len(rows) == length:
        return b.op("stack", *(rows[position] for position in range(length)), axis=axis)
    # Runs of rows are stacked, the gaps between them are one block of zeros each: nodes grow with the rows read, not
    # with the length.
    parts: list[Node] = []
    run: list[Node] = []
    next_row = 0
    for position in [*sorted(rows), length]:
        if run and position != next_row:
            parts.append(b.op("stack", *run, axis=axis))
            run = []
        if position > next_row:
            gap = (*row_type.shape[:axis], position - next_row, *row_type.shape[axis:])
            parts.append(_zeros(b, type_.with_shape(gap)))
        if position < length:
            run.append(rows[position])
        next_row = position + 1
    if run:
        parts.append(b.op("stack", *run, axis=axis))
    return parts[0] if len(parts) == 1 else b.op("concat", *parts, axis=axis)


def _concat_spans(b: Builder, spans: dict[tuple[int, int], Node], axis: int, type_: TensorType) -> list[Node]:
    """Spans laid side by side with zeros between; overlapping ones go into further layers, to be added."""
    layers: list[list[tuple[int, int]]] = []
    for span in sorted(spans):
        for layer in layers:
            if layer[-1][1] <= span[0]:
                layer.append(span)
                break
        else:
            layers.append([span])
    length = type_.shape[axis]
    assert isinstance(length, int)
    result = []
    for layer in layers:
        parts: list[Node] = []
        end = 0
        for start, stop in [*layer, (length, length)]:
            if start > end:
                gap = (*type_.shape[:axis], start - end, *type_.shape[axis + 1 :])
                parts.append(_zeros(b, type_.with_shape(gap)))
            if (start, stop) in spans and stop > start:
                parts.append(spans[(start, stop)])
            end = stop
        result.append(parts[0] if len(parts) == 1 else b.op("concat", *parts, axis=axis))
    return result
