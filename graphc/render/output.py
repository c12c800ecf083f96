"""Writes the picture of a stage to a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from graphc.errors import GraphcImportError, GraphcOSError, GraphcTypeError, GraphcValueError, nearest
from graphc.ir.graph import Graph, Module
from graphc.kernel.program import Program
from graphc.render.compose import draw_graph
from graphc.render.dot import to_dot_text
from graphc.render.equations import equations, latex_document, mathml_page
from graphc.render.html import page
from graphc.render.kernels import draw_entry
from graphc.render.layout import require_layouter, run_dot
from graphc.render.picture import Picture
from graphc.render.stages import check_stage, stage_chart, stage_picture
from graphc.render.svg import polish, with_theme

_DRAWN = ("svg", "png", "pdf", "html", "dot")
FORMATS: Mapping[str, tuple[str, ...]] = {
    "source": _DRAWN,
    "gradient": _DRAWN,
    "rolled": _DRAWN,
    "optimized": _DRAWN,
    "kernels": _DRAWN,
    "memory": ("svg", "html"),
    "equations": ("tex", "html"),
}
"""Stage → the formats it can be written in."""


def to_dot(subject: Graph | Picture | Program, *, fold: bool = True, limit: int = 2000) -> str:
    """DOT text of a graph, of a program's first entry point, or of a picture made earlier.

    The same subject gives the same text.

    Args:
        subject: what to draw.
        fold: draw repeated steps once.
        limit: boxes a picture may have.
    """
    match subject:
        case Picture():
            return to_dot_text(subject)
        case Graph():
            return to_dot_text(draw_graph(subject, subject.name, "graph", fold=fold, limit=limit))
        case Program():
            entry = next(iter(subject.entries.values()))
            return to_dot_text(draw_entry(subject, entry, f"{subject.module.name} · {entry.name}", limit=limit))
    raise GraphcTypeError(
        "E105", f"cannot draw a {type(subject).__name__}", hint="give a Graph, a Program or a Picture"
    )


def render(
    module: Module,
    path: str | os.PathLike[str],
    *,
    stage: str = "source",
    format: str | None = None,
    entry: str | None = None,
    program: Program | None = None,
    fold: bool = True,
    limit: int = 2000,
    timeout: float = 60,
) -> Path:
    """Draw a stage of a model and write the file; whole or not at all.

    Args:
        module: the model.
        path: of the file; its ending says the format unless ``format`` does.
        stage: one of :data:`graphc.render.stages.STAGES`.
        format: ``svg``, ``png``, ``pdf``, ``html`` or ``dot``; for the memory ``svg`` or ``html``; for equations
            ``tex`` or ``html``.
        entry: the entry point; by default the first inference entry for ``source`` and ``equations``, else the first
            that trains.
        program: for ``kernels`` and ``memory``, where it has been lowered already.
        fold: draw repeated steps once, with the number of times they are run.
        limit: boxes a picture may have; what is left out is said in it.
        timeout: seconds the layout may take.

    Returns:
        The path written.

    Raises:
        GraphcValueError: E130 unknown stage, E131 a format that the stage does not have, E135 no gradient, E136 too
            large for formulas.
        GraphcImportError: E132, Graphviz is missing; the DOT text has been written beside ``path``.
        GraphcRuntimeError: E133 the layout took too long, E134 it failed.
        UnsupportedOp: E131, PDF without Graphviz itself.
        GraphcOSError: E137, the file cannot be written.
    """
    check_stage(stage)
    target = Path(path)
    kind = _format(target, format, stage)
    if stage == "memory":
        chart = stage_chart(module, entry=entry, program=program)
        text = (
            with_theme(chart.svg)
            if kind == "svg"
            else page(chart.title, stage, chart.svg, chart.boxes, (), chart.remarks)
        )
        return _write(target, text.encode())
    if stage == "equations":
        made = equations(module, entry)
        return _write(target, (latex_document(made) if kind == "tex" else mathml_page(made)).encode())
    picture = stage_picture(module, stage, entry=entry, program=program, fold=fold, limit=limit)
    text = to_dot_text(picture)
    if kind == "dot":
        return _write(target, text.encode())
    try:
        require_layouter(kind)
    except GraphcImportError as error:
        beside = target.with_suffix(".dot")
        if _is_foreign(beside):
            raise
        _write(beside, text.encode())
        raise GraphcImportError(
            error.code, f"{error.message}; the graph was written to {beside}", None, error.hint
        ) from None
    if kind in ("png", "pdf"):
        return _write(target, run_dot(text, kind, timeout=timeout))
    if kind == "svg":
        return _write(target, with_theme(polish(run_dot(text, "svg", timeout=timeout), picture)).encode())
    svg = polish(run_dot(to_dot_text(picture, bare=True), "svg", timeout=timeout), picture)
    return _write(target, page(picture.title, stage, svg, picture.boxes, picture.edges, picture.remarks).encode())


def _format(path: Path, format: str | None, stage: str) -> str:
    wanted = (format if format is not None else path.suffix.removeprefix(".")).lower()
    offered = FORMATS[stage]
    if wanted in offered:
        return wanted
    close = nearest(wanted, offered)
    said = f"format {wanted!r}" if wanted else f"no format: {str(path)!r} has no ending"
    raise GraphcValueError(
        "E131",
        f"the stage {stage!r} has {said}" if not wanted else f"the stage {stage!r} cannot be written in {said}",
        hint=f"did you mean {close}?" if close else f"one of {', '.join(offered)}",
    )


def _is_foreign(path: Path) -> bool:
    """Is there a file that we did not write?  Nobody asked for it to be replaced."""
    start = b"digraph graphc {"
    try:
        with path.open("rb") as file:
            return file.read(len(start)) != start
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _write(path: Path, content: bytes) -> Path:
    """Write beside the target and rename, so that a failure leaves what was there."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=".graphc-", suffix=path.suffix, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
            os.replace(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise GraphcOSError("E137", f"cannot write {str(path)!r}: {error.strerror}") from None
    return path
