"""The entry of the command line: finds the verb, and turns every outcome into an exit code and one line.

The modules of the verbs load when they are asked for, and what is heavy inside them, so that ``--help`` is immediate.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module

from graphc import __version__
from graphc.cli import report
from graphc.cli.common import ExitCode, Parser, console_of, one_line
from graphc.errors import GraphcError, GraphcOSError, GraphcValueError, nearest

VERBS: Mapping[str, str] = {
    "compile": "turn a model into a folder that Python imports and C links",
    "train": "train a model on arrays in a file, and keep the trained artifact",
    "run": "call an entry point of a model or of an artifact",
    "render": "draw a model: source, gradient, rolled, optimized, kernels or memory",
    "summary": "list parameters, entry points and their ops, or matrix products",
    "compare": "run every backend against the reference, and name the first node that differs",
    "bench": "time the entry points of a model or of an artifact",
    "profile": "time each kernel of an entry point, and say how far from the machine's limit it is",
    "cache": "show what the compile cache holds, or empty it",
}
"""Verb → what it does.  Each is a module here with ``configure(parser)`` and ``execute(arguments, console)``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the words after ``graphc``; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        with _warnings_as_lines():
            code = _dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _complain("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as request:  # argparse, after --help and --version
        return request.code if isinstance(request.code, int) else ExitCode.DONE
    except Exception as fault:
        if debug:
            traceback.print_exc()
        return _explain(fault, words)


def _dispatch(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        parser = _overview()
        parser.parse_words(words)
        parser.print_help(sys.stdout if words else sys.stderr)
        return ExitCode.DONE if words else ExitCode.INPUT
    verb, *rest = words
    if verb not in VERBS:
        close = nearest(verb, VERBS)
        hint = f"did you mean {close}?" if close else f"there are: {', '.join(VERBS)}"
        raise GraphcValueError("E106", f"graphc has no command {verb!r}", hint=hint)
    module = import_module(f"graphc.cli.{verb}")
    parser = Parser(prog=f"graphc {verb}", description=VERBS[verb].capitalize() + ".")
    module.configure(parser)
    parsed = parser.parse_words(rest)
    parsed.words = rest
    code: int = module.execute(parsed, console_of(parsed))
    return code


def _overview() -> Parser:
    width = max(map(len, VERBS)) + 2
    lines = [f"  {verb:<{width}}{summary}" for verb, summary in VERBS.items()]
    parser = Parser(
        prog="graphc",
        usage="graphc COMMAND ...",
        description="Compile models written as Python into folders that anyone can import.\n\ncommands:\n"
        + "\n".join(lines),
    )
    parser.example("graphc compile model.py", "graphc COMMAND --help    # the options of a command, with an example")
    parser.add_argument("--version", action="version", version=f"graphc {__version__}")
    return parser


def _explain(fault: Exception, words: Sequence[str]) -> int:
    """Say in one line what went wrong; the exit code says whose fault it is."""
    known = report.as_user_fault(fault)
    if known is None:
        where = report.write_report(fault, words)
        what = str(fault) if isinstance(fault, GraphcError) else f"{type(fault).__name__}: {fault} [E900]"
        _complain(f"internal error: {what} ({where})")
        return ExitCode.BUG
    _complain(f"error: {known}")
    return ExitCode.IO if isinstance(known, GraphcOSError) else ExitCode.INPUT


def _complain(text: str) -> None:
    print(f"graphc: {one_line(text)}", file=sys.stderr)


def _reader_gone() -> int:
    """Whoever read our output has closed it (``graphc summary m.py | head``): nobody is left to tell."""
    try:
        # The interpreter flushes stdout once more when it ends; there it must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file of the system's
        sys.stdout = io.StringIO()
    return ExitCode.IO


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    def show(message: Warning | str, *_place: object, **_more: object) -> None:
        _complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
