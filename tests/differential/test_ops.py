"""Every op × dtype × backend: reference = LoopIR = NumPy = LLVM, bit for bit where nothing is rounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from graphc.ir.attrs import ArrayValue
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.op import registered_ops
from graphc.ir.types import NUMERIC
from graphc.ir.verify import verify
from tests.backends_under_test import BACKENDS, LEVELS, compiled, with_passes
from tests.optable import Array, Cell, cells, rows

OPS = [op.name for op in registered_ops()]

REGIONS = frozenset({"loop", "result", "fused", "custom_gradient"})

Form = Literal["plain", "constants", "passes"]
"""Ops on arguments of the call; on constants, which backends treat apart; and on arguments, after all passes."""


def joint_module(members: Sequence[Cell], form: Form) -> tuple[Module, list[Array]]:
    """All cells side by side in one entry point: one compilation serves them all."""
    b = Builder()
    inputs, outputs, arrays = [], [], []
    for number, cell in enumerate(members):
        if form == "constants":
            pairs = zip(cell.arrays, cell.types, strict=True)
            operands = [b.constant(ArrayValue(array, type_.dtype), type_.dtype) for array, type_ in pairs]
        else:
            operands = [b.input(f"c{number}_x{k}", type_) for k, type_ in enumerate(cell.types)]
            inputs += operands
            arrays += cell.arrays
        outputs += [(f"c{number}_y{k}", node) for k, node in enumerate(cell.nodes(b, operands))]
    graph = Graph.make("cells", inputs, outputs, builder=b)
    verify(graph)
    module = Module("cells", {"cells": graph})
    return (with_passes(module) if form == "passes" else module), arrays


def failures(backend: str, members: Sequence[Cell], form: Form) -> list[str]:
    """What a backend gets wrong; where it cannot compile all cells together, each is tried alone."""
    try:
        module, arrays = joint_module(members, form)
        outputs, _ = compiled(backend, module)("cells", arrays, None)
    except Exception as error:  # whatever a backend raises is a finding
        if len(members) == 1:
            return [f"{backend}: {members[0].name}: {type(error).__name__}: {error}"]
        alone = [found for cell in members for found in failures(backend, [cell], form)]
        return alone or [f"{backend}: all {members[0].row.op} cells together: {type(error).__name__}: {error}"]
    found = []
    for number, cell in enumerate(members):
        values = [outputs[f"c{number}_y{k}"] for k in range(len(cell.expected))]
        wrong = cell.mismatch(values)
        if wrong is not None:
            found.append(f"{backend}: {wrong}")
    return found


def check(op: str, backend: str, form: Form) -> None:
    found = failures(backend, list(cells(op)), form)
    assert not found, f"{len(found)} cells:\n" + "\n".join(found[:12])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", OPS)
def test_op(op: str, backend: str) -> None:
    check(op, backend, "plain")


@pytest.mark.parametrize("op", OPS)
def test_op_on_constants(op: str) -> None:
    """The interpreter of kernels sees what native code is made of; the slow tests below compile it."""
    check(op, "kernel", "constants")


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", OPS)
def test_op_after_all_passes(op: str, backend: str) -> None:
    check(op, backend, "passes")


@pytest.mark.slow
@pytest.mark.parametrize("level", (*LEVELS, "aarch64"))
@pytest.mark.parametrize("op", OPS)
def test_op_on_other_processors(op: str, level: str) -> None:
    check(op, f"llvm {level}", "plain")


@pytest.mark.slow(ci=False)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", OPS)
def test_op_on_constants_in_every_backend(op: str, backend: str) -> None:
    check(op, backend, "constants")


WITHOUT_DTYPES = frozenset({"random_uniform", "training"})
"""A random key is int64 whatever it makes; ``training`` has no operand to choose a dtype for."""


def test_every_op_has_rows_for_all_its_dtypes() -> None:
    """A new op fails here until it stands in the table."""
    for op in registered_ops():
        covered = {cell.dtype for cell in cells(op.name)}
        assert covered, f"{op.name} has no row in the table"
        # Regions take whatever their bodies do: numbers are enough.
        wanted = set(NUMERIC) & set(op.dtypes) if op.name in REGIONS else set(op.dtypes)
        missing = set() if op.name in WITHOUT_DTYPES else wanted - covered
        assert not missing, f"{op.name}: no cell for {sorted(dtype.name for dtype in missing)}"


def test_names_of_cells_differ() -> None:
    names = [cell.name for cell in cells()]
    assert len(set(names)) == len(names)
    assert {row.op for row in rows()} == set(OPS)
