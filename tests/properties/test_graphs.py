"""Laws of every graph: its text form, the verifier, passes that have run already, rolling and back, memory plans."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.rewrite import inline
from graphc.ir.verify import verify
from graphc.kernel.memory import verify_plan
from graphc.passes.decompose import Decompose
from graphc.passes.fold import Fold
from graphc.passes.fuse import Fuse
from graphc.passes.pipeline import PIPELINE, run_pipeline
from graphc.passes.roll import Roll
from graphc.passes.simplify import Simplify
from graphc.passes.unroll import Unroll
from tests.backends_under_test import program_of
from tests.generators import random_graph, random_loop_graph

SEEDS = st.integers(0, 10**6)
GRAPHS = SEEDS.map(lambda seed: random_graph(seed)[0])
LOOPS = SEEDS.map(lambda seed: random_loop_graph(seed)[0])
ANY = st.one_of(GRAPHS, LOOPS)


@settings(max_examples=25)
@given(ANY)
def test_text_is_read_back(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(text)
    assert again == graph
    assert print_graph(again) == text


@settings(max_examples=10)
@given(ANY)
def test_text_of_scheduled_graphs_is_read_back(graph: Graph) -> None:
    """Rolled loops, fused kernels, and the constants that folding made."""
    scheduled = run_pipeline(graph)
    assert parse_graph(print_graph(scheduled)) == scheduled


@settings(max_examples=15)
@given(ANY)
def test_every_pass_gives_valid_graphs(graph: Graph) -> None:
    for step, _reason in PIPELINE:
        changed = step.run(graph)
        verify(changed)
        assert [node.type for node in changed.output_nodes] == [node.type for node in graph.output_nodes]
        assert [name for name, _ in changed.outputs] == [name for name, _ in graph.outputs]
        assert [node.type for node in changed.inputs] == [node.type for node in graph.inputs]
        assert [v.attrs["state"] for v, _ in changed.updates] == [v.attrs["state"] for v, _ in graph.updates]
        graph = changed


IDEMPOTENT: dict[str, Callable[[Graph], Graph]] = {
    "decompose": Decompose().run,
    "fold": Fold().run,
    "simplify": Simplify().run,
    "fuse": Fuse().run,
    "roll": Roll().run,
}


@pytest.mark.parametrize("name", IDEMPOTENT)
@settings(max_examples=10)
@given(ANY)
def test_a_second_run_changes_nothing(name: str, graph: Graph) -> None:
    run = IDEMPOTENT[name]
    ready = run_pipeline(graph, until=name) if name != "decompose" else graph
    once = run(ready)
    twice = run(once)
    assert twice is once or twice == once, f"{name} changes its own result\n{print_graph(once)}\n{print_graph(twice)}"


def same_structure(left: Graph, right: Graph) -> bool:
    """Whether two graphs compute the same expressions, in whatever order their nodes stand."""
    b = Builder()
    inputs = [b.input(node.attrs["name"], node.tensor) for node in left.inputs]
    return inline(b, left, inputs) == inline(b, right, inputs)


@settings(max_examples=20)
@given(LOOPS)
def test_unroll_undoes_roll(graph: Graph) -> None:
    """Up to the stacks that simplifying takes apart, which it may do before as well as after."""
    ready = run_pipeline(graph, until="roll")
    rolled = Roll().run(ready)
    unrolled = Unroll().run(rolled)
    verify(unrolled)
    assert not any(node.op.name == "loop" for node in unrolled.nodes)
    assert same_structure(unrolled, Unroll().run(ready))


@settings(max_examples=15)
@given(ANY, st.booleans())
def test_memory_plans_are_sound(graph: Graph, scheduled: bool) -> None:
    """No two live buffers share a byte; the verifier walks through every step."""
    program = program_of(Module("plan", {graph.name: run_pipeline(graph) if scheduled else graph}))
    for entry in program.entries.values():
        verify_plan(entry, program.kernels)
        assert all(offset % 64 == 0 for offset in entry.memory.offsets.values())
