"""Runs Graphviz, or the ``graphviz-pure`` wheel where that is not installed, with a time limit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from graphc.errors import GraphcImportError, GraphcRuntimeError, UnsupportedOp

_WHEEL = "graphviz-pure"
_INSTALL_HINT = f"install Graphviz (https://graphviz.org/download), or: pip install {_WHEEL}==0.2.2"


@dataclass(frozen=True, slots=True)
class Layouter:
    """A program that understands ``dot``'s command line.

    Attributes:
        binary: its path.
        is_graphviz: False for graphviz-pure, which writes no PDF.
    """

    binary: Path
    is_graphviz: bool


def find_layouter() -> Layouter | None:
    """Graphviz on the PATH, or the wheel's program; None where neither is installed."""
    found = shutil.which("dot")
    if found is not None:
        return Layouter(Path(found), is_graphviz=True)
    pure = _wheel_program()
    return Layouter(pure, is_graphviz=False) if pure is not None else None


def _wheel_program() -> Path | None:
    """The program of the ``graphviz-pure`` wheel; an environment that is not activated has it off the PATH."""
    try:
        files = metadata.files(_WHEEL) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.stem == _WHEEL and file.suffix in ("", ".exe"):
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    found = shutil.which(_WHEEL) or shutil.which(_WHEEL, path=str(Path(sys.executable).parent))
    return Path(found) if found is not None else None


def require_layouter(format: str) -> Layouter:
    """A program that can write ``format``.

    Raises:
        GraphcImportError: E132, nothing is installed that lays a graph out.
        UnsupportedOp: E131, only graphviz-pure is there, and it writes no PDF.
    """
    layouter = find_layouter()
    if layouter is None:
        raise GraphcImportError(
            "E132",
            f"a {format} drawing needs Graphviz, and neither `dot` nor {_WHEEL} is installed",
            hint=_INSTALL_HINT,
        )
    if format == "pdf" and not layouter.is_graphviz:
        raise UnsupportedOp(
            "E131",
            f"{_WHEEL} writes no PDF",
            hint="install Graphviz itself (https://graphviz.org/download), or choose svg, png or html",
        )
    return layouter


def run_dot(text: str, format: str, *, timeout: float = 60) -> bytes:
    """Lay a DOT text out and draw it.

    Args:
        format: ``svg``, ``png`` or ``pdf``.
        timeout: seconds.

    Raises:
        GraphcImportError, UnsupportedOp: see :func:`require_layouter`.
        GraphcRuntimeError: E133 where it takes longer than ``timeout``, E134 where the program fails.
    """
    from graphviz.backend import dot_command, execute

    layouter = require_layouter(format)
    before = dot_command.DOT_BINARY
    dot_command.DOT_BINARY = layouter.binary
    try:
        command = dot_command.command("dot", format)
    finally:
        dot_command.DOT_BINARY = before
    try:
        done = execute.run_check(command, input=text.encode(), capture_output=True, quiet=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise GraphcRuntimeError(
            "E133",
            f"the layout took longer than {timeout:g} seconds",
            hint="draw less (a smaller limit=, fold=True, another stage), give a longer timeout=, or write a .dot file",
        ) from None
    except (subprocess.CalledProcessError, execute.ExecutableNotFound, OSError) as error:
        raise GraphcRuntimeError(
            "E134", f"{layouter.binary.name} failed: {_reason(error)}", hint="write a .dot file and look at it"
        ) from None
    drawn: bytes = done.stdout
    if not drawn:
        raise GraphcRuntimeError(
            "E134", f"{layouter.binary.name} drew nothing", hint="write a .dot file and look at it"
        )
    return drawn


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None)
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else f"exit status {getattr(error, 'returncode', 'unknown')}"
