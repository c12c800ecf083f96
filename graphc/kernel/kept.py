"""Which values of a row a nest keeps, so that its later walks over the row load them again.

A softmax needs the exponentials of a row twice: for their sum, and to divide them by it.  The walk that adds them up
also writes them to memory of one row, which stays in the cache, and the walk behind it reads them there.  What is an
instruction or two is computed again instead: that costs no more than the load.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from graphc.kernel.loopir import Apply, Kernel, Map, Reduce, ValueId, operands, value_axes
from graphc.kernel.nest import Kept, Nest
from graphc.ops.simple import MOST_KEPT_BYTES, SIMPLE_OPS

_LINE = 64


def with_kept(kernel: Kernel, nest: Nest) -> Nest:
    """The nest, whose stages keep what later walks over their row would compute again."""
    planner = _Planner(kernel, nest)
    for depth, stages in enumerate(nest.stages):
        if stages:
            planner.plan(depth)
    return planner.nest


class _Planner:
    """Chooses the kept values of one nest that is a step of its own."""

    def __init__(self, kernel: Kernel, nest: Nest) -> None:
        self.kernel = kernel
        self.nest = nest
        self.axes = value_axes(kernel)

    def plan(self, depth: int) -> None:
        """Keep values between the stages at ``depth``, and for the loops inside."""
        nest = self.nest
        bound = frozenset(nest.order[:depth])
        if nest.vector in bound:
            # Its lanes are rows: the memory of one would not do.
            return
        stages = list(nest.stages[depth])
        known = {number for before in nest.stages[: depth + 1] for stage in before for number in stage.reduces}
        maker: dict[ValueId, int] = {}
        for number, stage in enumerate(stages):
            needed = self._needed(self._arguments(stage), stage.vector, known, maker, stages)
            row = bound | set(stage.order)
            if not any(stage.stages):
                whole = {value for value in needed if self._is_worth(value) and self.axes[value] == row}
                maker |= dict.fromkeys(whole - maker.keys(), number)
        inner = [store.value for store in nest.stores if nest.depth_of(store) > depth]
        inner += [store.scatter.index for store in nest.stores if store.scatter is not None]
        inner += [root for deeper in nest.stages[depth + 1 :] for stage in deeper for root in self._arguments(stage)]
        self._needed(inner, nest.vector, known, maker, stages)
        self.nest = replace(self.nest, stages=(*nest.stages[:depth], tuple(stages), *nest.stages[depth + 1 :]))

    def _is_worth(self, number: ValueId) -> bool:
        value = self.kernel.values[number]
        return isinstance(value, Apply) and value.op not in SIMPLE_OPS

    def _arguments(self, stage: Nest) -> list[ValueId]:
        """What the reductions of a stage, and of the stages inside it, are computed from."""
        found = [root for inner in stage.stages for nest in inner for root in self._arguments(nest)]
        for number in stage.reduces:
            reduce = self.kernel.values[number]
            assert isinstance(reduce, Reduce)
            found.append(reduce.arg)
        return found

    def _needed(
        self,
        roots: Iterable[ValueId],
        vector: int | None,
        known: set[ValueId],
        maker: dict[ValueId, int],
        stages: list[Nest],
    ) -> set[ValueId]:
        """What a walk computes; what an earlier stage (``maker``) has computed is kept there and read here."""
        needed: set[ValueId] = set()
        pending = list(roots)
        while pending:
            number = pending.pop()
            if number in needed or number in known:
                continue
            if number in maker and vector == stages[maker[number]].vector and self._keep(number, maker[number], stages):
                continue
            needed.add(number)
            pending.extend(operands(self.kernel.values[number]))
        return needed

    def _keep(self, number: ValueId, maker: int, stages: list[Nest]) -> bool:
        """Have a stage keep a value, if there is room."""
        stage = stages[maker]
        if any(kept.value == number for kept in stage.keeps):
            return True
        inner = [axis for axis in stage.order if axis != stage.vector]
        coefficients, size = [0] * len(self.kernel.extents), 1
        for axis in (*([] if stage.vector is None else [stage.vector]), *reversed(inner)):
            coefficients[axis] = size
            size *= self.kernel.extents[axis]
        nbytes = size * self.kernel.values[number].dtype.itemsize
        offset = self.nest.working_bytes
        if offset + nbytes > MOST_KEPT_BYTES:
            return False
        stages[maker] = replace(stage, keeps=(*stage.keeps, Kept(number, Map(tuple(coefficients)), offset)))
        self.nest = replace(self.nest, working_bytes=offset + -(-nbytes // _LINE) * _LINE)
        return True
