"""What the verbs share: exit codes, the parser and its common options, and where output goes."""

from __future__ import annotations

import argparse
import enum
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from graphc.errors import GraphcOSError, GraphcValueError, nearest


class ExitCode(enum.IntEnum):
    """What the exit status of ``graphc`` means."""

    DONE = 0
    DIFFERENT = 1
    """A comparison failed."""
    INPUT = 2
    """The user's model, data or options."""
    BUG = 70
    """A fault of graphc, with a report file."""
    IO = 74
    """A file could not be read or written."""
    INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are errors like all others, with the nearest name suggested."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def example(self, *commands: str) -> None:
        """End the help with these commands."""
        self.epilog = "\n".join(
            ["example:" if len(commands) == 1 else "examples:", *(f"  {line}" for line in commands)]
        )

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """The options and arguments in ``words``, in any order.

        Raises:
            GraphcValueError: E106.
        """
        parsed, unknown = self.parse_known_intermixed_args(words)
        if unknown:
            word = unknown[0].partition("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            close = nearest(word, known) if word.startswith("-") else None
            what = "option" if word.startswith("-") else "argument"
            hint = f"did you mean {close}?" if close else f"see {self.prog} --help"
            raise GraphcValueError("E106", f"{self.prog}: unknown {what} {word!r}", hint=hint)
        return parsed

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            GraphcValueError: E106.
        """
        raise GraphcValueError("E106", f"{self.prog}: {message}", hint=f"see {self.prog} --help")


@dataclass(frozen=True, slots=True)
class Console:
    """Where results go: to people, as JSON, or nowhere.

    Attributes:
        quiet: say nothing but errors.
        json: print one JSON object in place of text.
        verbose: say more.
    """

    quiet: bool = False
    json: bool = False
    verbose: bool = False

    @property
    def talks(self) -> bool:
        """True where text for people is wanted on standard output."""
        return not (self.quiet or self.json)

    @property
    def animates(self) -> bool:
        """True where progress is wanted: on a terminal."""
        return not self.quiet and sys.stderr.isatty()

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        if self.talks:
            print(text)

    def note(self, text: str) -> None:
        """Tell people something beside the results, on standard error."""
        if not self.quiet:
            print(f"graphc: {one_line(text)}", file=sys.stderr)

    def figures(self, data: Any) -> None:
        """Print the figures as JSON, where that is asked for."""
        if self.json:
            print(json.dumps(json_value(data), allow_nan=False))


def json_value(value: Any) -> Any:
    """``value`` as JSON can hold it: NaN and the infinities, which it has no numbers for, become null."""
    if isinstance(value, dict):
        return {str(key): json_value(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def console_of(parsed: argparse.Namespace) -> Console:
    """The console that the common options ask for."""
    return Console(parsed.quiet, getattr(parsed, "json", False), getattr(parsed, "verbose", False))


# -- options -----------------------------------------------------------------------------------------------------------


def add_common(parser: Parser, *, figures: bool) -> None:
    """``--quiet``, ``--debug``, and ``--json`` for a verb that prints figures."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    if figures:
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_model(parser: Parser) -> None:
    """The positional MODEL."""
    parser.add_argument("model", metavar="MODEL", help="file.py, or file.py:name; a model file is code, and is run")


def add_settings(parser: Parser) -> None:
    """``--set`` and ``--dim``."""
    parser.add_argument(
        "--set",
        metavar="K=V",
        dest="settings",
        action="append",
        default=[],
        type=assignment,
        help="a hyperparameter of the model function; may be repeated",
    )
    parser.add_argument(
        "--dim",
        metavar="NAME=N",
        dest="dims",
        action="append",
        default=[],
        type=dimension,
        help="the size of a symbolic dimension; may be repeated",
    )


def add_max_dim(parser: Parser) -> None:
    """``--max-dim``."""
    parser.add_argument(
        "--max-dim",
        metavar="NAME=N",
        dest="max_dims",
        action="append",
        default=[],
        type=open_dimension,
        help="the largest size of a symbolic dimension, whose size each call then says; of rows also N,N,…, the "
        "numbers to compile for; may be repeated",
    )


def add_target(parser: Parser) -> None:
    """``--backend``, ``--cpu``, ``--fast-math``, ``--threads`` and ``--memory-budget``."""
    parser.add_argument("--backend", default="llvm", help="llvm (native code, the default) or numpy (readable source)")
    parser.add_argument(
        "--cpu", metavar="LEVEL", default="native", help="what the processor must have; default: native"
    )
    parser.add_argument("--fast-math", action="store_true", help="assume no NaN or infinity, and re-associate sums")
    parser.add_argument(
        "--threads",
        metavar="N",
        type=threads,
        help="native threads of a call, or auto for one a processor; default: GRAPHC_THREADS, else 1",
    )
    parser.add_argument(
        "--memory-budget", metavar="SIZE", help="most memory of intermediate values, such as 64MB; default: no limit"
    )


def assignment(text: str) -> tuple[str, str]:
    """``K=V`` as (K, V)."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"expected K=V, got {text!r}")
    return key.strip(), value


def dimension(text: str) -> tuple[str, int]:
    """``NAME=N`` as (NAME, N)."""
    key, value = assignment(text)
    if not re.fullmatch(r"[0-9]{1,18}", value.strip()):
        raise argparse.ArgumentTypeError(f"expected NAME=N with N a number, got {text!r}")
    return key, int(value)


def open_dimension(text: str) -> tuple[str, int | tuple[int, ...]]:
    """``NAME=N`` as (NAME, N), and ``NAME=N,N,…`` as (NAME, (N, N, …))."""
    key, value = assignment(text)
    if not re.fullmatch(r"[0-9]{1,18}(,[0-9]{1,18})*", value.strip()):
        raise argparse.ArgumentTypeError(f"expected NAME=N or NAME=N,N,… with numbers, got {text!r}")
    numbers = tuple(map(int, value.split(",")))
    return key, numbers if len(numbers) > 1 else numbers[0]


def count(text: str) -> int:
    """A positive number."""
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)


def threads(text: str) -> int | str:
    """A positive number, or ``auto``."""
    return text if text == "auto" else count(text)


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text!r}")
    return value


# -- text --------------------------------------------------------------------------------------------------------------


def one_line(text: str) -> str:
    """``text`` in one line of printable characters: a name from outside must not steer a terminal."""
    flat = " ".join(str(text).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in flat)


def table(rows: Iterable[Sequence[object]], *, header: Sequence[str] = (), right: Iterable[int] = ()) -> str:
    """Rows as aligned columns.

    Args:
        rows: of cells.
        header: titles of the columns.
        right: columns of numbers, aligned at the right.
    """
    cells = [[one_line(str(cell)) for cell in row] for row in ([header] if header else []) + list(rows)]
    if not cells:
        return ""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    numeric = set(right)
    lines = []
    for row in cells:
        padded = [c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(padded).rstrip())
    if header:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def plural(number: int, thing: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def readable_size(size: int) -> str:
    """Bytes for people."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def readable_time(seconds: float) -> str:
    """A time for people, with three digits."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1 or unit == "µs":
            amount = seconds * factor
            return f"{amount:.{max(0, 2 - len(str(int(amount))) + 1)}f} {unit}"
    raise AssertionError(seconds)


# -- files -------------------------------------------------------------------------------------------------------------


def check_output_file(path: str, *, force: bool) -> None:
    """Refuse an output file that is there, is a link, or lies nowhere, before any work is done.

    Raises:
        GraphcOSError: E107, or E570 where the folder does not exist or cannot be written.
    """
    if os.path.islink(path):
        raise GraphcOSError("E107", f"{path!r} is a symbolic link", hint="links are never followed: name another file")
    if os.path.lexists(path) and not (force and os.path.isfile(path)):
        hint = "--force replaces it" if os.path.isfile(path) else "name another file"
        raise GraphcOSError("E107", f"{path!r} exists", hint=hint)
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise GraphcOSError("E570", f"cannot write {path!r}: there is no folder {folder!r}")
    if not os.access(folder, os.W_OK):
        raise GraphcOSError("E570", f"cannot write {path!r}: the folder is read-only")
