"""A small model for the tests of artifacts, compiled by either backend."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import numpy as np

from graphc.artifact.compiled import CompiledModel
from graphc.artifact.spec import Built
from graphc.backends.llvm.backend import build as build_native
from graphc.backends.numpy.backend import build as build_source
from graphc.config import Options
from graphc.driver import schedule
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.state import State
from graphc.ir.types import float32, int64, tensor_type

BACKENDS = {"native": build_native, "source": build_source}

# Any x86-64 machine can load what is made for this level, and the bytes do not depend on the machine.
OPTIONS = Options(cpu="x86-64")


def regression(factor: float = 2.0) -> Module:
    """Linear regression with one step of gradient descent, and entry points that try the interface."""
    b = Builder()
    weight = State("layer/w", tensor_type(float32, (3,)), lambda type_, seed: np.arange(3, dtype=np.float32) + seed)
    bias = State("b", tensor_type(float32), np.float32(0.5))
    steps = State("steps", tensor_type(int64), np.int64(0), role="counter")
    w, bias_node, steps_node = (b.state(state) for state in (weight, bias, steps))
    x = b.input("x", tensor_type(float32, (4, 3)))
    y = b.input("y", tensor_type(float32, (4,)))
    ids = b.input("ids", tensor_type(int64, (2,)))
    product = b.make("einsum", (x, w), {"subscripts": "ij,j->i"})
    forward = b.make("add", (product, b.make("broadcast_to", (bias_node,), {"shape": (4,)})))
    error = b.make("subtract", (forward, y))
    square = b.make("multiply", (error, error))
    quarter, rate = b.constant(0.25, float32), b.constant(0.1, float32)
    loss = b.make("multiply", (b.make("sum", (square,), {"axes": (0,), "keepdims": False}), quarter))
    grad_w = b.make("einsum", (error, x), {"subscripts": "i,ij->j"})
    grad_b = b.make("sum", (error,), {"axes": (0,), "keepdims": False})
    new_w = b.make("subtract", (w, b.make("multiply", (b.make("broadcast_to", (rate,), {"shape": (3,)}), grad_w))))
    new_b = b.make("subtract", (bias_node, b.make("multiply", (rate, grad_b))))
    new_steps = b.make("add", (steps_node, b.constant(1, int64)))
    total = b.make("sum", (x,), {"axes": (0, 1), "keepdims": False})
    factors = b.make("broadcast_to", (b.constant(factor, float32),), {"shape": (4, 3)})
    doubled = b.make("multiply", (x, factors))
    found = b.make("take", (w, ids), {"axis": 0})
    entries = {
        "predict": Graph.make("predict", [x], [("y", forward)]),
        "train": Graph.make(
            "train", [x, y], [("loss", loss)], [(w, new_w), (bias_node, new_b), (steps_node, new_steps)]
        ),
        "stats": Graph.make("stats", [x], [("total", total), ("doubled", doubled)]),
        "lookup": Graph.make("lookup", [ids], [("found", found)]),
        "echo": Graph.make("echo", [x], [("same", x)]),
    }
    return Module("regression", entries)


@cache
def scheduled(factor: float = 2.0) -> Module:
    return schedule(regression(factor))


@cache
def built(kind: str, factor: float = 2.0) -> Built:
    return BACKENDS[kind](scheduled(factor), OPTIONS, lambda _stage: nullcontext())


def compiled(kind: str, seed: int = 0, factor: float = 2.0) -> CompiledModel:
    """The model through native code (``native``) or NumPy source (``source``), with states of its own."""
    made = built(kind, factor)
    return CompiledModel(scheduled(factor), made.build, program=made.program, seed=seed)
