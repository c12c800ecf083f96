"""``graphc render``: a picture of a model at one stage of its compilation."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable

from graphc.cli.common import Console, ExitCode, Parser, add_common, add_model, add_settings, check_output_file
from graphc.errors import GraphcValueError, nearest


def configure(parser: Parser) -> None:
    """Add the options of ``graphc render``."""
    add_model(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="svg, png, pdf, dot or html by its ending; default: NAME.svg"
    )
    parser.add_argument(
        "--stage",
        default="source",
        help="source (the default), gradient, rolled, optimized, kernels, memory, or equations (tex or html)",
    )
    parser.add_argument("--entry", metavar="NAME", help="the entry point; by default the first that has the stage")
    parser.add_argument("--format", help="where the file's ending does not say it")
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    add_settings(parser)
    add_common(parser, figures=False)
    parser.example("graphc render digits.py -o digits.svg --stage rolled --entry train")


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Draw, and say where."""
    from graphc.render.output import FORMATS, render

    _check("stage", arguments.stage, FORMATS)
    formats = FORMATS[arguments.stage]
    chosen = arguments.format
    if chosen is None:
        ending = os.path.splitext(arguments.output or "")[1].lower().removeprefix(".")
        chosen = ending if arguments.output is not None else formats[0]
    _check(f"format for the stage {arguments.stage}:", chosen, formats)
    if arguments.output is not None:
        check_output_file(arguments.output, force=arguments.force)
    from graphc.cli import build
    from graphc.ir.bind import bind_dimensions
    from graphc.ir.graph import Module

    file, model = build.load_model(arguments)
    path = arguments.output
    if path is None:
        path = f"{file.artifact_name}.{chosen}"
        check_output_file(path, force=arguments.force)
    bound = bind_dimensions(model.module, dict(arguments.dims))
    module = Module(file.artifact_name, bound.entries, bound.declared)
    written = render(module, path, stage=arguments.stage, format=chosen, entry=arguments.entry)
    console.say(f"{os.path.relpath(written)}: {arguments.stage} of {arguments.model}")
    return ExitCode.DONE


def _check(what: str, name: str, known: Iterable[str]) -> None:
    if name in known:
        return
    close = nearest(name, known)
    hint = f"did you mean {close}?" if close else f"there are: {', '.join(known)}"
    raise GraphcValueError("E106", f"unknown {what} {name!r}", hint=hint)
