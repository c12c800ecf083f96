"""Model files: Python that defines a model, run with its own folder importable and standard input closed.

A model file **is code**: it may do whatever its user may do.  What is caught here are mistakes, not attacks.
"""

from __future__ import annotations

import io
import os
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, NoReturn

import graphc
from graphc.artifact.runtime.artifact import MANIFEST
from graphc.artifact.runtime.weights import read_bytes
from graphc.cli.hyperparameters import bind, parameters_of
from graphc.cli.report import model_fault, with_user_location
from graphc.errors import GraphcError, GraphcOSError, GraphcTypeError, GraphcValueError, Location, UnsupportedOp

_DEFAULT_NAME = "model"
_MODULE_NAME = "graphc_model_file"
"""Under which the file runs; not its own name, which may be that of a library."""

_FOREIGN = {".onnx": "ONNX", ".pt2": "torch.export", ".pt": "torch", ".keras": "Keras", ".h5": "Keras HDF5"}
_CANDIDATES_SHOWN = 8


class ModelFile:
    """A model file that has been run.

    Attributes:
        path: as the user wrote it.
        name: the variable that holds the model.
        target: its value: a ``graphc.Model``, or a function that makes one.
    """

    def __init__(self, text: str) -> None:
        """Run the file of ``FILE[:NAME]``.

        Raises:
            GraphcOSError: no such file, or not a regular one (E101).
            GraphcValueError: a syntax error (E102), an exception (E103), ``sys.exit()`` or ``input()`` (E104), or no
                model (E105).
            UnsupportedOp: a format that graphc does not read.
        """
        self.path, name = split_name(text)
        self.name = name or _DEFAULT_NAME
        _refuse_other_formats(self.path)
        code = _compiled(_read(self.path), self.path)
        module = types.ModuleType(_MODULE_NAME)
        module.__file__ = os.path.abspath(self.path)
        sys.modules[_MODULE_NAME] = module  # dataclasses and pickle look a class's module up there
        with _running(self.path):
            exec(code, vars(module))
        self.target = self._find(vars(module))

    @property
    def artifact_name(self) -> str:
        """What an artifact of the model is called: the file's name, or the variable's where one was given."""
        stem = os.path.splitext(os.path.basename(self.path))[0] if self.name == _DEFAULT_NAME else self.name
        plain = re.sub(r"[^A-Za-z0-9_]", "_", stem)
        return f"_{plain}" if plain[:1].isdigit() else plain or _DEFAULT_NAME

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """What ``--set`` may name."""
        return () if isinstance(self.target, graphc.Model) else tuple(parameters_of(self.target))

    def model(self, settings: Sequence[tuple[str, str]] = ()) -> graphc.Model:
        """The model, made with the hyperparameters in ``settings``.

        Raises:
            GraphcError: of the model's own making, or about a setting (E106) or the function's result (E105).
        """
        if isinstance(self.target, graphc.Model):
            if settings:
                raise GraphcValueError(
                    "E106",
                    f"{self.path}: {self.name!r} is a model, not a function: it has no {settings[0][0]!r} to set",
                    hint="make it a function with keyword arguments",
                )
            return self.target
        place = _place_of(self.target)
        arguments = bind(self.target, self.name, settings, place)
        with _running(self.path):
            made = _as_model(self.target(**arguments))
        if not isinstance(made, graphc.Model):
            raise GraphcTypeError(
                "E105",
                f"{self.name}() returned {_describe(made)}, not a graphc.Model",
                place,
                "e.g. return graphc.Model(predict=y)",
            )
        return made

    def _find(self, names: dict[str, Any]) -> graphc.Model | Callable[..., Any]:
        with _running(self.path):
            found = _as_model(names.get(self.name))
        if isinstance(found, graphc.Model) or (callable(found) and not isinstance(found, type)):
            return found
        candidates = list(_candidates(names))
        if candidates:
            shown = ", ".join(f"{self.path}:{name}" for name in candidates[:_CANDIDATES_SHOWN])
            hint = f"name it: {shown}{', …' if len(candidates) > _CANDIDATES_SHOWN else ''}"
        else:
            hint = "define model: a graphc.Model, or a function that returns one"
        what = f"no {self.name!r}" if found is None else f"{self.name!r}, which is {_describe(found)}, and no model"
        raise GraphcValueError("E105", f"{self.path} defines {what}", hint=hint)


