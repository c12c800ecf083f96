"""``load(folder)``: an artifact as a model, wherever the folder lies."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

import graphc.errors
from graphc.artifact.runtime.artifact import read_manifest
from graphc.artifact.runtime.model import Model
from graphc.errors import GraphcError, GraphcImportError

_numbers = itertools.count()


def load(folder: str | os.PathLike[str]) -> Model:
    """The model of an artifact, with states of its own.

    Raises:
        GraphcImportError: not an artifact (E560), damaged (E561), of different builds (E562), a processor feature is
            missing (E563), made for another platform (E564), or of another format (E565).
    """
    path = os.path.abspath(folder)
    manifest = read_manifest(path)
    module = _import(path, f"_graphc_artifact_{next(_numbers)}_{manifest['build'][:12]}")
    model: Model = module.Model()
    return model


def reopen(folder: str, values: Mapping[str, np.ndarray[Any, Any]]) -> Model:
    """The model of an artifact with the given states: what unpickling calls."""
    model = load(folder)
    model._assign(values)
    return model


def _import(path: str, name: str) -> ModuleType:
    """Import the package at ``path`` as ``name``."""
    init = os.path.join(path, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[path])
    if spec is None or spec.loader is None:
        raise GraphcImportError("E560", f"{path} is not an artifact: it has no __init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # The artifact's own exceptions would be equal but different classes; whoever loads through graphc expects graphc's.
    sys.modules[f"{name}._runtime.errors"] = graphc.errors
    try:
        spec.loader.exec_module(module)
        module.Model._reopen = staticmethod(reopen)
    except BaseException as fault:
        for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
            del sys.modules[loaded]
        if isinstance(fault, GraphcError) or not isinstance(fault, Exception):
            raise
        raise GraphcImportError("E561", f"{path} is damaged: {fault}", hint="compile the model again") from fault
    return module
