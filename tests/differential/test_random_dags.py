"""Random graphs and random loops: all backends agree, whatever passes have run.

``GRAPHC_DAGS`` sets how many graphs; a failure prints the seed, from which ``random_graph(seed)``,
``random_loop_graph(seed)`` or ``random_loop_program(seed)`` makes the graph again.
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
from tests.backends_under_test import BACKENDS, Result, compiled, with_passes
from tests.generators import random_graph, random_loop_graph
from tests.loop_programs import random_loop_program
from tests.optable import Array
from tests.shadow import allowed_errors, disagreement

COUNT = int(os.environ.get("GRAPHC_DAGS", "40"))
SLOW_COUNT = int(os.environ.get("GRAPHC_DAGS", "500"))
SLOW_SEEDS = 1_000_000
CHUNK = 5

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


def chunks(count: int) -> Sequence[range]:
    return [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


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


def chosen(kind: str, seeds: range) -> range:
    """Loops are larger than graphs: one for five graphs."""
    return seeds if kind == "graph" else seeds[::CHUNK]


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seeds", chunks(COUNT), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_backends_agree(kind: str, seeds: range) -> None:
    for seed in chosen(kind, seeds):
        check_seed(kind, seed, ("reference", "kernel"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seeds", chunks(SLOW_COUNT), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_backends_agree_on_many(kind: str, seeds: range) -> None:
    for seed in chosen(kind, seeds):
        # Native code without passes, and for every pass alone, takes long: one graph in two, one in ten.
        each_pass = ("reference", *BACKENDS) if seed % 10 == 0 else ("reference",)
        check_seed(kind, SLOW_SEEDS + seed, each_pass, BACKENDS if seed % 2 == 0 else ("kernel", "numpy"))


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
