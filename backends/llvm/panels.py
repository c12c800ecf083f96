"""Packing: copies of a contraction's operands in the very order in which its tiles read them.

The right operand becomes panels as wide as a tile, [panel][depth][tile width]; rows of the left one become
[tile][depth][tile rows].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from graphc.backends.llvm.conversion import memory_type, register_type
from graphc.backends.llvm.emitter import Function, Loop
from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.memory import Lanes
from graphc.backends.llvm.threads.team import Team, each, where
from graphc.backends.llvm.values import Value, integer
from graphc.kernel.loopir import Load
from graphc.kernel.tiling import Contraction, panel_terms

WINDOW = 8
"""Rows of an operand that are copied to all tiles before the next ones: the processor foresees so many streams."""


def row_major(plan: Contraction, extents: Sequence[int], size: int) -> dict[int, int]:
    """Steps along the axes of the sum where positions of ``size`` elements lie one after another."""
    steps = {}
    for axis in reversed(plan.depth):
        steps[axis] = size
        size *= extents[axis]
    return steps


def panel_size(plan: Contraction, extents: Sequence[int]) -> int:
    """Elements of one panel."""
    return panel_terms(plan, extents) * plan.tile_vectors * plan.lanes


def panel_coefficients(plan: Contraction, extents: Sequence[int]) -> tuple[int, ...]:
    """Elements from position to position along the outer axes, where all panels are packed at once."""
    coefficients = [0] * len(extents)
    if plan.packing == "once":
        size = panel_size(plan, extents) * -(-extents[plan.column] // (plan.tile_vectors * plan.lanes))
        for axis in reversed(plan.outer):
            coefficients[axis] = size
            size *= extents[axis]
    return tuple(coefficients)


def emit_pack(evaluator: Evaluator, plan: Contraction, panels: Value, team: Team | None = None) -> None:
    """All panels of a contraction's right operand, as a function of its own; a team shares them."""
    with ExitStack() as stack:
        loops = open_axes(evaluator, stack, plan.outer)
        evaluator.mark()
        with evaluator.scope({}):
            PanelPacker(evaluator, plan, panels, team).pack(integer(0), evaluator.kernel.extents[plan.depth[0]])
        for loop in reversed(loops):
            evaluator.fn.end_loop(loop)


