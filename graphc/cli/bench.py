"""``graphc bench``: how long a call of an entry point takes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from graphc.cli.common import (
    Console,
    ExitCode,
    Parser,
    add_common,
    add_settings,
    add_target,
    readable_time,
    seconds,
    table,
)
from graphc.errors import GraphcValueError

if TYPE_CHECKING:
    from graphc.artifact.runtime.model import Model
    from graphc.cli.subject import Subject
    from graphc.cli.timing import Timing


def configure(parser: Parser) -> None:
    """Add the options of ``graphc bench``."""
    parser.add_argument(
        "model", metavar="MODEL|ARTIFACT", help="file.py[:name], which is run, or the folder of an artifact"
    )
    parser.add_argument("--entry", metavar="NAME", help="the entry point; by default each of them")
    parser.add_argument(
        "--seconds", metavar="S", type=seconds, default=2.0, help="to spend on an entry point; default: 2"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the random inputs; default: 0")
    add_target(parser)
    add_settings(parser)
    add_common(parser, figures=True)
    parser.example("graphc bench digits.py --entry train --set hidden=256", "graphc bench ./digits --seconds 10")


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Call with random inputs, again and again, and say how long it took."""
    if arguments.seed < 0:
        raise GraphcValueError("E106", f"--seed must not be negative, got {arguments.seed}")
    from graphc.cli.progress import progress
    from graphc.cli.subject import choose_entry, open_subject

    subject = open_subject(arguments)
    names = [choose_entry(subject.spec, arguments.entry).name] if arguments.entry else None
    model = subject.make()
    entries = [entry for entry in model.spec.entries if names is None or entry.name in names]
    flops = _flops(subject)
    found: dict[str, Timing] = {}
    with progress(console, "bench", len(entries)) as bar:
        for entry in entries:
            bar.update(len(found), entry.name)
            found[entry.name] = _time(subject, model, entry.name, arguments)
    rows = [_row(name, timing, flops.get(name)) for name, timing in found.items()]
    header = ("entry point", "median", "10%", "90%", "calls/s", "GFLOP/s", "calls")
    console.say(table(rows, header=header, right=range(1, len(header))))
    console.figures(
        {
            "model": subject.name,
            "backend": None if subject.module is None else arguments.backend,
            "threads": model.threads,
            "entries": {name: _figures(timing, flops.get(name)) for name, timing in found.items()},
        }
    )
    return ExitCode.DONE


def _time(subject: Subject, model: Model, name: str, arguments: argparse.Namespace) -> Timing:
    from graphc.cli.subject import make_inputs
    from graphc.cli.timing import time_call

    entry = next(entry for entry in model.spec.entries if entry.name == name)
    call = getattr(model, name)
    inputs = make_inputs(subject, model, entry, arguments.seed)
    values = [inputs[spec.name] for spec in entry.inputs]
    if not entry.updates:
        return time_call(lambda: call(*values), arguments.seconds)
    # Thousands of steps on one batch would end where no training does: in zeros, or in NaN.
    states = {state: array.copy() for state, array in model.parameters.items()}
    return time_call(lambda: call(*values), arguments.seconds, lambda: model.parameters.update(states))


def _flops(subject: Subject) -> dict[str, int]:
    """Floating-point operations of a call of each entry point; an artifact does not say."""
    if subject.module is None:
        return {}
    from graphc import driver
    from graphc.kernel.cost import entry_cost

    program = driver.lower(subject.module)
    return {name: entry_cost(program, entry).flops for name, entry in program.entries.items()}


def _row(name: str, timing: Timing, flops: int | None) -> tuple[str, ...]:
    rate = "" if flops is None else f"{flops / timing.median / 1e9:.1f}"
    times = [readable_time(spent) for spent in (timing.median, timing.quantile(0.1), timing.quantile(0.9))]
    return (name, *times, f"{1 / timing.median:,.0f}", rate, f"{timing.calls:,}")


def _figures(timing: Timing, flops: int | None) -> dict[str, Any]:
    return {
        "median_seconds": timing.median,
        "p10_seconds": timing.quantile(0.1),
        "p90_seconds": timing.quantile(0.9),
        "calls_per_second": 1 / timing.median,
        "calls": timing.calls,
        "flops": flops,
        "gflops": None if flops is None else flops / timing.median / 1e9,
    }
