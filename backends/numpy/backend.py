"""The backend as the driver calls it: scheduled module → Python source."""

from __future__ import annotations

from graphc.artifact.spec import Backend, Built, SourceBuild, Stage
from graphc.backends.numpy.emit import emit_module
from graphc.config import Options
from graphc.ir.graph import Module


def build(module: Module, options: Options, stage: Stage) -> Built:
    """Emit a scheduled module as NumPy source; no option changes it."""
    with stage("emit"):
        source = emit_module(module)
    return Built(SourceBuild(source))


BACKEND = Backend(build, leave_out=("block", "winograd", "fuse"))
"""Kernels mean nothing to NumPy, and statements read best in the order in which the model was written."""
