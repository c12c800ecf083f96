"""``graphc profile``: where the time of a call goes, kernel by kernel, and how far each is from the machine's limit."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphc.cli.common import (
    Console,
    ExitCode,
    Parser,
    add_common,
    add_model,
    add_settings,
    add_target,
    count,
    readable_size,
    readable_time,
    seconds,
    table,
)
from graphc.errors import GraphcValueError

if TYPE_CHECKING:
    from graphc.cli.kernel_times import KernelTime, Profile
    from graphc.kernel.cost import Machine


def configure(parser: Parser) -> None:
    """Add the options of ``graphc profile``."""
    add_model(parser)
    parser.add_argument("--entry", metavar="NAME", help="the entry point; by default predict, or the only one")
    parser.add_argument("--seconds", metavar="S", type=seconds, default=2.0, help="to spend on it; default: 2")
    parser.add_argument("--top", metavar="N", type=count, default=20, help="kernels to list; default: 20")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the random inputs; default: 0")
    parser.add_argument("--measure", action="store_true", help="measure the machine anew before")
    add_target(parser)
    add_settings(parser)
    add_common(parser, figures=True)
    parser.example("graphc profile digits.py --entry train", "graphc profile digits.py --set hidden=256 --top 5 --json")


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Time each kernel, and set it against what the machine can do."""
    if arguments.seed < 0:
        raise GraphcValueError("E106", f"--seed must not be negative, got {arguments.seed}")
    from graphc import driver
    from graphc.cli.kernel_times import profile_entry
    from graphc.cli.subject import choose_entry, open_model

    subject = open_model(arguments)
    entry = choose_entry(subject.spec, arguments.entry)
    machine = driver.machine(arguments.backend, again=arguments.measure)
    made = profile_entry(subject, entry, arguments, machine)
    _show(made, machine, arguments.top, console)
    console.figures(_figures(made, machine))
    return ExitCode.DONE


def _show(made: Profile, machine: Machine, top: int, console: Console) -> None:
    rows = [_row(line, made.seconds) for line in made.kernels[:top]]
    if len(made.kernels) > top:
        rest = sum(line.seconds for line in made.kernels[top:])
        rows.append((f"{len(made.kernels) - top} more", "", "", "", readable_time(rest), f"{rest / made.seconds:.1%}"))
    share = made.between / made.seconds
    between = "(between kernels)" if made.threads == 1 else "(between kernels, and waiting for each other)"
    rows.append((between, "", "", "", readable_time(made.between), f"{share:.1%}"))
    header = ("kernel", "layer", "line", "runs", "time", "share", "GFLOP/s", "GB/s", "of limit", "limited by")
    filled = [(*row, *[""] * (len(header) - len(row))) for row in rows]
    console.say(table(filled, header=header, right=[3, 4, 5, 6, 7, 8]))
    if made.threads > 1:
        console.say(f"the first of {made.threads} threads; what they share is measured against as many cores")
    console.say(
        f"{made.entry}: {readable_time(made.seconds)} a call, {made.limit / made.seconds:.0%} of the limit; "
        f"timing the kernels makes it {made.overhead:.1%} slower"
    )
    bandwidths = ", ".join(_level(level.nbytes, level.read, level.write) for level in machine.levels)
    console.say(f"one core: at most {machine.flops / 1e9:.0f} GFLOP/s in float32; GB/s read and written: {bandwidths}")


def _level(nbytes: float, read: float, write: float) -> str:
    name = "memory" if nbytes == float("inf") else readable_size(int(nbytes))
    return f"{name} {read / 1e9:.0f} and {write / 1e9:.0f}"


def _row(line: KernelTime, total: float) -> tuple[str, ...]:
    moved = line.cost.read + line.cost.written
    return (
        line.name,
        line.layer,
        line.line,
        f"{line.runs:,}",
        readable_time(line.seconds),
        f"{line.seconds / total:.1%}",
        f"{line.cost.flops / line.seconds / 1e9:.1f}" if line.cost.flops and line.seconds else "",
        f"{moved / line.seconds / 1e9:.1f}" if moved and line.seconds else "",
        f"{line.limit / line.seconds:.0%}" if line.seconds else "",
        line.limited_by,
    )


def _figures(made: Profile, machine: Machine) -> dict[str, Any]:
    return {
        "entry": made.entry,
        "threads": made.threads,
        "seconds": made.seconds,
        "limit_seconds": made.limit,
        "between_seconds": made.between,
        "profiling_overhead": made.overhead,
        "machine": {
            "gflops": machine.flops / 1e9,
            "levels": [
                {"bytes": level.nbytes, "read_gb_s": level.read / 1e9, "write_gb_s": level.write / 1e9}
                for level in machine.levels
            ],
        },
        "kernels": _kernel_figures(made.kernels, made.seconds),
    }


def _kernel_figures(kernels: Sequence[KernelTime], total: float) -> list[dict[str, Any]]:
    return [
        {
            "kernel": line.name,
            "kind": line.kind,
            "layer": line.layer,
            "op": line.op,
            "line": line.line,
            "runs": line.runs,
            "seconds": line.seconds,
            "share": line.seconds / total,
            "flops": line.cost.flops,
            "bytes_read": line.cost.read,
            "bytes_written": line.cost.written,
            "limit_seconds": line.limit,
            "limited_by": line.limited_by,
        }
        for line in kernels
    ]
