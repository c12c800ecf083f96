"""Random graphs and random loops: all backends agree, whatever passes have run.

``GRAPHC_DAGS`` sets how many graphs without loops, ``GRAPHC_LOOPS`` how many with loops: the slow tests with
``GRAPHC_LOOPS=2000`` hold every pass alone and all of them together against the unrolled graph 2,000 times.  A failure
prints the seed, from which ``random_graph(seed)``, ``random_loop_graph(seed)`` or ``random_loop_program(seed)`` makes
the graph again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import pytest

from graphc.driver import compile as compile_model
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.printer import print_graph
from graphc.passes.pipeline import pass_names
from tests.backends_under_test import BACKENDS, Result, compiled, in_small_blocks, with_passes
from tests.generators import random_graph, random_loop_graph
from tests.loop_programs import random_loop_program
from tests.optable import Array
from tests.shadow import allowed_errors, disagreement

COUNTS = {"graph": int(os.environ.get("GRAPHC_DAGS", "40")), "loop": int(os.environ.get("GRAPHC_LOOPS", "16"))}
SLOW_COUNTS = {"graph": int(os.environ.get("GRAPHC_DAGS", "500")), "loop": int(os.environ.get("GRAPHC_LOOPS", "240"))}
SLOW_SEEDS = 1_000_000
CHUNK = 5
_ROLLED_SEEDS = 25

Maker = Callable[[int], tuple[Graph, list[Array]]]
MAKERS: Mapping[str, Maker] = {
    "graph": random_graph,
    "loop": random_loop_graph,
    "program": random_loop_program,
}


class Case:
    """One graph with its arguments and the answer."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self.graph, self.inputs = MAKERS[kind](seed)
        self.module = Module("random", {self.graph.name: self.graph})
        allowed = allowed_errors(self.graph, self.inputs)
        assert allowed is not None
        self.allowed: dict[Node, Array] = allowed
        self.expected: Result = evaluate(self.graph, self.inputs)

    def check(self, backend: str, module: Module, what: str) -> None:
        """Hold a backend's answer for ``module``, some form of the graph, against the reference's for the graph."""
        try:
            got = compiled(backend, module)(self.graph.name, self.inputs, None)
            wrong = disagreement(self.graph, got, self.expected, self.allowed)
        except Exception as error:  # whatever a backend raises is a finding
            raise AssertionError(self.report(backend, what, f"{type(error).__name__}: {error}", module)) from error
        assert wrong is None, self.report(backend, what, wrong, module)

    def report(self, backend: str, what: str, wrong: str, module: Module) -> str:
        """Everything needed to see the mismatch again."""
        form = module.entries[self.graph.name]
        text = print_graph(form) if len(form) <= 400 else f"({len(form)} nodes)"
        return f"{self.kind} seed {self.seed}, {backend}, {what}: {wrong}\n{text}"


