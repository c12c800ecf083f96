"""``graphc compile``: a model file becomes an artifact."""

from __future__ import annotations

import argparse
import os
import time

from graphc.cli.common import (
    Console,
    ExitCode,
    Parser,
    add_common,
    add_model,
    add_settings,
    add_target,
    plural,
    readable_size,
    seconds,
    table,
)


def configure(parser: Parser) -> None:
    """Add the options of ``graphc compile``."""
    add_model(parser)
    parser.add_argument("-o", "--output", metavar="DIR", help="the artifact's folder; by default NAME, here")
    parser.add_argument("--name", help="what the artifact is called; by default as the model file")
    add_target(parser)
    add_settings(parser)
    parser.add_argument("--time", action="store_true", help="print where the time went, pass by pass")
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
    from graphc.cli import build
    from graphc.passes.pipeline import PassReport

    start = time.perf_counter()
    file, model = build.load_model(arguments)
    loading = time.perf_counter() - start
    name = arguments.name if arguments.name is not None else file.artifact_name
    folder = arguments.output if arguments.output is not None else name
    build.check_artifact_folder(folder, arguments.name, force=arguments.force)
    reports: list[PassReport] = []
    compiled = build.compile_model(arguments, model, name, reports)
    path = compiled.save(folder, name=arguments.name, force=arguments.force)

    timings = [("model file", loading), *compiled.timings]
    for report in reports:
        if console.verbose or (arguments.time and report.changed):
            console.say(f"{report.graph.name}: {report}")
    for line in build.describe_rolling(reports):
        console.say(line)
    if arguments.time:
        total = sum(spent for _, spent in timings)
        rows = [(stage, f"{spent * 1e3:.1f}") for stage, spent in (*timings, ("total", total))]
        console.say(table(rows, header=("stage", "ms"), right=[1]))
    size = build.folder_size(path)
    numbers = build.parameter_count(compiled.module)
    entries = plural(len(compiled.module.entries), "entry point")
    console.say(f"{os.path.relpath(path)}: {entries}, {plural(numbers, 'parameter')}, {readable_size(size)}")
    console.figures(
        {
            "artifact": path,
            "name": arguments.name or os.path.basename(path),
            "backend": arguments.backend,
            "bytes": size,
            "parameters": numbers,
            "entries": {
                report.graph.name: {
                    "loops": [{"trips": trips, "nodes": nodes} for trips, nodes in build.found_loops(report.graph)[0]],
                    "nodes_left": build.found_loops(report.graph)[1],
                }
                for report in reports
                if report.name == "roll"
            },
            "passes": [
                {
                    "entry": report.graph.name,
                    "pass": report.name,
                    "before": report.before,
                    "after": report.after,
                    "seconds": report.seconds,
                }
                for report in reports
            ],
            "timings": [{"stage": stage, "seconds": spent} for stage, spent in timings],
        }
    )
    return ExitCode.DONE
