"""Random graphs and random loops: all backends agree, whatever passes have run.

``GRAPHC_DAGS`` sets how many graphs; a failure prints the seed, from which ``random_graph(seed)`` or
``random_loop_graph(seed)`` makes the graph again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import pytest

from graphc.errors import GraphcError
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.printer import print_graph
from graphc.passes.pipeline import pass_names
from tests.backends_under_test import BACKENDS, Result, compiled, with_passes
from tests.generators import random_graph, random_loop_graph
from tests.optable import Array
from tests.shadow import allowed_errors, disagreement

COUNT = int(os.environ.get("GRAPHC_DAGS", "40"))
SLOW_COUNT = int(os.environ.get("GRAPHC_DAGS", "500"))
CHUNK = 5

Maker = Callable[[int], tuple[Graph, list[Array]]]
MAKERS: Mapping[str, Maker] = {"graph": random_graph, "loop": random_loop_graph}


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
        except (
            GraphcError,
            AssertionError,
            RuntimeError,
            TypeError,
            ValueError,
            LookupError,
            NameError,
            AttributeError,
        ) as error:
            raise AssertionError(self.report(backend, what, f"{type(error).__name__}: {error}", module)) from error
        assert wrong is None, self.report(backend, what, wrong, module)

    def report(self, backend: str, what: str, wrong: str, module: Module) -> str:
        """Everything needed to see the mismatch again."""
        form = module.entries[self.graph.name]
        text = print_graph(form) if len(form) <= 400 else f"({len(form)} nodes)"
        return f"{self.kind} seed {self.seed}, {backend}, {what}: {wrong}\n{text}"


def chunks(count: int) -> Sequence[range]:
    return [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def check_seed(kind: str, seed: int, *, native_for_each_pass: bool) -> None:
    case = Case(kind, seed)
    forms = {"no passes": case.module, "all passes": with_passes(case.module)}
    for what, module in forms.items():
        for backend in ("reference", *BACKENDS):
            case.check(backend, module, what)
    for name in pass_names():
        alone = with_passes(case.module, only=[name])
        if alone.entries[case.graph.name] is case.graph:
            continue
        for backend in ("reference", *BACKENDS) if native_for_each_pass else ("reference", "kernel"):
            case.check(backend, alone, f"only {name}")


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seeds", chunks(COUNT), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_backends_agree(kind: str, seeds: range) -> None:
    for seed in seeds if kind == "graph" else seeds[::CHUNK]:
        check_seed(kind, seed, native_for_each_pass=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seeds", chunks(SLOW_COUNT), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_backends_agree_on_many(kind: str, seeds: range) -> None:
    for seed in seeds if kind == "graph" else seeds[::CHUNK]:
        check_seed(kind, 1_000_000 + seed, native_for_each_pass=seed % 10 == 0)


@pytest.mark.parametrize("seed", range(3))
def test_equal_seeds_give_equal_graphs(seed: int) -> None:
    assert print_graph(random_graph(seed)[0]) == print_graph(random_graph(seed)[0])
    assert print_graph(random_loop_graph(seed)[0]) == print_graph(random_loop_graph(seed)[0])
