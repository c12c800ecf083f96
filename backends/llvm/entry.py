"""Entry points: calls of kernels, loops, copies, checks; long stretches of calls as a table that a driver walks.

Code for a call costs time in LLVM and bytes in the artifact, a record in a table costs neither: a graph that could
not be rolled may have a hundred thousand calls.  A record is a sequence of 64-bit words: which function and how many
words follow, then a pointer a
word: the base's number in the top 16 bits and the byte offset in the others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from graphc.backends.llvm.calls import Bases, Pointer
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.packing import Action, EntryPlan, Invoke, Move, Repeat, Wait
from graphc.backends.llvm.threads.barriers import is_lone, synchronised
from graphc.backends.llvm.threads.members import ALONE
from graphc.backends.llvm.threads.team import Team
from graphc.backends.llvm.values import I32, I64, PTR, Type, Value, constant, escaped, integer, symbol

_TABLE_LENGTH = 200
"""Stretches of more calls than this become tables."""

_OFFSET_BITS = 48
_COPY = "@llvm.memcpy"
_WAIT = "wait"

_COPY_UNIT = 64
"""Bytes that one thread copies of a copy that is shared."""


def emit_entry(
    plan: EntryPlan,
    bases: Bases,
    exported: str,
    number: int,
    *,
    team: bool = False,
    size: tuple[str, int] | None = None,
) -> tuple[list[Function], list[str]]:
    """The functions of an entry point (the exported one last) and the constant tables they read.

    Where a ``team`` may run it, there is a function of the same arguments and the member's slot, called
    :func:`body_name`, which the exported one calls with a team of one.

    Where the plan has loops of a ``size`` (name, and largest value) that the call says, the entry point reads it
    through one more pointer behind those of its inputs, and gives 1 where it is not from 1 to the largest.
    """
    emitter = _EntryEmitter(bases, number, size[1] if size is not None and any(map(_is_live, plan.actions)) else 0)
    fn = Function(symbol(exported), [(PTR, "")] * 5, result="i32", prefix="", attributes="#1")
    if not team:
        emitter.entry(fn, plan.actions, Value(ALONE, PTR))
        return [*emitter.functions, fn], emitter.tables
    body = Function(body_name(number), [(PTR, "")] * 6, result="i32")
    emitter.entry(body, synchronised(plan.actions), body.arguments[5], is_team=True)
    fn.ret(fn.call(body.name, I32, [*fn.arguments, Value(ALONE, PTR)]))
    return [*emitter.functions, body, fn], emitter.tables


def body_name(number: int) -> str:
    """The symbol of what each thread runs of the entry point of this number."""
    return symbol(f"body.{number}")


class _EntryEmitter:
    """Emits one entry point; ``functions`` and ``tables`` are what it needs beside itself."""

    def __init__(self, bases: Bases, number: int, largest: int) -> None:
        self.bases = bases
        self.largest = largest
        self.number = number
        self.functions: list[Function] = []
        self.tables: list[str] = []

    def entry(self, fn: Function, actions: Sequence[Action], slot: Value, *, is_team: bool = False) -> None:
        """The function with all actions, for one member of a team or for the one thread there is."""
        self.fn = fn
        self.error = fn.arguments[4]
        self.slot = slot
        self.team = Team(fn, slot) if is_team else None
        self.pointers = self._load_bases(fn)
        self.memory: Value | None = None
        self.failed = fn.new_block()
        self.can_fail = False
        if self.largest:
            self._read_size(fn)
        self._actions(actions, [])
        fn.ret(Value("0", I32))
        if self.can_fail:
            fn.place(self.failed)
            fn.ret(Value("1", I32))

    def _load_bases(self, fn: Function) -> list[Value]:
        inputs, outputs, states, arena = fn.arguments[:4]
        pointers = [arena]
        for table, count in ((inputs, self.bases.inputs), (outputs, self.bases.outputs), (states, self.bases.states)):
            pointers += [fn.load(PTR, fn.element(table, PTR, integer(position)), 8) for position in range(count)]
        return pointers + [Value(f"@c{position}", PTR) for position in range(self.bases.constants)]

    def _read_size(self, fn: Function) -> None:
        """How many steps the call has; nothing is done where that is none, or more than there is room for."""
        place = fn.load(PTR, fn.element(fn.arguments[0], PTR, integer(self.bases.inputs)), 8)
        self.steps = fn.load(I64, place, 8)
        wrong = fn.compare("icmp uge", fn.binary("sub", self.steps, integer(1)), integer(self.largest))
        report, go_on = fn.new_block(), fn.new_block()
        fn.branch(wrong, report, go_on)
        fn.place(report)
        for word, value in enumerate((integer(-1), integer(0), self.steps, integer(self.largest))):
            fn.store(value, fn.element(self.error, I64, integer(word)), 8)
        fn.jump(self.failed)
        fn.place(go_on)
        self.can_fail = True

    # -- actions ---------------------------------------------------------------------------------------------------

    def _actions(self, actions: Sequence[Action], loops: list[Value]) -> None:
        for is_loop, group in groupby(actions, lambda action: isinstance(action, Repeat)):
            run = list(group)
            if not is_loop and len(run) > _TABLE_LENGTH and not any(map(_moves, run)):
                self._table(run)
                continue
            for lone, stretch in groupby(run, is_lone):
                with self._alone(lone):
                    for action in stretch:
                        self._action(action, loops)

    @contextmanager
    def _alone(self, lone: bool) -> Iterator[None]:
        """What the first member of a team does without the others."""
        team = self.team
        if team is None or not lone:
            yield
            return
        self.team = None
        after = self.fn.new_block()
        team.skip_others(after)
        yield
        self.fn.jump(after)
        self.fn.place(after)
        self.team = team

    def _action(self, action: Action, loops: list[Value]) -> None:
        fn = self.fn
        if isinstance(action, Repeat):
            loop = fn.begin_loop(self.steps if action.live else action.trips)
            self._actions(action.body, [*loops, loop.index])
            fn.end_loop(loop)
        elif isinstance(action, Move):
            target, source = self._address(action.target, loops), self._address(action.source, loops)
            if self.team is None:
                self._copy(fn, target, source, integer(action.nbytes))
            else:
                self._shared_copy(self.team, target, source, action.nbytes)
        elif isinstance(action, Wait):
            assert self.team is not None
            self.team.barrier()
        else:
            self._invoke(action, loops)

    def _shared_copy(self, team: Team, target: Value, source: Value, nbytes: int) -> None:
        fn = self.fn
        low, high = team.part(-(-nbytes // _COPY_UNIT))
        first = fn.multiply(low, _COPY_UNIT)
        end = fn.elementwise("umin", fn.multiply(high, _COPY_UNIT), integer(nbytes))
        target, source = fn.element(target, Type("i8"), first), fn.element(source, Type("i8"), first)
        self._copy(fn, target, source, fn.binary("sub", end, first))

    def _address(self, pointer: Pointer, loops: Sequence[Value]) -> Value:
        fn = self.fn
        offset = integer(pointer.offset)
        if pointer.live:
            offset = fn.add(fn.multiply(self.steps, pointer.live), offset)
        for stride, index in zip(pointer.strides, loops, strict=False):
            offset = fn.add(fn.multiply(index, stride), offset)
        return fn.element(self.pointers[pointer.base], Type("i8"), offset)

    def _copy(self, fn: Function, target: Value, source: Value, nbytes: Value) -> None:
        fn.intrinsic("memcpy.p0.p0.i64", None, [target, source, nbytes, Value("false", Type("i1"))])

    def _invoke(self, action: Invoke, loops: Sequence[Value]) -> None:
        fn = self.fn
        arguments = [self._address(pointer, loops) for pointer in action.pointers]
        if action.shared:
            arguments.append(self.slot)
        if action.check is None:
            fn.call(action.function, None, arguments)
            return
        self._fail_if(fn.call(action.function, Type("i1"), [*arguments, self.error]), integer(action.check))

    def _fail_if(self, failed: Value, check: Value) -> None:
        """Leave the entry where a check failed, with its number; the check itself has written the rest."""
        fn = self.fn
        report, go_on = fn.new_block(), fn.new_block()
        fn.branch(failed, report, go_on)
        fn.place(report)
        fn.store(check, self.error, 8)
        fn.jump(self.failed)
        fn.place(go_on)
        self.can_fail = True

    # -- tables ----------------------------------------------------------------------------------------------------

    def _table(self, run: Sequence[Action]) -> None:
        """A stretch of calls as data."""
        fn = self.fn
        if self.memory is None:
            self.memory = self._store_bases()
        functions: dict[tuple[str, int], int] = {}
        words: list[int] = []
        for action in run:
            name, pointers, last = _record(action)
            shape = (name, len(pointers))
            index = functions.setdefault(shape, len(functions))
            words += [index | (2 + len(pointers)) << 32, last]
            words += [pointer.base << _OFFSET_BITS | pointer.offset for pointer in pointers]
        label = f"t{self.number}.{len(self.tables)}"
        data = struct.pack(f"<{len(words)}Q", *(word & (1 << 64) - 1 for word in words))
        self.tables.append(f'@{label} = internal unnamed_addr constant [{len(data)} x i8] c"{escaped(data)}", align 8')
        calls = [action for action in run if isinstance(action, Invoke)]
        checked = {call.function for call in calls if call.check is not None}
        shared = {call.function for call in calls if call.shared}
        driver = self._driver(f"run.{label}", list(functions), checked, shared)
        end = fn.element(Value(f"@{label}", PTR), Type("i8"), integer(len(data)))
        arguments = [Value(f"@{label}", PTR), end, self.memory, self.error]
        if len(driver.arguments) > len(arguments):
            arguments.append(self.slot)
        failed = fn.call(driver.name, Type("i1"), arguments)
        if checked:
            ended, go_on = self.failed, fn.new_block()
            fn.branch(failed, ended, go_on)
            fn.place(go_on)
            self.can_fail = True

    def _store_bases(self) -> Value:
        """The bases as an array in memory, for the driver."""
        fn = self.fn
        memory = fn.stack(PTR, self.bases.count, 8)
        entry, current = fn.blocks[0], fn.block
        fn.block = entry
        for position, pointer in enumerate(self.pointers):
            fn.store(pointer, fn.element(memory, PTR, integer(position)), 8)
        fn.block = current
        return memory

    def _driver(self, name: str, functions: Sequence[tuple[str, int]], checked: set[str], shared: set[str]) -> Function:
        """``i1 run(record, end, bases, error[, slot])``: true where a check failed."""
        has_slot = self.team is not None or bool(shared)
        fn = Function(symbol(name), [(PTR, "")] * (4 + has_slot), result="i1")
        record, end, bases, error = fn.arguments[:4]
        member = fn.arguments[-1]
        team = None if self.team is None else Team(fn, member)
        slot = fn.stack(PTR, 1, 8)
        head, body, following, finished = (fn.new_block() for _ in range(4))
        fn.store(record, slot, 8)
        fn.jump(head)
        fn.place(head)
        here = fn.load(PTR, slot, 8)
        fn.branch(fn.compare("icmp eq", here, end), finished, body)
        fn.place(body)
        word = fn.load(I64, here, 8)
        length = fn.binary("lshr", word, integer(32))
        fn.store(fn.element(here, I64, length), slot, 8)
        which = fn.convert("trunc", word, "i32")
        last = fn.load(I64, fn.element(here, I64, integer(1)), 8)
        cases = [fn.new_block() for _ in functions]
        listed = " ".join(f"i32 {index}, label %{case.label}" for index, case in enumerate(cases))
        fn.block.terminator = f"switch {which}, label %{following.label} [ {listed} ]"
        for (function, count), case in zip(functions, cases, strict=True):
            fn.place(case)
            if function == _WAIT:
                assert team is not None
                team.barrier()
                fn.jump(following)
                continue
            if team is not None and function not in checked | shared:
                team.skip_others(following)
            arguments = [self._decode(fn, here, bases, 2 + position) for position in range(count)]
            if function in shared:
                arguments.append(member)
            if function == _COPY:
                self._copy(fn, arguments[0], arguments[1], last)
                fn.jump(following)
            elif function in checked:
                report = fn.new_block()
                failed = fn.call(function, Type("i1"), [*arguments, error])
                fn.branch(failed, report, following)
                fn.place(report)
                fn.store(last, error, 8)
                fn.ret(constant(Type("i1"), True))
            else:
                fn.call(function, None, arguments)
                fn.jump(following)
        fn.place(following)
        fn.jump(head)
        fn.place(finished)
        fn.ret(constant(Type("i1"), False))
        self.functions.append(fn)
        return fn

    def _decode(self, fn: Function, record: Value, bases: Value, position: int) -> Value:
        word = fn.load(I64, fn.element(record, I64, integer(position)), 8)
        base = fn.load(PTR, fn.element(bases, PTR, fn.binary("lshr", word, integer(_OFFSET_BITS))), 8)
        return fn.element(base, Type("i8"), fn.binary("and", word, integer((1 << _OFFSET_BITS) - 1)))


def _is_live(action: Action) -> bool:
    """Whether what is done depends on the size of the call."""
    if isinstance(action, Repeat):
        return action.live or any(map(_is_live, action.body))
    pointers = action.pointers if isinstance(action, Invoke) else ()
    return any(pointer.live for pointer in pointers)


def _moves(action: Action) -> bool:
    """Whether a pointer of the call depends on a loop, or on the size of the call: such calls stay code."""
    pointers = (
        action.pointers
        if isinstance(action, Invoke)
        else (action.target, action.source)
        if isinstance(action, Move)
        else ()
    )
    return any(pointer.live or any(pointer.strides) for pointer in pointers)


def _record(action: Action) -> tuple[str, tuple[Pointer, ...], int]:
    """The function of a call, its pointers, and its one number: the check's or the bytes to copy."""
    if isinstance(action, Wait):
        return _WAIT, (), 0
    if isinstance(action, Move):
        return _COPY, (action.target, action.source), action.nbytes
    assert isinstance(action, Invoke)
    return action.function, action.pointers, action.check or 0
