"""A small model for the tests of artifacts, with its module, its NumPy source, and native code for it."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import graphc.ops  # noqa: F401  (fills the op registry)
from graphc.artifact.compiled import CompiledModel
from graphc.artifact.spec import NativeBuild, SourceBuild
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.state import State
from graphc.ir.types import float32, int64, tensor_type
from graphc.kernel.target import Target

SOURCE = '''
"""What a NumPy backend could have made."""
import numpy as np

_TWO = np.float32(2)


def predict(x, parameters):
    return x @ parameters["layer/w"] + parameters["b"]


def train(x, y, parameters):
    error = x @ parameters["layer/w"] + parameters["b"] - y
    loss = np.mean(error * error)
    parameters["layer/w"] = parameters["layer/w"] - np.float32(0.1) * (error @ x)
    parameters["b"] = parameters["b"] - np.float32(0.1) * np.sum(error)
    parameters["steps"] = parameters["steps"] + 1
    return loss


def stats(x, parameters):
    return np.sum(x), x * _TWO


def lookup(ids, parameters):
    bad = (ids < 0) | (ids >= 3)
    if bad.any():
        at = int(np.argmax(bad))
        raise IndexError(f"take (model.py:7): index {ids[at]} at position {at} is outside [0, 3)")
    return parameters["layer/w"][ids]


def echo(x, parameters):
    return x
'''

C_SOURCE = r"""
#include <stdint.h>
#include <unistd.h>
typedef const void *const *in_t; typedef void *const *out_t;
static void forward(const float *x, const float *w, const float *b, float *y) {
    for (int i = 0; i < 4; i++) { y[i] = *b; for (int j = 0; j < 3; j++) y[i] += x[3*i+j] * w[j]; }
}
int32_t regression_predict(in_t in, out_t out, out_t s, void *arena, int64_t *e) {
    float *scratch = arena;
    forward(in[0], s[0], s[1], scratch);
    for (int i = 0; i < 4; i++) ((float *)out[0])[i] = scratch[i];
    return 0;
}
int32_t regression_train(in_t in, out_t out, out_t s, void *arena, int64_t *e) {
    float *error = arena, loss = 0, gb = 0, gw[3] = {0, 0, 0};
    const float *x = in[0], *y = in[1]; float *w = s[0], *b = s[1];
    forward(x, w, b, error);
    for (int i = 0; i < 4; i++) {
        error[i] -= y[i]; loss += error[i] * error[i]; gb += error[i];
        for (int j = 0; j < 3; j++) gw[j] += error[i] * x[3*i+j];
    }
    for (int j = 0; j < 3; j++) w[j] -= 0.1f * gw[j];
    *b -= 0.1f * gb; ++*(int64_t *)s[2];
    *(float *)out[0] = loss / 4;
    return 0;
}
int32_t regression_stats(in_t in, out_t out, out_t s, void *arena, int64_t *e) {
    float sum = 0;
    for (int i = 0; i < 12; i++) { sum += ((float *)in[0])[i]; ((float *)out[1])[i] = 2 * ((float *)in[0])[i]; }
    *(float *)out[0] = sum;
    return 0;
}
int32_t regression_lookup(in_t in, out_t out, out_t s, void *arena, int64_t *e) {
    const int64_t *ids = in[0];
    for (int i = 0; i < 2; i++) if (ids[i] < 0 || ids[i] >= 3) {
        e[0] = 0; e[1] = i; e[2] = ids[i]; e[3] = 3; return 1;
    }
    for (int i = 0; i < 2; i++) ((float *)out[0])[i] = ((float *)s[0])[ids[i]];
    return 0;
}
int32_t regression_echo(in_t in, out_t out, out_t s, void *arena, int64_t *e) {
    for (int i = 0; i < 12; i++) ((float *)out[0])[i] = ((float *)in[0])[i];
    return 0;
}
"""

_EXPORTS = ("predict", "train", "stats", "lookup", "echo")


def regression() -> Module:
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
    doubled = b.make("add", (x, x))
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


def source_model(seed: int = 0) -> CompiledModel:
    """The model through NumPy source."""
    return CompiledModel(regression(), SourceBuild(SOURCE), seed=seed)


def native_model(seed: int = 0) -> CompiledModel:
    """The model as native code."""
    return CompiledModel(regression(), native_build(), seed=seed)


def native_build() -> NativeBuild:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "regression.so")
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-s", "-x", "c", "-", "-o", path],
            input=C_SOURCE, text=True, check=True,
        )
        data = path.read_bytes()
        library = ctypes.CDLL(str(path))
    return NativeBuild(
        exports={name: f"regression_{name}" for name in _EXPORTS},
        arena_bytes=64,
        target=Target("x86_64-unknown-linux-gnu", "x86-64", "", 128, 16, has_fma=False, has_half_conversion=False),
        functions={name: getattr(library, f"regression_{name}") for name in _EXPORTS},
        link=lambda soname, exports: data,
        owner=library,
    )