class PanelPacker:
    """Packs the panels for one position of the outer axes, which the evaluator has bound; a team shares them."""

    def __init__(self, evaluator: Evaluator, plan: Contraction, panels: Value, team: Team | None = None) -> None:
        self.team = team
        self.evaluator = evaluator
        self.fn = evaluator.fn
        self.plan = plan
        self.extents = evaluator.kernel.extents
        self.width = plan.tile_vectors * plan.lanes
        self.vector = register_type(evaluator.kernel.values[plan.right].dtype, plan.lanes)
        self.element = self.vector.with_lanes(1)
        self.align = min(64, self.vector.bits // 8 * plan.lanes)
        self.steps = row_major(plan, self.extents, self.width)
        self.panels = self.fn.element(panels, self.element, evaluator.offset(panel_coefficients(plan, self.extents)))
        self.transposes = self._can_transpose()

    def pack(self, start: Value, count: int | Value) -> None:
        """Positions ``start`` to ``start + count`` of the outermost axis of the sum."""
        full, rest = divmod(self.extents[self.plan.column], self.width)
        lanes, axis = self.plan.lanes, self.plan.column

        part = None if self.team is None else self.team.part(full + bool(rest))

        def window(first: Value, size: int | Value) -> None:
            def whole(panel: Value) -> None:
                vectors = (Lanes(axis, lanes, lanes),) * self.plan.tile_vectors
                self._panel(panel, self.fn.multiply(panel, self.width), vectors, start, first, size)

            def ragged() -> None:
                vectors = [Lanes(axis, lanes, min(lanes, rest - done)) for done in range(0, rest, lanes)]
                self._panel(integer(full), integer(full * self.width), vectors, start, first, size)

            each(self.evaluator, part, full, whole, ragged if rest else None)

        if self.transposes:
            window(integer(0), count)
        else:
            each_window(self.fn, self.plan, count, window)

    def _panel(
        self,
        number: Value,
        column: Value,
        vectors: Sequence[Lanes],
        start: Value,
        first: Value,
        count: int | Value,
    ) -> None:
        """``count`` positions of a panel from ``first`` on; its position 0 is ``start`` of the operand."""
        fn, evaluator = self.fn, self.evaluator
        place = fn.element(self.panels, self.element, fn.multiply(number, panel_size(self.plan, self.extents)))
        transposes = self.transposes and not any(some.is_partial for some in vectors)
        innermost = len(self.plan.depth) - 1
        with ExitStack() as stack:
            loops: list[Loop] = []
            for depth, axis in enumerate(self.plan.depth):
                evaluator.mark()
                trips: int | Value = count if depth == 0 else self.extents[axis]
                by = self.plan.lanes if transposes and depth == innermost else 1
                loop = fn.begin_loop(_divided(fn, trips, by))
                index = fn.multiply(loop.index, by)
                if depth == 0:
                    index = fn.add(first, index)
                place = fn.element(place, self.element, fn.multiply(index, self.steps[axis]))
                position = fn.add(start, index) if depth == 0 else index
                stack.enter_context(evaluator.scope({axis: position}))
                loops.append(loop)
            if transposes:
                self._transpose(place, column, len(vectors))
            else:
                self._copy(place, column, vectors)
            for loop in reversed(loops):
                fn.end_loop(loop)

    def _copy(self, place: Value, column: Value, vectors: Sequence[Lanes]) -> None:
        """One row of a panel."""
        fn, evaluator, lanes = self.fn, self.evaluator, self.plan.lanes
        evaluator.mark()
        for position, some in enumerate(vectors):
            with evaluator.scope({self.plan.column: fn.add(column, integer(position * lanes))}, some):
                value = evaluator.spread(evaluator.value(self.plan.right), lanes)
                fn.store(value, fn.element(place, self.element, integer(position * lanes)), self.align)

    # -- transposition ---------------------------------------------------------------------------------------------

    def _can_transpose(self) -> bool:
        """True where the operand lies along the innermost axis of the sum, in whole vectors."""
        value = self.evaluator.kernel.values[self.plan.right]
        if not isinstance(value, Load) or value.dtype.bits < 32 or self.plan.lanes < 4:
            return False
        axis = self.plan.depth[-1]
        whole = self.extents[axis] % self.plan.lanes == 0
        if len(self.plan.depth) == 1 and self.plan.depth_block:
            whole = whole and self.plan.depth_block % self.plan.lanes == 0
        return whole and value.map.coefficients[axis] == 1 and value.map.coefficients[self.plan.column] != 1

    def _transpose(self, place: Value, column: Value, across: int) -> None:
        """As many rows of a panel as a vector has lanes: squares are read along the sum and turned in registers."""
        fn, evaluator, lanes = self.fn, self.evaluator, self.plan.lanes
        value = evaluator.kernel.values[self.plan.right]
        assert isinstance(value, Load)
        element = memory_type(value.dtype)
        evaluator.mark()
        for position in range(across):
            with evaluator.scope({self.plan.column: fn.add(column, integer(position * lanes))}):
                first = evaluator.address(value.param, value.map)
            step = value.map.coefficients[self.plan.column]
            rows = [
                fn.load(self.vector, fn.element(first, element, integer(row * step)), value.dtype.itemsize)
                for row in range(lanes)
            ]
            for row, turned in enumerate(transposed(fn, rows)):
                target = fn.element(place, self.element, integer(row * self.width + position * lanes))
                fn.store(turned, target, self.align)


def transposed(fn: Function, rows: list[Value]) -> list[Value]:
    """The transpose of a square of vectors: log2(n) rounds, each of which interleaves the two halves of the rows."""
    size = len(rows)
    low = [lane // 2 + size * (lane % 2) for lane in range(size)]
    high = [index + size // 2 for index in low]
    rounds = size.bit_length() - 1
    for _ in range(rounds):
        pairs = zip(rows[: size // 2], rows[size // 2 :], strict=True)
        rows = [fn.shuffle(a, b, order) for a, b in pairs for order in (low, high)]
    return rows


def each_window(
    fn: Function, plan: Contraction, count: int | Value, body: Callable[[Value, int | Value], None]
) -> None:
    """``body(first, size)`` for a few positions at a time of the ``count`` of a sum with one axis; else for all."""
    if len(plan.depth) > 1 or (isinstance(count, int) and count <= WINDOW):
        body(integer(0), count)
        return
    if isinstance(count, int):
        trips: int | Value = -(-count // WINDOW)
        whole = count % WINDOW == 0
    else:
        trips, whole = fn.binary("udiv", fn.add(count, integer(WINDOW - 1)), integer(WINDOW)), False
    loop = fn.begin_loop(trips)
    first = fn.multiply(loop.index, WINDOW)
    size: int | Value = WINDOW
    if not whole:
        left = fn.binary("sub", integer(count) if isinstance(count, int) else count, first)
        size = fn.elementwise("umin", integer(WINDOW), left)
    body(first, size)
    fn.end_loop(loop)


def _divided(fn: Function, trips: int | Value, by: int) -> int | Value:
    if isinstance(trips, int):
        return trips // by
    return fn.binary("udiv", trips, integer(by)) if by > 1 else trips


def open_axes(evaluator: Evaluator, stack: ExitStack, axes: Sequence[int], team: Team | None = None) -> list[Loop]:
    """Open a loop an axis, each with its scope; the caller closes the loops.  A team shares the first one."""
    fn = evaluator.fn
    loops: list[Loop] = []
    for axis in axes:
        first: Value = integer(0)
        trips: int | Value = evaluator.kernel.extents[axis]
        if team is not None and not loops:
            first, end = team.part(evaluator.kernel.extents[axis])
            stack.enter_context(where(evaluator, fn.compare("icmp ult", first, end)))
            trips = fn.binary("sub", end, first)
        evaluator.mark()
        loop = fn.begin_loop(trips)
        stack.enter_context(evaluator.scope({axis: fn.add(first, loop.index)}))
        loops.append(loop)
    return loops
