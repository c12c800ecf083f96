"""The stages of a model as pictures: which graph is drawn, after which passes."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.errors import GraphcValueError, nearest
from graphc.ir.graph import Graph, Module
from graphc.kernel.lower import lower_module
from graphc.kernel.program import Entry, Program
from graphc.passes.pipeline import run_pipeline
from graphc.render.compose import draw_graph
from graphc.render.kernels import draw_entry
from graphc.render.label import clipped
from graphc.render.memory import Chart, memory_chart
from graphc.render.picture import Picture

STAGES: Mapping[str, str] = {
    "source": "the forward graph as the model wrote it",
    "gradient": "forward, backward and update, as differentiation made them",
    "rolled": "after unrolled steps have become loops",
    "optimized": "after all passes: groups that become kernels",
    "kernels": "what runs: kernel calls, loops and buffers",
    "memory": "the arena over time",
    "equations": "the model and its derivatives as formulas",
}
"""Name → what it shows."""

_AFTER_ROLL = "accumulate"


def check_stage(stage: str) -> None:
    """Refuse a name that is no stage.

    Raises:
        GraphcValueError: E130.
    """
    if stage not in STAGES:
        close = nearest(stage, STAGES)
        hint = f"did you mean {close}?" if close else f"one of {', '.join(STAGES)}"
        raise GraphcValueError("E130", f"no stage is called {stage!r}", hint=hint)


def is_training(graph: Graph) -> bool:
    """Does the graph update something, or give out a derivative?"""
    return bool(graph.updates) or any(graph.note(node).role != "forward" for node in graph.output_nodes if node.inputs)


def choose_entry(module: Module, stage: str, entry: str | None) -> Graph:
    """The entry point to draw: the one named, else the first that only computes (source) or that trains (other stages).

    Raises:
        GraphcKeyError: E448, no entry point of that name.
        GraphcValueError: E135, the gradient of a model that has none.
    """
    graphs = list(module.entries.values())
    training = [graph for graph in graphs if is_training(graph)]
    if entry is not None:
        chosen = module.entry(entry)
    elif stage in ("source", "equations"):
        chosen = next((graph for graph in graphs if not is_training(graph)), graphs[0])
    else:
        chosen = training[0] if training else graphs[0]
    if stage == "gradient" and not is_training(chosen):
        others = [graph.name for graph in training]
        hint = f"draw {', '.join(others)}" if others else "add one, e.g. Model(train=optim.SGD(0.1).minimize(loss))"
        raise GraphcValueError("E135", f"the entry point {chosen.name!r} has no gradient to draw", hint=hint)
    return chosen


def title_of(module: Module, graph: Graph, stage: str) -> str:
    """The heading of a picture."""
    return f"{clipped(module.name, 40)} · {clipped(graph.name, 40)} · {stage}"


def stage_picture(
    module: Module,
    stage: str,
    *,
    entry: str | None = None,
    program: Program | None = None,
    fold: bool = True,
    limit: int = 2000,
) -> Picture:
    """The picture of a stage that is a graph (all but ``memory`` and ``equations``)."""
    graph = choose_entry(module, stage, entry)
    title = title_of(module, graph, stage)
    if stage == "kernels":
        lowered, of = lowered_entry(module, graph, program)
        return draw_entry(lowered, of, title, limit=limit)
    if stage == "source":
        return draw_graph(graph, title, stage, fold=fold, limit=limit, roles=("forward",))
    if stage == "rolled":
        graph = run_pipeline(graph, until=_AFTER_ROLL)
    elif stage == "optimized":
        graph = run_pipeline(graph)
    return draw_graph(graph, title, stage, fold=fold, steps=stage == "gradient", limit=limit)


def stage_chart(module: Module, *, entry: str | None = None, program: Program | None = None) -> Chart:
    """The memory chart of an entry point."""
    graph = choose_entry(module, "memory", entry)
    title = title_of(module, graph, "memory")
    lowered, of = lowered_entry(module, graph, program)
    return memory_chart(lowered, of, title)


def lowered_entry(module: Module, graph: Graph, program: Program | None) -> tuple[Program, Entry]:
    """The entry point in a program, lowered here where none is given."""
    if program is None:
        program = lower_module(Module(module.name, {graph.name: run_pipeline(graph)}))
    found = program.entries.get(graph.name)
    if found is None:
        raise GraphcValueError(
            "E130", f"the program has no entry point {graph.name!r}", hint=f"there are: {', '.join(program.entries)}"
        )
    return program, found
