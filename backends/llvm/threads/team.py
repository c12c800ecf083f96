"""How the code of a kernel shares its work among a team: who does which part of a loop, and where all wait.

Work is shared in *units* that are the same whatever the number of members: a unit is never cut, and what is computed in
it does not depend on who computes it.  That is why the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from graphc.backends.llvm.emitter import Block, Function
from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.threads.members import BARRIER
from graphc.backends.llvm.values import I64, PTR, Value, integer

Part = tuple[Value, Value]
"""Some of a row of units: the first one, and the one behind the last."""


class Team:
    """The threads that run one function, as the code of each of them sees them.

    Args:
        fn: the function.
        slot: the member's slot, one of its arguments.
    """

    def __init__(self, fn: Function, slot: Value) -> None:
        self.fn = fn
        self.slot = slot
        self._parts: dict[int, Part] = {}
        self._place: tuple[Value, Value] | None = None

    def part(self, units: int) -> Part:
        """A member's part of a row of units: of member i of n, from ⌊units·i/n⌋ to ⌊units·(i+1)/n⌋."""
        found = self._parts.get(units)
        if found is None:
            fn = self.fn
            with self._at_start():
                number, members = self._member()
                low = fn.binary("udiv", fn.multiply(number, units), members)
                after = fn.multiply(fn.add(number, integer(1)), units)
                found = self._parts[units] = low, fn.binary("udiv", after, members)
        return found

    def barrier(self) -> None:
        """Wait for all members."""
        self.fn.call(BARRIER, None, [self.slot])

    def skip_others(self, after: Block) -> None:
        """Continue as the first member alone; the others go on at ``after``."""
        fn = self.fn
        number, _ = self._member()
        inside = fn.new_block()
        fn.branch(fn.compare("icmp eq", number, integer(0)), inside, after)
        fn.place(inside)

    def private(self, first: Value) -> Value:
        """Memory of a member's own: ``first`` of the first one, what the pool gave it of another one."""
        fn = self.fn
        number, _ = self._member()
        with self._at_start():
            held = fn.load(PTR, fn.element(self.slot, I64, integer(4)), 8)
        # (Not there: a later step of the kernel has its part of the memory known only here.)
        return fn.select(fn.compare("icmp eq", number, integer(0)), first, held)

    @contextmanager
    def first(self, evaluator: Evaluator) -> Iterator[None]:
        """What the first member does alone."""
        number, _ = self._member()
        with where(evaluator, self.fn.compare("icmp eq", number, integer(0))):
            yield

    def _member(self) -> tuple[Value, Value]:
        """Number of the member, and how many there are."""
        if self._place is None:
            fn = self.fn
            with self._at_start():
                self._place = fn.load(I64, self.slot, 8), fn.load(I64, fn.element(self.slot, I64, integer(1)), 8)
        return self._place

    @contextmanager
    def _at_start(self) -> Iterator[None]:
        """Emit where the function begins, so that the values are known everywhere."""
        here, self.fn.block = self.fn.block, self.fn.blocks[0]
        yield
        self.fn.block = here


@contextmanager
def where(evaluator: Evaluator, condition: Value) -> Iterator[None]:
    """Code under a condition; what is computed in it is not known behind it."""
    fn = evaluator.fn
    inside, after = fn.new_block(), fn.new_block()
    fn.branch(condition, inside, after)
    fn.place(inside)
    with evaluator.scope({}):
        yield
    fn.jump(after)
    fn.place(after)


def each(
    evaluator: Evaluator,
    part: Part | None,
    units: int,
    whole: Callable[[Value], None],
    rest: Callable[[], None] | None = None,
) -> None:
    """``whole(index)`` for each of ``units``, then ``rest()`` as one unit more; or for the units in ``part`` alone."""
    fn = evaluator.fn
    if part is None:
        if units:
            loop = fn.begin_loop(units)
            whole(loop.index)
            fn.end_loop(loop)
        if rest is not None:
            rest()
        return
    low, high = part
    if units:
        end = high if rest is None else fn.elementwise("umin", high, integer(units))
        with where(evaluator, fn.compare("icmp ult", low, end)):
            loop = fn.begin_loop(fn.binary("sub", end, low))
            whole(fn.add(low, loop.index))
            fn.end_loop(loop)
    if rest is not None:
        with where(evaluator, fn.compare("icmp eq", high, integer(units + 1))):
            rest()
