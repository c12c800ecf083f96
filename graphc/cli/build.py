"""From the common options to a model and its compiled form; what the passes found, in words."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from graphc.artifact.compiled import CompiledModel
from graphc.cli.common import plural
from graphc.cli.model_file import ModelFile
from graphc.errors import GraphcOSError
from graphc.ir.graph import Graph, Module
from graphc.ir.op import OpKind
from graphc.passes.pipeline import PassReport


def load_model(arguments: argparse.Namespace) -> tuple[ModelFile, Any]:
    """The model file that the arguments name, and its model with the settings given."""
    file = ModelFile(arguments.model)
    return file, file.model(arguments.settings)


def compile_model(
    arguments: argparse.Namespace, model: Any, name: str, reports: list[PassReport] | None = None, seed: int = 0
) -> CompiledModel:
    """Compile with the options of ``add_settings`` and ``add_target``; passes report to ``reports``."""
    from graphc import driver

    return driver.compile(
        model,
        arguments.backend,
        name=name,
        dims=dict(arguments.dims),
        cpu=arguments.cpu,
        fast_math=arguments.fast_math,
        seed=seed,
        observer=None if reports is None else reports.append,
    )


def parameter_count(module: Module) -> int:
    """Numbers in the parameters of a model whose shapes are known."""
    return sum(state.type.static_size for state in module.states.values() if state.role == "parameter")


# -- destinations ------------------------------------------------------------------------------------------------------


def check_artifact_folder(folder: str, name: str | None, *, force: bool) -> None:
    """Refuse a destination that the artifact could not be written to, before any work is done.

    Raises:
        GraphcValueError: an impossible name (E108).
        GraphcOSError: something is there already (E107), or the folder around it cannot be written (E570).
    """
    from graphc.artifact.writer import check_destination

    path, _ = check_destination(folder, name, force)
    parent = os.path.dirname(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        raise GraphcOSError("E570", f"cannot write {path!r}: {parent!r} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise GraphcOSError("E570", f"cannot write {path!r}: {parent!r} is read-only")


def folder_size(folder: str) -> int:
    """Bytes of the files in a folder."""
    return sum(os.path.getsize(os.path.join(place, file)) for place, _, files in os.walk(folder) for file in files)


# -- what was found ----------------------------------------------------------------------------------------------------


def found_loops(graph: Graph) -> tuple[list[tuple[int, int]], int]:
    """(trips, nodes of the body) of each loop of a rolled graph, and the number of nodes outside of them."""
    loops = [node for node in graph.nodes if node.op.name == "loop"]
    left = sum(node.op.name not in ("loop", "result") and node.op.kind is not OpKind.SOURCE for node in graph.nodes)
    return [(node.attrs["trips"], _computing(node.attrs["body"])) for node in loops], left


def _computing(body: Graph) -> int:
    return sum(node.op.kind is not OpKind.SOURCE for node in body.nodes)


def describe_loops(graph: Graph) -> str | None:
    """What ``roll`` found in an entry point, in words; None where it found nothing."""
    loops, left = found_loops(graph)
    if not loops:
        return None
    sizes = [f"{trips} × {nodes}" for trips, nodes in loops]
    listed = sizes[0] if len(sizes) == 1 else f"{', '.join(sizes[:-1])} and {sizes[-1]}"
    return f"rolled {plural(len(loops), 'loop')}: {listed} nodes, {left} left"


def describe_rolling(reports: Sequence[PassReport]) -> list[str]:
    """A line for each entry point in which loops were found."""
    lines = []
    for report in reports:
        words = describe_loops(report.graph) if report.name == "roll" else None
        if words is not None:
            lines.append(f"{report.graph.name}: {words}")
    return lines
