"""``graphc render``: a picture of a model at one stage of its compilation."""

from __future__ import annotations

import argparse
import os

from graphc.cli.common import Console, ExitCode, Parser, add_common, add_model, add_settings, check_output_file
from graphc.errors import GraphcValueError, nearest

_STAGES = ("source", "gradient", "rolled", "optimized", "kernels", "memory", "equations")
_FORMATS = ("svg", "png", "pdf", "dot", "html")


def configure(parser: Parser) -> None:
    """Add the options of ``graphc render``."""
    add_model(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help=f"{', '.join(_FORMATS)} by its ending; default: NAME.svg")
    parser.add_argument("--stage", default="source", help=f"{', '.join(_STAGES)}; default: source")
    parser.add_argument("--entry", metavar="NAME", help="the entry point; by default one that has the stage")
    parser.add_argument("--format", help="where the file's ending does not say it")
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    add_settings(parser)
    add_common(parser, figures=False)
    parser.example("graphc render digits.py -o digits.svg --stage rolled --entry train")


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Draw, and say where."""
    _check("stage", arguments.stage, _STAGES)
    if arguments.format is not None:
        _check("format", arguments.format, _FORMATS)
    if arguments.output is not None:
        _destination(arguments.output, arguments)
    from graphc.cli import build
    from graphc.ir.bind import bind_dimensions
    from graphc.ir.graph import Module
    from graphc.render import render

    file, model = build.load_model(arguments)
    path = arguments.output
    if path is None:
        path = _destination(f"{file.artifact_name}.{arguments.format or 'svg'}", arguments)
    module = Module(file.artifact_name, bind_dimensions(model.module, dict(arguments.dims)).entries)
    written = render(module, path, stage=arguments.stage, format=arguments.format, entry=arguments.entry)
    console.say(f"{os.path.relpath(written or path)}: {arguments.stage} of {file.path}")
    return ExitCode.DONE


def _destination(path: str, arguments: argparse.Namespace) -> str:
    """``path``, if a picture may be written there."""
    ending = os.path.splitext(path)[1].lower().lstrip(".")
    if arguments.format is None:
        _check("format", ending, _FORMATS)
    check_output_file(path, force=arguments.force)
    return path


def _check(what: str, name: str, known: tuple[str, ...]) -> None:
    if name in known:
        return
    close = nearest(name, known)
    hint = f"did you mean {close}?" if close else f"there are: {', '.join(known)}"
    raise GraphcValueError("E106", f"unknown {what} {name!r}", hint=hint)
