"""``graphc compare``: every entry point on every backend, against the reference evaluator."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from graphc.cli.common import Console, ExitCode, Parser, add_common, add_model, add_settings, table
from graphc.errors import GraphcError, GraphcValueError, nearest

if TYPE_CHECKING:
    from graphc.artifact.runtime.model import Model
    from graphc.cli.comparison import Difference, Expectation
    from graphc.cli.divergence import Divergence
    from graphc.ir.graph import Graph, Module
    from graphc.ir.node import Node


def configure(parser: Parser) -> None:
    """Add the options of ``graphc compare``."""
    add_model(parser)
    parser.add_argument("--backends", metavar="A,B", help="which; by default all there are")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the random inputs and initial values; default: 0"
    )
    add_settings(parser)
    add_common(parser, figures=True)
    parser.example("graphc compare digits.py --backends numpy,llvm --set steps=8")


@dataclass(frozen=True)
class Outcome:
    """One entry point on one backend.

    Attributes:
        error: the largest deviation from the reference, relative to the largest value.
        differences: the results that are too far off.
        fault: what the backend raised where the reference did not.
        divergence: the first node that differs; None where every node alone agrees, or nothing differs.
    """

    entry: str
    backend: str
    error: float
    differences: tuple[Difference, ...] = ()
    fault: str | None = None
    divergence: Divergence | None = None

    @property
    def agrees(self) -> bool:
        """True where the backend gave what the reference gave."""
        return not self.differences and self.fault is None


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Compare, and say where the first difference arises."""
    if arguments.seed < 0:
        raise GraphcValueError("E106", f"--seed must not be negative, got {arguments.seed}")
    backends = _backends(arguments.backends)
    from graphc import driver
    from graphc.cli import build
    from graphc.cli.comparison import make_expectation
    from graphc.cli.progress import progress
    from graphc.ir.bind import bind_dimensions

    file, model = build.load_model(arguments)
    module = bind_dimensions(model.module, dict(arguments.dims))
    outcomes = []
    with progress(console, "compare", len(module.entries) * len(backends)) as bar:
        expectations = {
            name: make_expectation(graph, module.states, arguments.seed) for name, graph in module.entries.items()
        }
        for backend in backends:
            compile = partial(driver.compile, backend=backend)
            compiled = compile(module, name=file.artifact_name)
            for name, expectation in expectations.items():
                outcomes.append(_outcome(module, name, backend, compiled, expectation, compile))
                bar.update(len(outcomes), f"{name} on {backend}")
    _show(outcomes, console)
    console.figures(
        {"agree": all(outcome.agrees for outcome in outcomes), "results": [_figures(outcome) for outcome in outcomes]}
    )
    return ExitCode.DONE if all(outcome.agrees for outcome in outcomes) else ExitCode.DIFFERENT


def _backends(text: str | None) -> tuple[str, ...]:
    from graphc import driver

    known = driver.backend_names()
    if text is None:
        return known
    chosen = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in chosen:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"there are: {', '.join(known)}"
            raise GraphcValueError("E106", f"unknown backend {name!r}", hint=hint)
    if not chosen:
        raise GraphcValueError("E106", f"--backends {text!r} names none", hint=f"there are: {', '.join(known)}")
    return chosen


def _outcome(
    module: Module, entry: str, backend: str, compiled: Model, expectation: Expectation, compile: Any
) -> Outcome:
    from graphc.cli.comparison import compare, output_key, update_key
    from graphc.cli.divergence import first_divergence

    graph = module.entry(entry)
    for name, array in expectation.states.items():
        compiled.parameters[name][...] = array
    try:
        made = getattr(compiled, entry)(**expectation.inputs)
    except GraphcError as fault:
        return Outcome(entry, backend, float("inf"), fault=f"{backend} raised {fault}, the reference did not")
    got = {output_key(name): array for name, array in _by_name(made, graph).items()}
    got |= {update_key(state.name): compiled.parameters[state.name] for state in _updated(graph)}
    largest = 0.0
    differences: list[Difference] = []
    failing: list[Node] = []
    for what, expected in expectation.values.items():
        node = expectation.nodes[what]
        error, difference = compare(what, got[what], expected, expectation.near_values[what], node.dtype)
        largest = max(largest, error)
        if difference is not None:
            differences.append(difference)
            failing.append(node)
    divergence = first_divergence(graph, expectation, failing, compile) if failing else None
    return Outcome(entry, backend, largest, tuple(differences), divergence=divergence)


def _by_name(made: Any, graph: Graph) -> dict[str, Any]:
    return made if isinstance(made, dict) else {name: made for name, _ in graph.outputs}


def _updated(graph: Graph) -> list[Any]:
    return [variable.attrs["state"] for variable, _ in graph.updates]


def _show(outcomes: Sequence[Outcome], console: Console) -> None:
    rows = [(o.entry, o.backend, "agrees" if o.agrees else "DIFFERS", f"{o.error:.1e}") for o in outcomes]
    console.say(table(rows, header=("entry point", "backend", "result", "largest error"), right=[3]))
    for outcome in outcomes:
        for line in _explanation(outcome):
            console.say(line)


def _explanation(outcome: Outcome) -> list[str]:
    if outcome.agrees:
        return []
    lines = ["", f"{outcome.entry} on {outcome.backend}:"]
    if outcome.fault is not None:
        return [*lines, f"  {outcome.fault}"]
    lines += [f"  {difference}" for difference in outcome.differences[:5]]
    if len(outcome.differences) > 5:
        lines.append(f"  and {len(outcome.differences) - 5} more results")
    return [*lines, f"  first diverging node: {_first_node(outcome)}"]


def _first_node(outcome: Outcome) -> str:
    if outcome.divergence is None:
        return "none: each node alone agrees, so they are put together wrongly"
    return str(outcome.divergence.difference)


def _figures(outcome: Outcome) -> dict[str, Any]:
    return {
        "entry": outcome.entry,
        "backend": outcome.backend,
        "agrees": outcome.agrees,
        "largest_error": outcome.error,
        "differences": [str(difference) for difference in outcome.differences],
        "fault": outcome.fault,
        "first_diverging_node": None if outcome.agrees or outcome.fault else _first_node(outcome),
    }
