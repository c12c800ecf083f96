"""A Program as one LLVM module in text: constants, a small function for each kernel, the exported entry points."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from graphc.backends.llvm.calls import bases_of, separate_params
from graphc.backends.llvm.contraction import ContractionEmitter
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.entry import body_name, emit_entry
from graphc.backends.llvm.evaluate import Evaluator
from graphc.backends.llvm.intrinsics import emit_intrinsic
from graphc.backends.llvm.nest import NestEmitter
from graphc.backends.llvm.packing import EntryPlan, KernelCode, Pack, invariant_params, plan_entry
from graphc.backends.llvm.panels import emit_pack
from graphc.backends.llvm.pointwise import MathLibrary
from graphc.backends.llvm.streaming import StreamingEmitter
from graphc.backends.llvm.threads.pool import END, RUN, pool_declarations, pool_text, supports_threads
from graphc.backends.llvm.threads.sharing import nothing_shared, share
from graphc.backends.llvm.threads.split import BARRIER_CYCLES, Split, pack_cycles
from graphc.backends.llvm.threads.team import Team
from graphc.backends.llvm.values import I8, I32, PTR, Value, escaped, integer, symbol
from graphc.errors import GraphcValueError
from graphc.ir.attrs import ArrayValue
from graphc.kernel.loopir import Gather, Intrinsic, Kernel, Load
from graphc.kernel.parts import closure
from graphc.kernel.program import Program
from graphc.kernel.schedule import Schedule, schedule_kernel
from graphc.kernel.streaming import Streaming
from graphc.kernel.target import Target
from graphc.kernel.tiling import Contraction

FAST_MATH = " reassoc nsz arcp contract afn"
"""What ``fast_math`` allows; NaN and infinities keep their meaning."""


@dataclass(frozen=True)
class ModuleText:
    """An emitted module.

    Attributes:
        ir: the text.
        exports: entry name → exported symbol.
        arena_bytes: memory a call needs.
        parallel: the exported function that runs an entry point on several threads, where one has the work for them.
        end: the exported function that ends those threads.
    """

    ir: str
    exports: Mapping[str, str]
    arena_bytes: int
    parallel: str | None = None
    end: str | None = None


Instrument = Callable[[EntryPlan, Sequence[KernelCode]], tuple[EntryPlan, list[Function]]]
"""(plan, the program's kernels) → the plan to run in its place, and the functions that this one calls besides."""


def emit_module(
    program: Program,
    target: Target,
    prefix: str,
    *,
    fast_math: bool = False,
    instrument: Instrument | None = None,
    threads: bool = True,
) -> ModuleText:
    """Emit a program for a target.

    Args as for :func:`graphc.backends.llvm.compile.compile_program`; ``instrument`` is how ``profile.py`` has entry
    points time themselves.

    Raises:
        GraphcValueError: E762, a prefix or entry name that is no C identifier.
    """
    library = MathLibrary(target)
    emitter = _KernelEmitter(library, FAST_MATH if fast_math else "")
    separate, invariant = separate_params(program), invariant_params(program)
    schedules = [
        None if isinstance(kernel, Intrinsic) else schedule_kernel(kernel, target, invariant[number])
        for number, kernel in enumerate(program.kernels)
    ]
    sharing = nothing_shared(program)
    if threads and supports_threads(target):
        sharing = share(program, schedules, target)
    codes = [
        emitter.emit(number, kernel, separate[number], schedules[number], sharing.kernels[number])
        for number, kernel in enumerate(program.kernels)
    ]
    functions = emitter.functions
    exports: dict[str, str] = {}
    arena_bytes = program.arena_bytes
    extras: list[str] = []
    for name, entry in program.entries.items():
        exports[name] = _exported(prefix, name)
        plan = plan_entry(program, entry, codes)
        if instrument is not None:
            plan, wrappers = instrument(plan, codes)
            functions += wrappers
        arena_bytes = max(arena_bytes, plan.arena_bytes)
        team = name in sharing.entries
        made, tables = emit_entry(
            plan, bases_of(program, entry), exports[name], len(exports) - 1, team=team, size=program.size
        )
        functions += made
        extras += tables
    parallel = end = None
    if sharing.entries:
        parallel, end = _exported(prefix, "parallel"), _exported(prefix, "end_threads")
        functions += [_parallel(parallel, exports, sharing.entries), _end(end)]
        extras.append(pool_text(target, sharing.private_bytes))
    constants = [_constant(number, value) for number, value in enumerate(program.constants)]
    texts = [function.render() for function in functions]
    declarations = _declarations(function.declarations for function in functions)
    declarations |= _declarations([library.declarations, pool_declarations(target) if sharing.entries else ()])
    lines = [
        f'target triple = "{target.triple}"',
        "",
        *constants,
        *extras,
        "",
        *declarations.values(),
        "",
        *library.texts.values(),
        *texts,
        f"attributes #0 = {{ noinline nounwind {_machine(target)} }}",
        f"attributes #1 = {{ nounwind {_machine(target)} }}",
        "",
    ]
    return ModuleText("\n".join(lines), exports, arena_bytes, parallel, end)


def _parallel(name: str, exports: Mapping[str, str], teams: Collection[str]) -> Function:
    """``i32 parallel(i32 threads, i32 entry, inputs, outputs, states, arena, error)``: -1 for an unknown entry."""
    fn = Function(symbol(name), [(I32, ""), (I32, ""), *[(PTR, "")] * 5], result="i32", prefix="", attributes="#1")
    threads, entry, *arguments = fn.arguments
    cases = [fn.new_block() for _ in exports]
    unknown = fn.new_block()
    listed = " ".join(f"i32 {number}, label %{case.label}" for number, case in enumerate(cases))
    fn.block.terminator = f"switch {entry}, label %{unknown.label} [ {listed} ]"
    for number, (case, (entry_name, exported)) in enumerate(zip(cases, exports.items(), strict=True)):
        fn.place(case)
        if entry_name in teams:
            fn.ret(fn.call(RUN, I32, [threads, Value(body_name(number), PTR), *arguments]))
        else:
            fn.ret(fn.call(symbol(exported), I32, arguments))
    fn.place(unknown)
    fn.ret(Value("-1", I32))
    return fn


def _end(name: str) -> Function:
    fn = Function(symbol(name), [], prefix="", attributes="#1")
    fn.call(END, None, [])
    fn.ret()
    return fn


def _exported(prefix: str, name: str) -> str:
    exported = f"{prefix}_{name}"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", exported):
        raise GraphcValueError(
            "E762",
            f"{exported!r} is no C identifier",
            hint="use letters, digits and underscores for entry points and the prefix",
        )
    return exported


def _machine(target: Target) -> str:
    features = f' "target-features"="{target.features}"' if target.features else ""
    return f'"target-cpu"="{target.cpu}"{features}'


def _constant(number: int, value: ArrayValue) -> str:
    data = value.array.tobytes()
    kind = "unnamed_addr constant"
    return f'@c{number} = internal {kind} [{len(data)} x i8] c"{escaped(data)}", align 64'


def _declarations(groups: Iterable[Iterable[str]]) -> dict[str, str]:
    """Declarations by symbol, each once."""
    found: dict[str, str] = {}
    for group in groups:
        for line in group:
            found.setdefault(line[line.index("@") : line.index("(")], line)
    return found


class _KernelEmitter:
    """Emits kernels; ``functions`` grows in order."""

    def __init__(self, library: MathLibrary, flags: str) -> None:
        self.library = library
        self.flags = flags
        self.functions: list[Function] = []

    def _function(self, name: str, parameters: Sequence[tuple[str, bool]], result: str = "void") -> Function:
        listed = [(PTR, attribute + (" align 64" if aligned else "")) for attribute, aligned in parameters]
        fn = Function(symbol(name), listed, result=result)
        fn.flags = self.flags
        self.functions.append(fn)
        return fn

    def emit(
        self,
        number: int,
        kernel: Kernel | Intrinsic,
        separate: frozenset[int],
        schedule: Schedule | None,
        splits: Sequence[Split | None] | None,
    ) -> KernelCode:
        """The functions of one kernel and how to call them; the schedule is None for an intrinsic.

        ``splits`` say how a team shares the steps, or None where no team runs the kernel.
        """
        if isinstance(kernel, Intrinsic):
            name = f"k{number}.{kernel.intrinsic}"
            fails = kernel.intrinsic == "check_index"
            count = len(kernel.params) + fails
            fn = self._function(name, [("", False)] * count, "i1" if fails else "void")
            emit_intrinsic(fn, kernel, self.library.target)
            return KernelCode(fn.name, 0, (), fails)
        assert schedule is not None
        attributes = [("noalias" if param in separate else "", False) for param in range(len(kernel.params))]
        packs: list[Pack] = []
        sizes = iter(schedule.packed_bytes)
        for step in schedule.steps:
            if isinstance(step.plan, Contraction) and step.plan.packing == "once":
                used, nbytes = _params_of(step.kernel, step.plan), next(sizes)
                shared = splits is not None and pack_cycles(nbytes) >= 3 * BARRIER_CYCLES
                parameters = [("", False)] * len(used) + [("noalias", True)] + [("", False)] * shared
                fn = self._function(f"k{number}.pack{len(packs)}", parameters)
                self._pack(fn, step.kernel, step.plan, used, shared)
                packs.append(Pack(fn.name, used, nbytes, shared))
        attributes += [("noalias", True)] * (bool(schedule.scratch_bytes) + len(packs))
        attributes += [("", False)] * (splits is not None)
        fn = self._function(f"k{number}.{_readable(kernel.name)}", attributes)
        self._body(fn, schedule, splits)
        return KernelCode(fn.name, schedule.scratch_bytes, tuple(packs), False, splits is not None)

    def _pointers(self, fn: Function, schedule: Schedule) -> list[Value]:
        """The address of every parameter, those in scratch included."""
        own = fn.arguments[: schedule.own_params]
        if not schedule.scratch_bytes:
            return list(own)
        scratch = fn.arguments[schedule.own_params]
        return [*own, *(fn.element(scratch, I8, integer(offset)) for offset in schedule.offsets)]

    def _body(self, fn: Function, schedule: Schedule, splits: Sequence[Split | None] | None) -> None:
        pointers = self._pointers(fn, schedule)
        first = schedule.own_params + bool(schedule.scratch_bytes)
        panels = iter(fn.arguments[first:])
        team = None if splits is None else Team(fn, fn.arguments[-1])
        for number, step in enumerate(schedule.steps):
            evaluator, plan = Evaluator(fn, step.kernel, pointers, self.library), step.plan
            split = None if splits is None else splits[number]
            with ExitStack() as stack:
                if team is not None:
                    if number:
                        team.barrier()
                    if split is None:
                        stack.enter_context(team.first(evaluator))
                members = None if split is None else team
                if isinstance(plan, Streaming):
                    StreamingEmitter(evaluator, plan, members).emit()
                    continue
                working = None
                if plan.working_bytes:
                    working = fn.element(fn.arguments[schedule.own_params], I8, integer(schedule.working_offset))
                if not isinstance(plan, Contraction):
                    NestEmitter(evaluator, members, 0 if split is None else split.depth, working).emit(plan)
                    continue
                panel = next(panels) if plan.packing == "once" else None
                ContractionEmitter(evaluator, plan, panel, working, members, split).emit()
        fn.ret()

    def _pack(self, fn: Function, kernel: Kernel, plan: Contraction, used: Sequence[int], shared: bool) -> None:
        pointers = list(fn.arguments[:1]) * len(kernel.params)
        for argument, param in zip(fn.arguments, used, strict=False):
            pointers[param] = argument
        team = Team(fn, fn.arguments[-1]) if shared else None
        emit_pack(Evaluator(fn, kernel, pointers, self.library), plan, fn.arguments[len(used)], team)
        fn.ret()


def _params_of(kernel: Kernel, plan: Contraction) -> tuple[int, ...]:
    """The parameters that the packed operand is computed from."""
    values = [kernel.values[number] for number in closure(kernel, [plan.right])]
    return tuple(sorted({value.param for value in values if isinstance(value, (Load, Gather))}))


def _readable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", name)[:40]
