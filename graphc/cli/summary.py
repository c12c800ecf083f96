"""``graphc summary``: parameters, entry points and their ops, and the matrix products before and after the passes."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from graphc.cli.common import (
    Console,
    ExitCode,
    Parser,
    add_common,
    add_model,
    add_settings,
    plural,
    readable_size,
    table,
)

if TYPE_CHECKING:
    from graphc.ir.graph import Graph, Module
    from graphc.ir.state import State
    from graphc.ir.types import TensorType


def configure(parser: Parser) -> None:
    """Add the options of ``graphc summary``."""
    add_model(parser)
    parser.add_argument(
        "--gemms", action="store_true", help="list the matrix products, as written and after the passes, instead"
    )
    add_settings(parser)
    add_common(parser, figures=True)
    parser.example("graphc summary digits.py --set hidden=256", "graphc summary digits.py --gemms")


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Print the tables."""
    from graphc.cli import build
    from graphc.ir.bind import bind_dimensions

    file, model = build.load_model(arguments)
    if arguments.gemms:
        return _show_gemms(bind_dimensions(model.module, dict(arguments.dims)), file.artifact_name, console)
    module = bind_dimensions(model.module, dict(arguments.dims)) if arguments.dims else model.module
    states = list(module.states.values())
    parameters = [state for state in states if state.role == "parameter"]
    others = [state for state in states if state.role != "parameter"]
    if parameters:
        rows = [
            (state.name, _shape(state.type), state.type.dtype, f"{state.type.static_size:,}") for state in parameters
        ]
        console.say(table(rows, header=("parameter", "shape", "dtype", "count"), right=[3]))
    total = _numbers(parameters)
    trainable = _numbers([state for state in parameters if state.trainable])
    console.say(f"{total:,} parameters, {trainable:,} of them trainable, {readable_size(_bytes(parameters))}")
    if others:
        kinds = Counter(state.role for state in others)
        listed = ", ".join(plural(number, role) for role, number in kinds.items())
        console.say(f"other state: {listed}, {_numbers(others):,} numbers, {readable_size(_bytes(others))}")
    for graph in module.entries.values():
        console.say()
        console.say(_signature(graph))
        console.say(
            f"  {plural(len(graph), 'node')}: {', '.join(f'{op} {number}' for op, number in _ops(graph).items())}"
        )
    console.figures(
        {
            "name": file.artifact_name,
            "parameters": [_state_figures(state) for state in parameters],
            "parameter_count": total,
            "trainable_count": trainable,
            "other_state": [{**_state_figures(state), "role": state.role} for state in others],
            "entries": {name: _entry_figures(module, name) for name in module.entries},
        }
    )
    return ExitCode.DONE


def _show_gemms(module: Module, name: str, console: Console) -> int:
    from graphc import driver
    from graphc.cli.gemms import gemm_figures, gemm_lines, gemms
    from graphc.passes.pipeline import run_pipeline

    optimized = driver.schedule(module)
    figures = {}
    for entry, graph in module.entries.items():
        # A convolution is a product too, once it is taken apart.
        stages = [("source", gemms(run_pipeline(graph, only=[]))), ("optimized", gemms(optimized.entry(entry)))]
        for line in gemm_lines(entry, stages):
            console.say(line)
        figures[entry] = {stage: gemm_figures(found) for stage, found in stages}
    console.figures({"name": name, "gemms": figures})
    return ExitCode.DONE


def _shape(type_: TensorType) -> str:
    return " × ".join(map(str, type_.shape)) or "scalar"


def _numbers(states: list[State]) -> int:
    return sum(state.type.static_size for state in states)


def _bytes(states: list[State]) -> int:
    return sum(state.type.nbytes for state in states)


def _ops(graph: Graph) -> dict[str, int]:
    """Op → how many nodes, the most frequent first."""
    counts = Counter(node.op.name for node in graph.nodes)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _signature(graph: Graph) -> str:
    inputs = ", ".join(f"{node.attrs['name']}: {node.type!r}" for node in graph.inputs)
    outputs = ", ".join(f"{name}: {node.type!r}" for name, node in graph.outputs) or "nothing"
    updates = f", updates {plural(len(graph.updates), 'variable')}" if graph.updates else ""
    return f"{graph.name}({inputs}) -> {outputs}{updates}"


def _state_figures(state: State) -> dict[str, Any]:
    shape = [dim if isinstance(dim, int) else str(dim) for dim in state.type.shape]
    return {"name": state.name, "dtype": state.type.dtype.name, "shape": shape, "count": state.type.static_size}


def _type_figures(type_: TensorType) -> dict[str, Any]:
    return {"dtype": type_.dtype.name, "shape": [dim if isinstance(dim, int) else str(dim) for dim in type_.shape]}


def _entry_figures(module: Module, name: str) -> dict[str, Any]:
    graph = module.entry(name)
    return {
        "inputs": {key: _type_figures(type_) for key, type_ in module.input_types(name).items()},
        "outputs": {key: _type_figures(node.tensor) for key, node in graph.outputs},
        "updates": [variable.attrs["state"].name for variable, _ in graph.updates],
        "nodes": len(graph),
        "ops": _ops(graph),
    }
