"""What ``run``, ``bench`` and ``profile`` work on: a model file or an artifact, its entry points, inputs for them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.artifact.runtime.spec import EntrySpec, Spec, TensorSpec
from graphc.errors import GraphcIndexError, GraphcKeyError, GraphcValueError, nearest

if TYPE_CHECKING:
    from graphc.artifact.runtime.model import Model
    from graphc.ir.graph import Module

Array = np.ndarray[Any, Any]

_LIMIT = re.compile(r"\[0, (\d+)\)")
"""How both kinds of compiled code end the message about an index that is out of range."""

_UNLIMITED = 2
"""Integers are below this where they index nothing."""


@dataclass(frozen=True)
class Subject:
    """A model to call.

    Attributes:
        name: of the model.
        spec: its entry points.
        module: the bound module; None for an artifact, whose graph is gone.
        make: compiles it, or gives the loaded one.
    """

    name: str
    spec: Spec
    module: Module | None
    make: Callable[[], Model]


def open_subject(arguments: argparse.Namespace) -> Subject:
    """The model file or artifact that the arguments name; a model file is compiled when it is called for."""
    if os.path.isdir(arguments.model):
        from graphc import driver

        if arguments.settings or arguments.dims:
            raise GraphcValueError(
                "E106", f"{arguments.model} is compiled: --set and --dim come too late", hint="compile it anew"
            )
        loaded = driver.load(arguments.model)
        return Subject(loaded.spec.name, loaded.spec, None, lambda: loaded)
    return open_model(arguments)


def open_model(arguments: argparse.Namespace) -> Subject:
    """The model file that the arguments name."""
    from graphc.artifact.spec import Interface, model_spec
    from graphc.cli import build
    from graphc.ir.bind import bind_dimensions

    file, model = build.load_model(arguments)
    module = bind_dimensions(model.module, dict(arguments.dims))
    return Subject(
        file.artifact_name,
        model_spec(Interface(module)),
        module,
        lambda: build.compile_model(arguments, model, file.artifact_name),
    )


def choose_entry(spec: Spec, name: str | None) -> EntrySpec:
    """The entry point called ``name``; where it is None, ``predict`` or the only one.

    Raises:
        GraphcKeyError: there is none of that name (E448).
        GraphcValueError: there are several (E106).
    """
    entries = {entry.name: entry for entry in spec.entries}
    if name is None:
        if len(entries) == 1:
            return next(iter(entries.values()))
        if "predict" in entries:
            return entries["predict"]
        raise GraphcValueError(
            "E106", "the model has several entry points: name one", hint=f"there are: {', '.join(entries)}"
        )
    if name not in entries:
        close = nearest(name, entries)
        hint = f"did you mean {close}?" if close else f"there are: {', '.join(entries)}"
        raise GraphcKeyError("E448", f"the model has no entry point {name!r}", hint=hint)
    return entries[name]


def make_inputs(subject: Subject, model: Model, entry: EntrySpec, seed: int) -> dict[str, Array]:
    """Random inputs for an entry point: floats from a normal distribution, integers inside of what they index."""
    random = np.random.default_rng(seed)
    if subject.module is not None:
        from graphc.cli.comparison import random_inputs

        return random_inputs(subject.module.entry(entry.name), random)
    # (Where each call says a size: the largest.)
    return inputs_by_trial(getattr(model, entry.name), entry.sized(dict(model.spec.sizes)).inputs, random)


def inputs_by_trial(
    call: Callable[..., Any], inputs: tuple[TensorSpec, ...], random: np.random.Generator
) -> dict[str, Array]:
    """Random inputs for compiled code.

    What an integer input may hold is not written down anywhere, but the code checks it: a call with a value that is
    too large says what the limit is, and changes nothing.
    """
    made = {spec.name: _floats_or_zeros(spec, random) for spec in inputs}
    for spec in inputs:
        if spec.storage.kind in "iu" and spec.dtype != "bfloat16" and made[spec.name].size:
            limit = _limit(call, made, spec)
            made[spec.name] = random.integers(0, limit, spec.shape).astype(spec.storage)
    return made


def _floats_or_zeros(spec: TensorSpec, random: np.random.Generator) -> Array:
    if spec.dtype == "bool":
        return random.integers(0, 2, spec.shape).astype(np.bool_)
    if spec.storage.kind in "iu" and spec.dtype != "bfloat16":
        return np.zeros(spec.shape, spec.storage)
    values = random.standard_normal(spec.shape).astype(np.float32)
    if spec.dtype == "bfloat16":  # its arrays hold the upper halves of float32 numbers
        return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16).reshape(spec.shape)
    return values.astype(spec.storage)


def _limit(call: Callable[..., Any], made: Mapping[str, Array], spec: TensorSpec) -> int:
    largest = int(np.iinfo(spec.storage).max)
    try:
        call(**{**made, spec.name: np.full(spec.shape, largest, spec.storage)})
    except GraphcIndexError as fault:
        found = _LIMIT.search(str(fault))
        if found is not None:
            return max(1, min(int(found[1]), largest))
        raise
    return _UNLIMITED
