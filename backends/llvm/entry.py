"""Entry points: calls of kernels, loops, copies, checks; long stretches of calls as a table that a driver walks.

Code for a call costs time in LLVM and bytes in the artifact, a record in a table costs neither: a graph that could
not be rolled may have a hundred thousand calls.  A record is a sequence of 64-bit words: which function and how many
words follow, then a pointer a
word: the base's number in the top 16 bits and the byte offset in the others.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import groupby

from graphc.backends.llvm.calls import Bases, Pointer
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.packing import Action, EntryPlan, Invoke, Move, Repeat
from graphc.backends.llvm.values import I32, I64, PTR, Type, Value, constant, escaped, integer, symbol

_TABLE_LENGTH = 200
"""Stretches of more calls than this become tables."""

_OFFSET_BITS = 48
_COPY = "@llvm.memcpy"


def emit_entry(plan: EntryPlan, bases: Bases, exported: str, number: int) -> tuple[list[Function], list[str]]:
    """The functions of an entry point (the exported one last) and the constant tables they read."""
    emitter = _EntryEmitter(bases, number)
    fn = Function(symbol(exported), [(PTR, "")] * 5, result="i32", prefix="", attributes="#1")
    emitter.entry(fn, plan)
    return [*emitter.functions, fn], emitter.tables


class _EntryEmitter:
    """Emits one entry point; ``functions`` and ``tables`` are what it needs beside itself."""

    def __init__(self, bases: Bases, number: int) -> None:
        self.bases = bases
        self.number = number
        self.functions: list[Function] = []
        self.tables: list[str] = []

    def entry(self, fn: Function, plan: EntryPlan) -> None:
        """The exported function."""
        self.fn = fn
        self.error = fn.arguments[4]
        self.pointers = self._load_bases(fn)
        self.memory: Value | None = None
        self.failed = fn.new_block()
        self.can_fail = False
        self._actions(plan.actions, [])
        fn.ret(Value("0", I32))
        if self.can_fail:
            fn.place(self.failed)
            fn.ret(Value("1", I32))

    def _load_bases(self, fn: Function) -> list[Value]:
        inputs, outputs, states, arena, _ = fn.arguments
        pointers = [arena]
        for table, count in ((inputs, self.bases.inputs), (outputs, self.bases.outputs), (states, self.bases.states)):
            pointers += [fn.load(PTR, fn.element(table, PTR, integer(position)), 8) for position in range(count)]
        return pointers + [Value(f"@c{position}", PTR) for position in range(self.bases.constants)]

    # -- actions ---------------------------------------------------------------------------------------------------

    def _actions(self, actions: Sequence[Action], loops: list[Value]) -> None:
        for is_loop, group in groupby(actions, lambda action: isinstance(action, Repeat)):
            run = list(group)
            if not is_loop and len(run) > _TABLE_LENGTH and not any(map(_moves, run)):
                self._table(run)
                continue
            for action in run:
                if isinstance(action, Repeat):
                    loop = self.fn.begin_loop(action.trips)
                    self._actions(action.body, [*loops, loop.index])
                    self.fn.end_loop(loop)
                elif isinstance(action, Move):
                    target, source = self._address(action.target, loops), self._address(action.source, loops)
                    self._copy(self.fn, target, source, integer(action.nbytes))
                else:
                    self._invoke(action, loops)

    def _address(self, pointer: Pointer, loops: Sequence[Value]) -> Value:
        fn = self.fn
        offset = integer(pointer.offset)
        for stride, index in zip(pointer.strides, loops, strict=False):
            offset = fn.add(fn.multiply(index, stride), offset)
        return fn.element(self.pointers[pointer.base], Type("i8"), offset)

    def _copy(self, fn: Function, target: Value, source: Value, nbytes: Value) -> None:
        fn.intrinsic("memcpy.p0.p0.i64", None, [target, source, nbytes, Value("false", Type("i1"))])

    def _invoke(self, action: Invoke, loops: Sequence[Value]) -> None:
        fn = self.fn
        arguments = [self._address(pointer, loops) for pointer in action.pointers]
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
        checked = {action.function for action in run if isinstance(action, Invoke) and action.check is not None}
        driver = self._driver(f"run.{label}", list(functions), checked)
        end = fn.element(Value(f"@{label}", PTR), Type("i8"), integer(len(data)))
        failed = fn.call(driver.name, Type("i1"), [Value(f"@{label}", PTR), end, self.memory, self.error])
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

    def _driver(self, name: str, functions: Sequence[tuple[str, int]], checked: set[str]) -> Function:
        """``i1 run(record, end, bases, error)``: true where a check failed."""
        fn = Function(symbol(name), [(PTR, "")] * 4, result="i1")
        record, end, bases, error = fn.arguments
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
            arguments = [self._decode(fn, here, bases, 2 + position) for position in range(count)]
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


def _moves(action: Action) -> bool:
    """Whether a pointer of the call depends on a loop: such calls stay code."""
    pointers = (
        action.pointers
        if isinstance(action, Invoke)
        else (action.target, action.source)
        if isinstance(action, Move)
        else ()
    )
    return any(any(pointer.strides) for pointer in pointers)


def _record(action: Action) -> tuple[str, tuple[Pointer, ...], int]:
    """The function of a call, its pointers, and its one number: the check's or the bytes to copy."""
    if isinstance(action, Move):
        return _COPY, (action.target, action.source), action.nbytes
    assert isinstance(action, Invoke)
    return action.function, action.pointers, action.check or 0
