"""Where a dimension of open size stands in each tensor of a graph, and which ops keep its elements apart.

For a dimension such as ``time`` or ``batch``, each value over it is a *series*: elements that are computed one like the
other.  An op either computes each element of its result from the same element of its operands, or it *folds* them all
into a value of fixed size, by a sum for instance.  What does neither cannot be done for a size that only the call says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from graphc.errors import UnsupportedOp
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim, Poly, divide_exact, product, symbol
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.types import DType, bool_
from graphc.ops.linalg import split_subscripts

FOLDS = {
    "sum": "add",
    "max": "maximum",
    "min": "minimum",
    "prod": "multiply",
    "any": "logical_or",
    "all": "logical_and",
}
"""Reduction → the op that combines the results of two elements."""


def neutral(b: Builder, combine: str, dtype: DType) -> Node:
    """What changes nothing: 0 for sums, 1 for products, the lowest number for a maximum and so on."""
    if combine in ("maximum", "minimum"):
        low = combine == "maximum"
        if dtype.is_float:
            number: float = -np.inf if low else np.inf
        elif dtype is bool_:
            number = not low
        else:
            number = getattr(np.iinfo(dtype.storage), "min" if low else "max")
    else:
        number = {"multiply": 1, "logical_and": True, "logical_or": False}.get(combine, 0)
    return b.constant(number, dtype)


@dataclass(frozen=True)
class Layout:
    """Where a dimension stands in a tensor: ``axis`` is ``outer`` · the dimension · ``inner``, in row-major order."""

    axis: int
    outer: Dim = 1
    inner: Dim = 1

    @property
    def is_plain(self) -> bool:
        """Is it the dimension alone?"""
        return self.outer == self.inner == 1


@dataclass
class Series:
    """The values of a graph over one dimension.

    Attributes:
        graph: whose values they are.
        name: of the dimension.
        layouts: the series: nodes whose shape has the dimension.
        unsettled: those of them whose elements are alike, so that nothing has said yet in which order they lie: zeros
            of shape (batch·time, 6), for instance.  The first value that meets them says it.
    """

    graph: Graph
    name: str
    layouts: dict[Node, Layout] = field(default_factory=dict)
    unsettled: set[Node] = field(default_factory=set)

    def fail(self, node: Node, why: str) -> UnsupportedOp:
        """What to raise for a node."""
        name = self.name
        lines = self.graph.note(node).locations
        return UnsupportedOp(
            "E334",
            f"{node.op.name}: {why}, which cannot be done for a size {name!r} that only the call says",
            lines[0] if lines else None,
            f"give it a value when compiling: --dim {name}=N, or dims={{{name!r}: N}}",
        )

    def is_over(self, dim: Dim) -> bool:
        """Is the dimension part of ``dim``?"""
        return isinstance(dim, Poly) and self.name in dim.symbols

    def find_layout(self, node: Node) -> None:
        """Where the dimension stands in the node's shape.

        Raises:
            UnsupportedOp: twice, or as part of a sum (E334).
        """
        shape = node.tensor.shape
        found = [axis for axis, dim in enumerate(shape) if self.is_over(dim)]
        if not found:
            return
        if len(found) > 1:
            raise self.fail(node, f"its shape ({', '.join(map(str, shape))}) has {self.name} twice")
        (axis,) = found
        count = divide_exact(shape[axis], symbol(self.name))
        if count is None or self.is_over(count):
            raise self.fail(node, f"a dimension is {shape[axis]}")
        given = [one for one in node.inputs if one in self.layouts]
        if node.op.name == "reshape":
            self.layouts[node] = self._reshaped(node, axis, count)
        elif count == 1:
            self.layouts[node] = Layout(axis)
        elif self.unsettled.issuperset(given):
            self.layouts[node] = Layout(axis, 1, count)
            if node.op.kind is OpKind.POINTWISE or node.op.name in ("broadcast_to", "random_uniform"):
                self.unsettled.add(node)
            else:
                self.settle(given)
        else:
            self.settle(given)
            blocks = {(self.layouts[one].outer, self.layouts[one].inner) for one in given}
            outer, inner = blocks.pop()
            if blocks or outer * inner != count:
                raise self.fail(node, f"what lies along a dimension of {shape[axis]} comes in two orders")
            self.layouts[node] = Layout(axis, outer, inner)

    def _reshaped(self, node: Node, axis: int, count: Dim) -> Layout:
        """Where the dimension stands in the result of a ``reshape``."""
        (operand,) = node.inputs
        if operand in self.unsettled:
            if count != 1:
                self.unsettled.add(node)
                return Layout(axis, 1, count)
            self._settle(*self._below(node, Layout(axis)))
        before = self.layouts[operand]
        ahead = divide_exact(before.outer * product(operand.shape[: before.axis]), product(node.shape[:axis]))
        behind = None if ahead is None else divide_exact(count, ahead)
        if ahead is None or behind is None:
            raise self.fail(node, f"its shape is ({', '.join(map(str, node.shape))})")
        return Layout(axis, ahead, behind)

    def settle(self, series: Sequence[Node]) -> None:
        """Give values that meet the same order, that of the first which has one."""
        settled = [self.layouts[one] for one in series if one not in self.unsettled]
        for one in series:
            if one in self.unsettled:
                first = settled[0] if settled else self.layouts[one]
                self._settle(one, first.outer, first.inner)

    def _settle(self, node: Node, outer: Dim, inner: Dim) -> None:
        """Say in which order the elements of a node lie, and so those of what it is made of."""
        pending = [(node, outer, inner)]
        while pending:
            node, outer, inner = pending.pop()
            self.unsettled.discard(node)
            layout = self.layouts[node] = replace(self.layouts[node], outer=outer, inner=inner)
            for one in node.inputs:
                if one not in self.unsettled:
                    continue
                pending.append(self._below(node, layout) if node.op.name == "reshape" else (one, outer, inner))

    def _below(self, node: Node, layout: Layout) -> tuple[Node, Dim, Dim]:
        """What a ``reshape`` reads, and in which order its elements lie if those of the result have ``layout``."""
        (operand,) = node.inputs
        its = self.layouts[operand]
        outer = divide_exact(layout.outer * product(node.shape[: layout.axis]), product(operand.shape[: its.axis]))
        inner = None if outer is None else divide_exact(its.outer * its.inner, outer)
        if outer is None or inner is None:
            raise self.fail(node, f"its shape is ({', '.join(map(str, node.shape))})")
        return operand, outer, inner

    def check_fold(self, node: Node) -> None:
        """Complain where a value of fixed size cannot be put together element by element.

        Raises:
            UnsupportedOp: E334.
        """
        name, size = node.op.name, symbol(self.name)
        series = [one for one in node.inputs if one in self.layouts]
        self.settle(series)
        first = self.layouts[series[0]]
        if name == "matmul":
            kept = [self._is_kept(node, position) for position in range(2)]
            fits = len(series) == 2 and self._same_blocks(series) and not any(kept)
        elif name == "einsum":
            letters = self._letters(node)
            fits = len(series) == 2 and len(set(letters)) == 1 and letters[0] not in _result_letters(node)
            fits = fits and self._same_blocks(series)
        elif name == "index":
            fits = first.is_plain and node.attrs["axis"] == first.axis and node.attrs["index"] in (0, size - 1)
        elif name == "scatter_add":
            fits = node.inputs[0] not in self.layouts and len(series) == 2 and self._is_aligned(node)
        else:
            fits = name in FOLDS and first.axis in node.attrs["axes"]
        if not fits:
            raise self.fail(node, f"{series[0].type!r} to {node.type!r}")

    def _same_blocks(self, series: Sequence[Node]) -> bool:
        return len({(self.layouts[one].outer, self.layouts[one].inner) for one in series}) == 1

    def _letters(self, node: Node) -> list[str]:
        """The letters of an ``einsum`` that stand for the dimension, one a series."""
        sides = split_subscripts(str(node.attrs["subscripts"]))
        pairs = zip(sides, node.inputs, strict=False)
        return [letters[self.layouts[one].axis] for letters, one in pairs if one in self.layouts]

    def _is_aligned(self, node: Node) -> bool:
        """Do indices and updates of a scatter have the dimension at the same place?"""
        indices, updates = node.inputs[1:]
        place, other = self.layouts[indices], self.layouts[updates]
        return other == Layout(place.axis + int(node.attrs["axis"]), place.outer, place.inner)

    def check_step(self, node: Node) -> None:
        """Complain where the elements of a series cannot be computed one by one.

        Raises:
            UnsupportedOp: E334.
        """
        layout, name, kind, attrs = self.layouts[node], node.op.name, node.op.kind, node.attrs
        given = [(one, self.layouts[one]) for one in node.inputs if one in self.layouts]
        from_the_end = node.rank - layout.axis
        if kind is OpKind.POINTWISE or name == "broadcast_to":
            fits = all(one.rank - its.axis == from_the_end for one, its in given)
        elif name in ("reshape", "stop_gradient", "random_uniform"):
            fits = True
        elif name == "transpose":
            fits = attrs["permutation"][layout.axis] == given[0][1].axis
        elif name == "iota":
            fits = layout.is_plain or attrs["axis"] != layout.axis
        elif name == "flip":
            fits = layout.axis not in attrs["axes"]
        elif name == "matmul":
            fits = all(self._is_kept(node, place) for place in range(2) if node.inputs[place] in self.layouts)
        elif kind is OpKind.REDUCTION and "axes" in attrs:
            fits = given[0][1].axis not in attrs["axes"]
        elif name == "einsum":
            fits = set(self._letters(node)) == {_result_letters(node)[layout.axis]}
        elif name in ("patches", "fold_patches"):
            fits = given[0][1] == layout and layout.axis not in attrs["axes"]
        elif name in ("cumsum", "argsort"):
            fits = attrs["axis"] != layout.axis
        elif name in ("pad", "slice"):
            fits = bool(given) and given[0][1] == layout and self._leaves(node, layout.axis)
        elif name == "concat":
            fits = len(given) == len(node.inputs) and attrs["axis"] != layout.axis
        elif name in ("index", "stack"):
            fits = len(given) == len(node.inputs) and attrs["axis"] != (
                given[0][1].axis if name == "index" else layout.axis
            )
        elif name == "take":
            table, indices = node.inputs
            fits = table not in self.layouts
            fits = fits or (indices not in self.layouts and attrs["axis"] != self.layouts[table].axis)
        elif name == "scatter_add":
            fits = node.inputs[1] not in self.layouts and attrs["axis"] != layout.axis
        else:
            fits = name in ("take_along_axis", "scatter_add_along_axis") and len(given) == len(node.inputs)
            fits = fits and attrs["axis"] != layout.axis and all(its == layout for _, its in given)
        if not fits:
            raise self.fail(node, f"it gives {node.type!r}")

    def _leaves(self, node: Node, axis: int) -> bool:
        """Does a ``pad`` or ``slice`` leave the dimension as it is?"""
        names = ("low", "high") if node.op.name == "pad" else ("starts",)
        untouched = all(node.attrs[name][axis] == 0 for name in names)
        return untouched and node.shape[axis] is node.inputs[0].shape[axis]

    def _is_kept(self, node: Node, position: int) -> bool:
        """Does a product keep the dimension of its operand, in place of summing over it?"""
        operand = node.inputs[position]
        summed = operand.rank - 1 if position == 0 or operand.rank == 1 else operand.rank - 2
        return operand not in self.layouts or self.layouts[operand].axis != summed


def _result_letters(node: Node) -> str:
    return split_subscripts(str(node.attrs["subscripts"]))[2]
