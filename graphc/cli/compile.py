"""``graphc compile``: a model file becomes an artifact."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from graphc.cli.common import (
    Console,
    ExitCode,
    Parser,
    add_common,
    add_max_dim,
    add_model,
    add_settings,
    add_target,
    plural,
    readable_size,
    seconds,
    table,
)

if TYPE_CHECKING:
    from graphc.clock import Clock


def configure(parser: Parser) -> None:
    """Add the options of ``graphc compile``."""
    add_model(parser)
    parser.add_argument("-o", "--output", metavar="DIR", help="the artifact's folder; by default NAME, here")
    parser.add_argument("--name", help="what the artifact is called; by default as the model file")
    add_target(parser)
    add_settings(parser)
    add_max_dim(parser)
    parser.add_argument("--time", action="store_true", help="print where the time went, stage by stage")
    parser.add_argument("--timeout", metavar="S", type=seconds, help="end a build that takes longer, and leave nothing")
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--force", action="store_true", help="replace an artifact that is there")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what each pass did")
    add_common(parser, figures=True)
    parser.example("graphc compile digits.py -o build/digits --set hidden=256 --time")


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Compile, write, and say what was found."""
    if arguments.timeout is not None and not arguments.supervised:
        from graphc.cli.watchdog import run_limited

        return run_limited(["compile", "--supervised", *arguments.words], arguments.timeout, arguments.output)
    from graphc.clock import Clock, stage

    with Clock() as clock:
        with stage("import"):
            from graphc.cli import build
        with stage("model file"):
            file, model = build.load_model(arguments)
        name = arguments.name if arguments.name is not None else file.artifact_name
        folder = arguments.output if arguments.output is not None else name
        build.check_artifact_folder(folder, arguments.name, force=arguments.force)
        compiled = build.compile_model(arguments, model, name)
        path = compiled.save(folder, name=arguments.name, force=arguments.force)

    made = compiled.compilation
    for line in made.passes if console.verbose else ():
        console.say(str(line))
    smaller = {rung.code for entry in compiled.spec.entries for rung in entry.rungs[:-1]}
    for line in made.passes:
        if line.rolled is not None and line.entry not in smaller:
            console.say(f"{line.entry}: {line.rolled}")
    if arguments.time:
        console.say(_time_table(clock))
        console.say(f"compile cache: {made.cache}")
    size = build.folder_size(path)
    # Not those of ``compiled.module``: where the compile cache knew the code, nobody has run the passes.
    numbers = build.parameter_count(model.module)
    entries = plural(len(compiled.spec.entries), "entry point")
    console.say(f"{os.path.relpath(path)}: {entries}, {plural(numbers, 'parameter')}, {readable_size(size)}")
    console.figures(
        {
            "artifact": path,
            "name": arguments.name or os.path.basename(path),
            "backend": arguments.backend,
            "bytes": size,
            "parameters": numbers,
            "entries": {
                line.entry: {
                    "loops": [{"trips": loop.trips, "nodes": loop.nodes} for loop in line.loops],
                    "nodes_left": line.left,
                }
                for line in made.passes
                if line.name == "roll"
            },
            "passes": [
                {
                    "entry": line.entry,
                    "pass": line.name,
                    "before": line.before,
                    "after": line.after,
                    "seconds": line.seconds,
                }
                for line in made.passes
            ],
            "cache": made.cache,
            "timings": [{"stage": name, "seconds": spent} for name, spent in clock.seconds.items()],
            "seconds": clock.total,
        }
    )
    return ExitCode.DONE


def _time_table(clock: Clock) -> str:
    """Where the time went; the stages are all of it."""
    total = clock.total
    rows = [(name, f"{spent * 1e3:.1f}", f"{spent / total:.1%}") for name, spent in clock.seconds.items()]
    return table([*rows, ("total", f"{total * 1e3:.1f}", "")], header=("stage", "ms", "share"), right=[1, 2])
