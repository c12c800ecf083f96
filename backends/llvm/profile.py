"""Code that times itself: every function that an entry point calls gets a wrapper that counts ticks and runs.

The tick is the processor's own counter (``rdtsc``; the virtual counter of 64-bit Arm), which costs some 20 cycles to
read and runs at a constant rate.  The counts lie in memory of this process, whose address stands in the code: such code
is never saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np

from graphc.artifact.profile import Profiled, Profiler, Site
from graphc.artifact.spec import Stage
from graphc.backends.llvm.backend import loaded, target_of
from graphc.backends.llvm.compile import compile_program
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.packing import Action, EntryPlan, Invoke, KernelCode, Move, Repeat
from graphc.backends.llvm.peaks import machine, machine_identity
from graphc.backends.llvm.probe import load_probes, probe
from graphc.backends.llvm.threads.barriers import is_lone
from graphc.backends.llvm.threads.team import Team
from graphc.backends.llvm.values import I1, I64, PTR, Value, integer, symbol
from graphc.config import Options
from graphc.errors import UnsupportedOp
from graphc.ir.graph import Module
from graphc.kernel.lower import lower_module
from graphc.kernel.program import Call, Copy
from graphc.kernel.target import Target

_MOST_SITES = 4096
"""Calls beyond so many different ones are not counted, so that the code stays small."""

_EMPTY_RUNS = 1000


def build(module: Module, options: Options, stage: Stage, *, threads: bool = False) -> Profiled:
    """Compile a scheduled module with one entry point so that it times itself.

    Args:
        module: the module.
        options: how to compile it.
        stage: times the stages.
        threads: several threads are to run it; what the first one does is counted.

    Raises:
        UnsupportedOp: the processor's counter cannot be read (E333).
    """
    target = target_of(options)
    with stage("lower"):
        program = lower_module(module)
    wrappers = _Wrappers(_counter(target), threads)
    native = compile_program(
        program,
        target,
        module.name,
        fast_math=options.fast_math,
        instrument=wrappers.instrument,
        threads=threads,
    )
    made = loaded(native, stage)
    counts, sites = wrappers.counts, wrappers.sites
    now, empty_ticks = _clock(target)

    def reset() -> None:
        counts[:] = 0

    return Profiled(
        # The memory that the code writes to must live as long as the code.
        replace(made, owner=(made.owner, counts), link=_refuse_to_link, record=None),
        program,
        tuple(sites),
        lambda: [(int(ticks), int(runs)) for ticks, runs in counts[: len(sites)]],
        reset,
        now,
        empty_ticks,
    )


def _refuse_to_link(soname: str, exports: Sequence[str]) -> NoReturn:
    raise UnsupportedOp("E333", "code that times itself cannot be saved", hint="save what graphc.compile gives")


def _counter(target: Target) -> str:
    """The intrinsic that reads the counter which user code may read."""
    architecture = target.triple.split("-", maxsplit=1)[0]
    if architecture in ("x86_64", "amd64"):
        return "readcyclecounter"
    if architecture in ("aarch64", "arm64"):
        return "readsteadycounter"
    raise UnsupportedOp("E333", f"there is no counter to time kernels with on {architecture}")


@dataclass
class _Wrappers:
    """Makes the wrappers of one entry point.

    Attributes:
        counter: the intrinsic that reads the tick.
        threads: several threads are to run it: what all of them do, but do not share, is not counted.
        counts: ticks and runs of each site.
        functions: the wrapper of each site.
    """

    counter: str
    threads: bool = False
    counts: np.ndarray[tuple[int, int], np.dtype[np.int64]] = field(
        default_factory=lambda: np.zeros((_MOST_SITES, 2), np.int64)
    )
    functions: list[Function] = field(default_factory=list)
    _known: dict[tuple[object, ...], int] = field(default_factory=dict)
    _sites: list[Site] = field(default_factory=list)
    _steps: list[list[Call | Copy]] = field(default_factory=list)

    @property
    def sites(self) -> list[Site]:
        """What is counted."""
        return [replace(site, steps=tuple(steps)) for site, steps in zip(self._sites, self._steps, strict=True)]

    def instrument(self, plan: EntryPlan, codes: Sequence[KernelCode]) -> tuple[EntryPlan, list[Function]]:
        """The plan with wrappers in the place of functions and copies."""
        packs = {pack.function: pack.nbytes for code in codes for pack in code.packs}
        actions = tuple(self._wrapped(action, packs) for action in plan.actions)
        return replace(plan, actions=actions), self.functions

    def _wrapped(self, action: Action, packs: dict[str, int]) -> Action:
        """An action that counts.  Loops nest only a few levels: this may call itself."""
        if isinstance(action, Repeat):
            return replace(action, body=tuple(self._wrapped(inner, packs) for inner in action.body))
        if self.threads and not is_lone(action) and not (isinstance(action, Invoke) and action.shared):
            return action
        if isinstance(action, Move):
            wrapper = self.wrapper(Site("copy", (), "memcpy", action.nbytes), action.step, 2, False)
            return action if wrapper is None else Invoke(wrapper, (action.target, action.source))
        if not isinstance(action, Invoke):
            return action
        nbytes = packs.get(action.function)
        site = Site("kernel" if nbytes is None else "pack", (), action.function, nbytes or 0, action.shared)
        fails = action.check is not None
        wrapper = self.wrapper(site, action.step, len(action.pointers) + action.shared + fails, fails)
        return action if wrapper is None else replace(action, function=wrapper)

    def wrapper(self, site: Site, step: Call | Copy | None, arguments: int, fails: bool) -> str | None:
        """The symbol of the wrapper for a call, which equal calls from one line of the model share; None for one too
        many.
        """
        origin = (step.note, step.location) if isinstance(step, Call) else None
        key = (site.kind, site.function, site.nbytes, arguments, fails, origin)
        number = self._known.get(key, len(self.functions))
        if number == _MOST_SITES:
            return None
        if key not in self._known:
            self._known[key] = number
            self._sites.append(site)
            self._steps.append([])
            self.functions.append(self._emit(f"profile.{number}", number, site, arguments, fails))
        self._steps[number] += [] if step is None else [step]
        return self.functions[number].name

    def _emit(self, name: str, number: int, site: Site, arguments: int, fails: bool) -> Function:
        fn = Function(symbol(name), [(PTR, "")] * arguments, result="i1" if fails else "void")
        start = fn.intrinsic(self.counter, I64, [])
        result = None
        if site.kind == "copy":
            nbytes, volatile = integer(site.nbytes), Value("false", I1)
            fn.intrinsic("memcpy.p0.p0.i64", None, [*fn.arguments, nbytes, volatile])
        else:
            result = fn.call(site.function, I1 if fails else None, fn.arguments)
        ticks = fn.binary("sub", fn.intrinsic(self.counter, I64, []), start)
        after = fn.new_block()
        if site.shared:
            Team(fn, fn.arguments[-2 if fails else -1]).skip_others(after)
        for column, amount in enumerate((ticks, integer(1))):
            address = self.counts.ctypes.data + self.counts.strides[0] * number + self.counts.strides[1] * column
            place = Value(f"inttoptr (i64 {address} to ptr)", PTR)
            fn.store(fn.add(fn.load(I64, place, 8), amount), place, 8)
        fn.jump(after)
        fn.place(after)
        fn.ret(result if fails else None)
        return fn


def _clock(target: Target) -> tuple[Callable[[], int], float]:
    """A function that reads the tick, and the ticks that are counted for a function that does nothing."""
    wrappers = _Wrappers(_counter(target))
    nothing = Function("@nothing", [])
    nothing.ret()
    wrappers.wrapper(Site("kernel", (), nothing.name), None, 0, False)
    many, now = probe("many"), probe("now")
    loop = many.begin_loop(_EMPTY_RUNS)
    many.call(wrappers.functions[0].name, None, [])
    many.end_loop(loop)
    now.store(now.intrinsic(wrappers.counter, I64, []), now.arguments[0], 8)
    functions = load_probes([nothing, *wrappers.functions], [many, now], target)
    place = np.zeros(1, np.int64)

    def read() -> int:
        functions["now"](place.ctypes.data, 0, 0, None, None)
        return int(place[0])

    least = math.inf
    for _ in range(20):
        wrappers.counts[:] = 0
        functions["many"](0, 0, 0, None, None)
        least = min(least, wrappers.counts[0, 0] / _EMPTY_RUNS)
    return read, least


PROFILER = Profiler(build, machine, machine_identity)