def split_name(text: str) -> tuple[str, str | None]:
    """``file.py:name`` as the file and the name, which is None where there is none."""
    path, colon, name = text.rpartition(":")
    if colon and path and name.isidentifier() and not os.path.lexists(text):
        return path, name
    return text, None


def _refuse_other_formats(path: str) -> None:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _FOREIGN:
        raise UnsupportedOp(
            "E333",
            f"{path}: graphc {graphc.__version__} does not import {_FOREIGN[suffix]} models ({suffix})",
            hint="write the model in Python: file.py[:name]",
        )


def _read(path: str) -> bytes:
    if os.path.isdir(path):
        compiled = os.path.lexists(os.path.join(path, MANIFEST))
        hint = "it is compiled: `graphc run` and `graphc bench` take it, the others its source" if compiled else None
        raise GraphcOSError("E101", f"{path!r} is a directory, not a model file", hint=hint)
    if not os.path.lexists(path):
        raise GraphcOSError("E101", f"there is no file {path!r}")
    return read_bytes(path, "E101")


def _compiled(source: bytes, path: str) -> types.CodeType:
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except SyntaxError as fault:
        raise GraphcValueError("E102", f"syntax error: {fault.msg}", Location(path, fault.lineno or 1)) from fault
    except (ValueError, RecursionError, MemoryError) as fault:  # a NUL, or brackets without end
        raise GraphcValueError("E102", f"not Python: {fault or 'nested too deep'}", Location(path, 1)) from fault


@contextmanager
def _running(path: str) -> Iterator[None]:
    """What holds while the user's code runs; whatever it raises comes out as a :class:`GraphcError` of theirs."""
    folder = os.path.dirname(os.path.abspath(path))
    sys.path.insert(0, folder)
    try:
        # Standard output is for results: what a model prints goes beside them.
        with _closed_stdin(), redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except GraphcError as fault:
        raise with_user_location(fault)  # noqa: B904  (it is the same one)
    except SystemExit as fault:
        wanted = model_fault(fault, path)
        raise GraphcValueError(
            "E104", f"the model called sys.exit({fault.code!r})", wanted.location, "raise an exception"
        ) from fault
    except BaseException as fault:
        raise model_fault(fault, path) from fault
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


class _NoInput(io.StringIO):
    """Standard input for a model: reading it is reported, with the line that does."""

    def read(self, size: int | None = -1, /) -> str:
        self._refuse()

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # io says bytes, StringIO says str
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise GraphcValueError(
            "E104",
            "the model reads standard input, which is closed",
            hint="pass what it asks for as a hyperparameter: --set K=V",
        )


@contextmanager
def _closed_stdin() -> Iterator[None]:
    """Nothing can be read from standard input inside, nor by a process started there."""
    before = sys.stdin
    sys.stdin = _NoInput()
    kept = _swap_descriptor()
    try:
        yield
    finally:
        sys.stdin = before
        if kept is not None:
            os.dup2(kept, 0)
            os.close(kept)


def _swap_descriptor() -> int | None:
    """Put /dev/null in the place of descriptor 0, and return a copy of what was there; None where it is closed."""
    try:
        kept = os.dup(0)
    except OSError:
        return None
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return kept


def _candidates(names: dict[str, Any]) -> Iterator[str]:
    """The public names of a module that could be a model: models, then functions written there."""
    public = {name: value for name, value in names.items() if not name.startswith("_")}
    yield from (name for name, value in public.items() if isinstance(value, graphc.Model))
    for name, value in public.items():
        if isinstance(value, types.FunctionType) and value.__module__ == _MODULE_NAME:
            yield name


def _as_model(value: Any) -> Any:
    """A network of layers as the entry points that it stands for; anything else as it is."""
    convert = None if isinstance(value, type) else getattr(value, "to_model", None)
    return convert() if callable(convert) else value


def _place_of(function: Callable[..., Any]) -> Location | None:
    code = getattr(function, "__code__", None)
    return Location(code.co_filename, code.co_firstlineno, code.co_name) if code is not None else None


def _describe(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
