"""From the common options to a model and its compiled form."""

from __future__ import annotations

import argparse
import os
from typing import Any

from graphc.artifact.compiled import CompiledModel
from graphc.cli.model_file import ModelFile
from graphc.errors import GraphcOSError
from graphc.ir.graph import Module


def load_model(arguments: argparse.Namespace) -> tuple[ModelFile, Any]:
    """The model file that the arguments name, and its model with the settings given."""
    file = ModelFile(arguments.model)
    return file, file.model(arguments.settings)


def compile_model(arguments: argparse.Namespace, model: Any, name: str, seed: int = 0) -> CompiledModel:
    """Compile with the options of ``add_settings`` and ``add_target``."""
    from graphc import driver

    return driver.compile(
        model,
        arguments.backend,
        name=name,
        dims=dict(arguments.dims),
        max_dims=dict(getattr(arguments, "max_dims", ())),
        cpu=arguments.cpu,
        fast_math=arguments.fast_math,
        seed=seed,
        threads=arguments.threads,
        memory_budget=arguments.memory_budget,
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
