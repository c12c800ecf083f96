"""Every op × dtype × backend: reference = LoopIR = NumPy = LLVM, bit for bit where nothing is rounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from graphc.errors import GraphcError
from graphc.ir.attrs import ArrayValue
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.op import registered_ops
from graphc.ir.verify import verify
from tests.backends_under_test import BACKENDS, compiled, with_passes
from tests.optable import Array, Cell, cells, rows

OPS = [op.name for op in registered_ops()]

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


@pytest.mark.slow(ci=False)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", OPS)
def test_op_on_constants_in_every_backend(op: str, backend: str) -> None:
    check(op, backend, "constants")


def test_every_op_has_rows_for_all_its_dtypes() -> None:
    """A new op fails here until it stands in the table."""
    for op in registered_ops():
        covered = {cell.dtype for cell in cells(op.name)}
        # The dtypes of an op are those of its first input or of its result; a random key is int64 whatever it makes.
        wanted = set() if op.name == "random_uniform" else set(op.dtypes)
        if op.name in ("loop", "result", "fused", "custom_gradient", "training"):
            wanted = {dtype for dtype in wanted if dtype.name != "bool"}
        assert covered, f"{op.name} has no row in the table"
        assert wanted <= covered | ({dtype for dtype in wanted if op.name == "training"}), (
            f"{op.name}: no cell for {sorted(d.name for d in wanted - covered)}"
        )


def test_names_of_cells_differ() -> None:
    names = [cell.name for cell in cells()]
    assert len(set(names)) == len(names)
    assert {row.op for row in rows()} == set(OPS)
