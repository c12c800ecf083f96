"""The Python files of an artifact: its ``__init__.py``, and the copied runtime."""

from __future__ import annotations

from importlib import resources

from graphc.artifact.runtime.spec import EntrySpec, Spec

RUNTIME_FOLDER = "_runtime"


def runtime_files() -> dict[str, bytes]:
    """Path in the artifact → content, of the runtime; its exceptions are graphc's own, as a copy."""
    folder = resources.files("graphc.artifact.runtime")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".py"))
    files = {f"{RUNTIME_FOLDER}/{name}": folder.joinpath(name).read_bytes() for name in names}
    files[f"{RUNTIME_FOLDER}/errors.py"] = resources.files("graphc").joinpath("errors.py").read_bytes()
    return files


def init_source(spec: Spec, backend: str, version: str, identity: str) -> str:
    """The text of ``__init__.py``.

    Entry points are ASCII identifiers (``graphc.artifact.spec`` sees to it); all other names stand in docstrings only,
    escaped.
    """
    signatures = "\n".join(f"    {_text(entry.signature)}" for entry in spec.entries)
    names = ", ".join(f'"{name}"' for name in ("Model", *(entry.name for entry in spec.entries)))
    attributes = "\n".join(f"    {entry.name}: _Callable[..., _Any]" for entry in spec.entries)
    functions = "\n".join(_function(entry) for entry in spec.entries)
    return f'''"""{spec.name}: a model compiled by graphc {version} ({backend}).

{signatures}

``Model()`` has parameters of its own; the functions of this module share one model, ``Model.default()``.
"""

from collections.abc import Callable as _Callable
from typing import Any as _Any

from ._runtime import artifact as _artifact

__version__ = "{version}"
__all__ = [{names}]


class Model(_artifact.ArtifactModel):
    """The model {spec.name}: its entry points are methods, ``parameters`` are its states by name."""

    artifact = _artifact.Artifact(__name__, __path__[0], "{identity}")
{attributes}

{functions}'''


def _function(entry: EntrySpec) -> str:
    return f'''
def {entry.name}(*inputs: _Any, out: _Any = None, **named: _Any) -> _Any:
    """{_text(entry.signature)}"""
    return Model.default().{entry.name}(*inputs, out=out, **named)
'''


def _text(text: str) -> str:
    """Text as it may stand in a docstring: ASCII, no quote that ends it, no escape but its own."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return escaped.encode("ascii", "backslashreplace").decode("ascii")