def chunks(counts: Mapping[str, int]) -> list[object]:
    """Parameters (kind, seeds), a few seeds each; half of the graphs with loops are single cells, half are programs."""
    parts = {"graph": counts["graph"], "loop": counts["loop"] - counts["loop"] // 2, "program": counts["loop"] // 2}
    return [
        pytest.param(kind, range(start, min(start + CHUNK, count)), id=f"{kind}-{start}")
        for kind, count in parts.items()
        for start in range(0, count, CHUNK)
    ]


def check_seed(kind: str, seed: int, each_pass: Sequence[str], no_passes: Sequence[str] = BACKENDS) -> None:
    """All backends after all passes, those of ``no_passes`` before any, those of ``each_pass`` after each alone."""
    case = Case(kind, seed)
    for backend in no_passes:
        case.check(backend, case.module, "no passes")
    scheduled = with_passes(case.module)
    for backend in ("reference", *BACKENDS):
        case.check(backend, scheduled, "all passes")
    for name in pass_names():
        alone = with_passes(case.module, only=[name])
        if alone.entries[case.graph.name] is not case.graph:
            for backend in each_pass:
                case.check(backend, alone, f"only {name}")
    if kind != "graph":
        blocked = in_small_blocks(case.module)
        for backend in each_pass:
            case.check(backend, blocked, "small blocks")


@pytest.mark.parametrize(("kind", "seeds"), chunks(COUNTS))
def test_backends_agree(kind: str, seeds: range) -> None:
    for seed in seeds:
        check_seed(kind, seed, ("reference", "kernel"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seeds"), chunks(SLOW_COUNTS))
def test_backends_agree_on_many(kind: str, seeds: range) -> None:
    for seed in seeds:
        # Native code without passes, and for every pass alone, takes long: one graph in two, one in ten.
        each_pass = ("reference", *BACKENDS) if seed % 10 == 0 else ("reference",)
        check_seed(kind, SLOW_SEEDS + seed, each_pass, BACKENDS if seed % 2 == 0 else ("kernel", "numpy"))


@pytest.mark.parametrize(("kind", "share"), [("loop", 0.75), ("program", 0.5)])
def test_most_loops_are_rolled(kind: str, share: float) -> None:
    """Else the comparisons above would hold nothing; what stays straight has few steps, or reads only a few of them."""
    rolled, before, after = 0, 0, 0
    for seed in range(_ROLLED_SEEDS):
        graph, _ = MAKERS[kind](seed)
        made = with_passes(Module("random", {graph.name: graph}), only=["roll"]).entries[graph.name]
        rolled += any(node.op.name == "loop" for node in made.nodes)
        before, after = before + len(graph), after + len(made)
    assert rolled >= share * _ROLLED_SEEDS, rolled
    assert after <= 0.4 * before, (before, after)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_models_in_memory_agree(backend: str) -> None:
    """The same graphs through the driver and the runtime, which calls them as a user does; two calls, two updates."""
    for kind in MAKERS:
        for seed in range(100, 106):
            case = Case(kind, seed)
            model = compile_model(case.module, backend=backend)
            twice = (case.expected, evaluate(case.graph, case.inputs, case.expected[1]))
            for expected in twice if case.graph.updates and kind == "loop" else twice[:1]:
                made = getattr(model, case.graph.name)(*case.inputs)
                outputs = made if isinstance(made, dict) else {case.graph.outputs[0][0]: made}
                states = {variable.attrs["state"].name: None for variable, _ in case.graph.updates}
                got = (outputs, {name: model.parameters[name].copy() for name in states})
                wrong = disagreement(case.graph, got, expected, case.allowed)
                assert wrong is None, case.report(backend, "driver", wrong, case.module)


@pytest.mark.parametrize("backend", BACKENDS)
def test_entry_points_share_constants_and_state(backend: str) -> None:
    """Several entry points in one module, one of which updates what the others read."""
    for seed in range(200, 206):
        case = Case("graph", seed)
        graph = case.graph
        halves = (graph.outputs[::2], graph.outputs[1::2])
        entries = {f"part{k}": Graph.make(f"part{k}", graph.inputs, half) for k, half in enumerate(halves)}
        module = Module("several", {**entries, graph.name: graph})
        run = compiled(backend, with_passes(module))
        for name, entry in module.entries.items():
            wrong = disagreement(entry, run(name, case.inputs, None), case.expected, case.allowed)
            assert wrong is None, case.report(backend, name, wrong, module)


@pytest.mark.parametrize("seed", range(3))
def test_equal_seeds_give_equal_graphs(seed: int) -> None:
    assert print_graph(random_graph(seed)[0]) == print_graph(random_graph(seed)[0])
    assert print_graph(random_loop_graph(seed)[0]) == print_graph(random_loop_graph(seed)[0])
    assert print_graph(random_loop_program(seed)[0]) == print_graph(random_loop_program(seed)[0])
