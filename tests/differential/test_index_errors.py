"""An index from the data that is out of range is an error of the call in every backend, and changes no state."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import DType, float32, int8, int32, int64, tensor_type, uint8
from tests.backends_under_test import BACKENDS, Runner, compiled

LENGTH = 3
SHAPE = (LENGTH, 2)


def module_of(op: str, index: DType) -> Module:
    """A call that would add 1 to a state variable, with one op that looks up positions."""
    b = Builder()
    along = op.endswith("along_axis")
    indices = b.input("i", tensor_type(index, (4, 2) if along else (4,)))
    x = b.input("x", tensor_type(float32, SHAPE))
    operands: list[Node] = [x, indices]
    if op.startswith("scatter"):
        operands.append(b.input("u", tensor_type(float32, (4, 2))))
    state = b.state(State("count", tensor_type(float32, ()), np.zeros((), np.float32)))
    looked_up = b.op(op, *operands, axis=0)
    more = b.op("add", state, b.constant(1, float32))
    inputs = [indices, x, *operands[2:]]
    graph = Graph.make("look", inputs, [("y", looked_up)], [(state, more)], builder=b)
    return Module("lookup", {"look": graph})


def call(run: Runner, module: Module, indices: np.ndarray) -> np.ndarray:
    arguments = [indices, *(np.ones(node.shape, np.float32) for node in module.entries["look"].inputs[1:])]
    outputs, states = run("look", arguments, None)
    assert states["count"] == 1
    return outputs["y"]


@pytest.mark.parametrize("backend", ("reference", *BACKENDS))
@pytest.mark.parametrize("index", [int8, uint8, int32, int64], ids=str)
@pytest.mark.parametrize("op", ["take", "scatter_add", "take_along_axis", "scatter_add_along_axis"])
def test_out_of_range(op: str, index: DType, backend: str) -> None:
    module = module_of(op, index)
    run = compiled(backend, module)
    good = np.zeros(module.entries["look"].inputs[0].shape, index.storage)
    good[-1] = LENGTH - 1
    call(run, module, good)
    limits = np.iinfo(index.storage)
    for wrong in {LENGTH, limits.max, *([-1, limits.min] if limits.min < 0 else [])}:
        bad = good.copy()
        bad.reshape(-1)[2] = wrong
        with pytest.raises(IndexError, match=str(wrong)):
            call(run, module, bad)
    call(run, module, good)


@pytest.mark.parametrize("backend", ("reference", *BACKENDS))
@pytest.mark.parametrize("op", ["take", "scatter_add", "take_along_axis", "scatter_add_along_axis"])
def test_nothing_to_look_up_in(op: str, backend: str) -> None:
    """No index is in range of an axis of length 0; no index at all is."""
    for count in (0, 1):
        b = Builder()
        x = b.input("x", tensor_type(float32, (0, 2)))
        i = b.input("i", tensor_type(int64, (count, 2) if op.endswith("along_axis") else (count,)))
        operands = [x, i, *([b.input("u", tensor_type(float32, (count, 2)))] if op.startswith("scatter") else [])]
        looked_up = b.op(op, *operands, axis=0)
        graph = Graph.make("look", operands, [("y", looked_up), ("z", b.op("negative", looked_up))])
        run = compiled(backend, Module("lookup", {"look": graph}))
        arguments = [np.zeros(node.shape, node.dtype.storage) for node in operands]
        if count == 0:
            assert run("look", arguments, None)[0]["z"].shape == (0, 2)
            continue
        with pytest.raises(IndexError):
            run("look", arguments, None)
