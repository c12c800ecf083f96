"""Cells on top of each other, and what a cell of the user's own may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.recurrent_cells import Cell
from graphc.ir.dim import Dim


def checked_cell(cell: Any) -> Any:
    """A cell: something with ``state_size`` that takes (inputs, states)."""
    if not hasattr(cell, "state_size") or not (hasattr(cell, "call") or callable(cell)):
        message = f"a recurrent cell has a state_size and call(inputs, states), got {type(cell).__name__}"
        raise fail(GraphcTypeError, "E213", message)
    return cell


def output_size_of(cell: Any) -> Any:
    """The size of a cell's output: what it says, or the first of its state."""
    size = getattr(cell, "output_size", None)
    if size is None:
        size = cell.state_size
        while isinstance(size, (list, tuple)):
            size = size[0]
    return size


def fresh_cell(cell: Any) -> Any:
    """A cell like this one with weights of its own."""
    if isinstance(cell, Layer):
        return cell.fresh_copy()
    raise fail(
        GraphcTypeError,
        "E213",
        f"cannot copy a {type(cell).__name__} for the other direction",
        "give Bidirectional a backward_layer with a cell of its own",
    )


def build_cell(cell: Any, owner: Layer, shape: tuple[Dim, ...], prefix: str) -> None:
    """Make a cell's weights, with the owner's dtype and, below ``prefix``, its name."""
    if not isinstance(cell, Layer) or cell.built:
        return
    cell.name = prefix + cell.name if prefix.endswith("/") else prefix
    if cell._dtype is None:
        cell._dtype = owner.dtype
    cell._trainable = cell._trainable and owner._trainable
    cell.build(shape)
    cell.built = True


def call_cell(cell: Any, x: Tensor, states: Sequence[Any]) -> tuple[Tensor, list[Any]]:
    """One step of any cell: its output and the list of its new states."""
    result = cell(x, states) if callable(cell) else cell.call(x, states)
    if not isinstance(result, (list, tuple)) or len(result) != 2 or not isinstance(result[0], Tensor):
        message = f"a step of {type(cell).__name__} gives (output, states), got {type(result).__name__}"
        raise fail(GraphcTypeError, "E213", message, None, x)
    output, after = result
    return output, list(after) if isinstance(after, (list, tuple)) else [after]


class StackedRNNCells(Layer):
    """Cells on top of each other as one: each reads the output of the one below.

    Args:
        cells: cells, or objects with ``state_size`` and ``call(x, states)``.
        options: as in :class:`Layer`.
    """

    def __init__(self, cells: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        if not cells:
            raise fail(GraphcValueError, "E213", "StackedRNNCells needs at least one cell")
        self.cells = [checked_cell(cell) for cell in cells]

    @property
    def state_size(self) -> list[Any]:
        """The state sizes of the cells."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        """The size of the last cell's output."""
        return output_size_of(self.cells[-1])

    def fresh_copy(self) -> StackedRNNCells:
        """A stack of fresh copies."""
        return StackedRNNCells([fresh_cell(cell) for cell in self.cells], name=self.name)

    def build(self, shape: tuple[Dim, ...]) -> None:
        """The cells' weights, from the bottom."""
        for cell in self.cells:
            build_cell(cell, self, shape, f"{self.name}/")
            shape = (shape[0], output_size_of(cell))

    def begin_sequence(self, x: Tensor, batch: Dim, features: Dim) -> None:
        """Draw the dropout of one sequence in every cell."""
        for cell in self.cells:
            if isinstance(cell, (Cell, StackedRNNCells)):
                cell.begin_sequence(x, batch, features)
            features = output_size_of(cell)

    def end_sequence(self) -> None:
        """Forget the dropout of the sequence."""
        for cell in self.cells:
            if isinstance(cell, (Cell, StackedRNNCells)):
                cell.end_sequence()

    def call(self, x: Tensor, states: Sequence[Any]) -> tuple[Tensor, list[Any]]:
        """One step of every cell; ``states`` has an entry a cell."""
        following = []
        for cell, state in zip(self.cells, states, strict=True):
            given = list(state) if isinstance(state, (list, tuple)) else [state]
            x, after = call_cell(cell, x, given)
            following.append(after[0] if isinstance(after, list) and not isinstance(state, (list, tuple)) else after)
        return x, following
