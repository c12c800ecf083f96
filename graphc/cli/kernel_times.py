"""Runs code that times itself beside the same code that does not, and sets each kernel against its limit."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from graphc import driver
from graphc.artifact.profile import Profiled, Site
from graphc.artifact.runtime.spec import EntrySpec
from graphc.cli.subject import Subject
from graphc.config import Options
from graphc.ir.graph import Module
from graphc.kernel.cost import Cost, Machine, calls_with_working_sets, copy_cost, kernel_cost
from graphc.kernel.program import Call, Copy

_ROUND_S = 0.002
"""A round of calls takes about so long: reading clocks around it costs nothing, and many are undisturbed."""

_LEAST_ROUNDS = 12


@dataclass(frozen=True)
class KernelTime:
    """A function that an entry point calls, in one call of the entry point.

    Attributes:
        name: of the kernel; packing and copies are told apart by ``kind``.
        kind: ``kernel``, ``pack`` or ``copy``.
        layer, op, line: what it computes, in the user's terms; empty where it is not known.
        runs: how often it ran.
        seconds: of all runs together.
        cost: of all runs together.
        limit: the least seconds that they could take on this machine, on as many of its cores as share them.
        limited_by: ``arithmetic``, ``reading`` or ``writing``.
    """

    name: str
    kind: str
    layer: str
    op: str
    line: str
    runs: int
    seconds: float
    cost: Cost
    limit: float
    limited_by: str


@dataclass(frozen=True)
class Profile:
    """Where the time of a call goes.

    Attributes:
        entry: the entry point.
        seconds: of a call of the ordinary code.
        kernels: the slowest first.
        between: seconds of the call outside of all kernels.
        overhead: how much slower the code that times itself is, as a share.
        threads: that a call has; kernels are timed on the first one.
    """

    entry: str
    seconds: float
    kernels: tuple[KernelTime, ...]
    between: float
    overhead: float
    threads: int = 1

    @property
    def limit(self) -> float:
        """The least seconds of a call on this machine, kernel by kernel."""
        return sum(line.limit for line in self.kernels)


def profile_entry(subject: Subject, entry: EntrySpec, arguments: argparse.Namespace, machine: Machine) -> Profile:
    """Profile an entry point of a model file with random inputs."""
    from graphc.cli.comparison import random_inputs

    assert subject.module is not None
    module = _alone(subject.module, entry.name)
    options = Options(arguments.backend, arguments.cpu, arguments.fast_math)
    timed, profiled = driver.profile(module, entry.name, options, threads=arguments.threads)
    plain = driver.compile(
        module, arguments.backend, cpu=arguments.cpu, fast_math=arguments.fast_math, threads=timed.threads
    )
    inputs = random_inputs(module.entry(entry.name), np.random.default_rng(arguments.seed))
    values = [inputs[spec.name] for spec in entry.inputs]
    calls = [lambda model=model: getattr(model, entry.name)(*values) for model in (plain, timed)]
    seconds, slower, counts = _measure(calls[0], calls[1], profiled, arguments.seconds)
    kernels = _kernel_times(profiled, entry.name, counts, machine, timed.threads)
    between = max(0.0, seconds - sum(line.seconds for line in kernels))
    # Where the kernels alone took longer than a call, they took all of it.
    total = max(seconds, sum(line.seconds for line in kernels))
    return Profile(entry.name, total, kernels, between, slower, timed.threads)


def _alone(module: Module, entry: str) -> Module:
    """The model with one entry point, and all of its states."""
    return Module(module.name, {entry: module.entry(entry)}, tuple(module.states.values()))


def _measure(
    plain: Callable[[], object], timed: Callable[[], object], profiled: Profiled, seconds: float
) -> tuple[float, float, list[tuple[float, float]]]:
    """Seconds of a plain call, how much slower the timed one is, and (seconds, runs) of each site in a call.

    The two take turns, so that whatever else the machine does meets both.  The best of many short rounds counts: what
    disturbs a round makes it longer.
    """
    start = time.perf_counter()
    for _ in range(2):
        plain()
        timed()
    number = max(1, round(_ROUND_S / ((time.perf_counter() - start) / 4)))
    best_plain = best_timed = math.inf
    best: list[tuple[float, float]] = []
    rounds = 0
    while rounds < _LEAST_ROUNDS or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        for _ in range(number):
            plain()
        middle = time.perf_counter()
        profiled.reset()
        first_tick = profiled.now()
        for _ in range(number):
            timed()
        ticks = profiled.now() - first_tick
        end = time.perf_counter()
        per_tick = (end - middle) / max(ticks, 1)
        found = [
            (max(0.0, spent - runs * profiled.empty_ticks) * per_tick / number, runs / number)
            for spent, runs in profiled.read()
        ]
        best = [min(pair) for pair in zip(best, found, strict=True)] if best else found
        best_plain = min(best_plain, (middle - begin) / number)
        best_timed = min(best_timed, (end - middle) / number)
        rounds += 1
    return best_plain, best_timed / best_plain - 1.0, best


def _kernel_times(
    profiled: Profiled, entry: str, counts: list[tuple[float, float]], machine: Machine, threads: int
) -> tuple[KernelTime, ...]:
    program = profiled.program
    made = program.entries[entry]
    costs = [kernel_cost(kernel, machine.instructions, machine.products) for kernel in program.kernels]
    working_sets = {id(step): nbytes for step, _, nbytes in calls_with_working_sets(program, made)}
    lines = []
    for site, (seconds, runs) in zip(profiled.sites, counts, strict=True):
        step = site.steps[0] if site.steps else None
        cost = Cost()
        if site.kind == "pack":
            cost = Cost(read=site.nbytes, written=site.nbytes)
        elif isinstance(step, Copy):
            cost = copy_cost(made, step)
        elif step is not None:
            cost = costs[step.kernel]
        working_set = max((working_sets.get(id(step), 0) for step in site.steps), default=0)
        limit, limited_by = machine.least_seconds(cost, working_set)
        named = _named(site, program.kernels[step.kernel].name if isinstance(step, Call) else "copy")
        times = round(runs)
        lines.append(
            replace(
                named,
                runs=times,
                seconds=seconds,
                cost=cost.times(times),
                limit=limit * times / (threads if site.shared else 1),
                limited_by=limited_by if limit else "",
            )
        )
    return tuple(sorted(lines, key=lambda line: -line.seconds))


def _named(site: Site, kernel: str) -> KernelTime:
    """A line without figures: the names of a site."""
    step = site.steps[0] if site.steps else None
    layer, op, line = "", "", ""
    if isinstance(step, Call):
        layer, colon, op = step.note.rpartition(": ")
        layer = layer if colon else ""
        if step.location is not None:
            line = f"{os.path.basename(step.location.file)}:{step.location.line}"
    name = f"pack for {kernel}" if site.kind == "pack" else kernel
    return KernelTime(name, site.kind, layer, op, line, 0, 0.0, Cost(), 0.0, "")
