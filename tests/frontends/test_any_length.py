"""Compiled once, called with any number of steps: the results are those of code compiled for that number."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.artifact.loader import load
from graphc.cli.main import main
from graphc.errors import GraphcTypeError, GraphcValueError, UnsupportedOp
from graphc.ir.bind import bind_dimensions
from graphc.ir.graph import Module
from graphc.kernel.lower import lower_module
from graphc.kernel.run import run_entry
from graphc.kernel.verify import verify_program
from graphc.passes.pipeline import run_pipeline
from graphc.sizes import bind_up_to
from tests.c_programs import run_c
from tests.frontends.test_symbolic_time import FEATURES, LAYERS, UNITS, arguments_of, module_of

LONGEST = 12


def tagger(time: Any) -> Module:
    """Embedding → recurrent layers → a class a step, trained with Adam; what it returns comes batch first."""
    with G.graph():
        ids, classes = G.input("ids", (2, time), "int64"), G.input("classes", (2, time), "int64")
        x = nn.Embedding(11, FEATURES, mask_zero=True)(ids)
        x = nn.Bidirectional(nn.GRU(UNITS, return_sequences=True))(x)
        scores = nn.Dense(5)(nn.LayerNormalization()(x))
        loss = nn.losses.sparse_categorical_crossentropy(classes, scores, from_logits=True).mean()
        return G.Model(predict=G.softmax(scores, axis=-1), train=optim.Adam(0.01).minimize(loss)).module


def pooling(time: Any) -> Module:
    """Values of all steps together: means, maxima, the last, the first, attention with one query."""
    with G.graph():
        x = G.input("x", (2, time, FEATURES))
        w = G.parameter("w", np.linspace(-1, 1, FEATURES, dtype="float32"))
        weights = nn.Softmax(axis=1)((x * w).sum(axis=2))
        pooled = (x * weights[:, :, None]).sum(axis=1)
        flat = G.reshape(x, (-1, FEATURES))
        parts = {
            "mean": x.mean(axis=1),
            "largest": x.max(axis=(0, 1)),
            "product": (1 + 0.01 * x).prod(axis=1, keepdims=True),
            "last": x[:, -1] - x[:, 0],
            "pooled": pooled,
            "any": (x > 1.5).any(axis=1),
            "centred": x - x.mean(axis=1, keepdims=True),
            "turned": G.flip(x, axis=1),
            "gram": flat.T @ flat,
            "input": x,
            "gradient": G.grad((pooled * pooled).sum() + G.tanh(x).max(), w),
        }
        return G.Model(predict=parts).module


def frames(time: Any) -> Module:
    """A convolution of each frame, whose steps join the batch; what is best in each step, and in which order."""
    with G.graph():
        x = G.input("x", (2, time, 6, 6, 2))
        features = nn.TimeDistributed(nn.Conv2D(3, 3, padding="same", activation="relu"))(x)
        pooled = nn.TimeDistributed(nn.GlobalAveragePooling2D())(nn.TimeDistributed(nn.MaxPooling2D(2))(features))
        scores = nn.Dense(4)(nn.GRU(UNITS, return_sequences=True)(pooled))
        best = {"best": G.argmax(scores, axis=2), "order": G.argsort(scores, axis=2)}
        best["running"] = G.cumulative_sum(scores, axis=2)
        best["pairs"] = G.einsum("bti,btj->ij", pooled, scores)
        best["each"] = G.einsum("bti,ij->btj", pooled, G.constant(np.ones((3, 2), "float32")))
        loss = (scores * scores).mean()
        return G.Model(predict=best, gradient=G.grad(loss, x), train=optim.SGD(0.1).minimize(loss)).module


def same(found: Any, wanted: Any, what: str) -> None:
    assert type(found) is type(wanted), what
    if not isinstance(wanted, dict):
        found, wanted = {"": found}, {"": wanted}
    for name, value in wanted.items():
        assert found[name].shape == value.shape, f"{what} {name}"
        assert found[name].flags.c_contiguous
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=f"{what} {name}")


def compare(open_module: Module, times: tuple[int, ...], sized: Any) -> None:
    for time in times:
        wanted = G.compile(open_module, backend="numpy", dims={"time": time})
        sized.reset()
        for entry in open_module.entries:
            given = arguments_of(bind_dimensions(open_module, {"time": time}), entry, seed=time)
            same(getattr(sized, entry)(*given), getattr(wanted, entry)(*given), f"{entry} {time}")
        for name, value in wanted.parameters.items():
            np.testing.assert_allclose(sized.parameters[name], value, rtol=1e-3, atol=1e-4, err_msg=f"{name} {time}")


@pytest.mark.parametrize("make", [tagger, pooling, frames], ids=["tagger", "pooling", "frames"])
def test_models(make: Callable[[Any], Module]) -> None:
    compare(make("time"), (1, 2, 7, LONGEST), G.compile(make("time"), max_dims={"time": LONGEST}))


@pytest.mark.parametrize("name", ["LSTM time major", "own cell", "bidirectional last"])
def test_layers(name: str) -> None:
    module = module_of(LAYERS[name], (3, "time"))
    compare(module, (1, 5, LONGEST), G.compile(module, max_dims={"time": LONGEST}))


@pytest.mark.parametrize("extras", ["lengths", "mask", "state"])
def test_masks_and_initial_states(extras: str) -> None:
    module = module_of(lambda: nn.LSTM(UNITS, return_sequences=True, return_state=True), (3, "time"), extras)
    compare(module, (6,), G.compile(module, max_dims={"time": LONGEST}))


def test_a_stateful_layer_goes_on_at_any_length() -> None:
    def model(time: Any) -> G.Model:
        with G.graph():
            x = G.input("x", (2, time, FEATURES))
            return G.Model(predict=nn.LSTM(UNITS, stateful=True)(x))

    sized = G.compile(model("time"), max_dims={"time": 9})
    data = np.random.default_rng(0).normal(size=(2, 7, FEATURES)).astype("float32")
    sized.predict(data[:, :4])
    np.testing.assert_allclose(sized.predict(data[:, 4:]), G.compile(model(7)).predict(data), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("passes", [True, False], ids=["optimized", "plain"])
@pytest.mark.parametrize("name", LAYERS)
def test_programs(name: str, passes: bool) -> None:
    """On the oracle, verified, with garbage behind the steps that the call has."""
    module = module_of(LAYERS[name], (2, "time"))
    sized = bind_up_to(module, {}, {"time": 7}).module
    if passes:
        entries = {entry: run_pipeline(graph, check=True) for entry, graph in sized.entries.items()}
        sized = Module(sized.name, entries, tuple(sized.states.values()))
    program = lower_module(sized)
    verify_program(program)
    assert program.size == ("time", 7)
    major = getattr(LAYERS[name](), "time_major", False)
    for time in (1, 4):
        bound = bind_dimensions(module, {"time": time})
        for entry, graph in module.entries.items():
            given = arguments_of(bound, entry)
            wanted, after = run_reference(bound, entry, given)
            room = [padded(array if major else np.moveaxis(array, 1, 0), 7) for array in given]
            found, states = run_entry(program, entry, room, live=time)
            for label, node in graph.outputs:
                axis = next((a for a, dim in enumerate(node.shape) if not isinstance(dim, int)), None)
                value = found[label]
                if axis is not None:
                    shape = tuple(size for a, size in enumerate(wanted[label].shape) if a != axis)
                    value = np.moveaxis(value[:time].reshape(time, *shape), 0, axis)
                np.testing.assert_allclose(value, wanted[label], rtol=1e-3, atol=1e-4, err_msg=f"{entry} {label}")
            for label, value in after.items():
                np.testing.assert_allclose(states[label], value, rtol=1e-3, atol=1e-4)


def run_reference(module: Module, entry: str, given: Any) -> Any:
    from graphc.ir.interp import evaluate

    return evaluate(module.entries[entry], given)


def padded(array: Any, rows: int) -> Any:
    room = np.full((rows, *array.shape[1:]), np.nan, array.dtype)
    room[: len(array)] = array
    return room


def small(max_time: int = 9) -> Any:
    with G.graph():
        x, y = G.input("x", (2, "time", FEATURES)), G.input("y", ("time", 2))
        h = nn.LSTM(UNITS, return_sequences=True)(x)
        return G.compile(G.Model(predict=h.sum(axis=2) + y.T), max_dims={"time": max_time})


def test_sizes_are_checked() -> None:
    model = small()
    x, y = np.zeros((2, 5, FEATURES), "float32"), np.zeros((5, 2), "float32")
    assert model.predict(x, y).shape == (2, 5)
    assert "predict(x: float32[2,time,3], y: float32[time,2]) -> float32[2,time]" in repr(model)
    with pytest.raises(GraphcValueError, match=r"'time' is 5 in input 'x' and 4 in input 'y'.*E449"):
        model.predict(x, y[:4])
    with pytest.raises(GraphcValueError, match=r"'time' must be 1 to 9, got 10 in input 'x'.*E449.*max_dims"):
        model.predict(np.zeros((2, 10, FEATURES), "float32"), np.zeros((10, 2), "float32"))
    with pytest.raises(GraphcValueError, match=r"'time' must be 1 to 9, got 0.*E449"):
        model.predict(x[:, :0], y[:0])
    with pytest.raises(GraphcValueError, match=r"input 'x' must be float32\[2,time,3\], got float32\[2,5\].*E449"):
        model.predict(x[:, :, 0], y)
    with pytest.raises(GraphcValueError, match=r"input 'x' must be float32\[2,5,3\], got float32\[3,5,3\].*E449"):
        model.predict(np.zeros((3, 5, FEATURES), "float32"), y)
    with pytest.raises(GraphcTypeError, match=r"input 'x' must be float32\[2,5,3\], got float64.*E449"):
        model.predict(x.astype("float64"), y)
    with pytest.raises(GraphcTypeError, match=r"input 'x' must be float32\[2,1,3\], got list.*E455"):
        model.predict([[[1.0, 2.0, 3.0]], []], y)
    out = np.empty((2, 5), "float32")
    assert model.predict(x, y=y, out=out) is out
    np.testing.assert_array_equal(out, model.predict(x.tolist(), y))
    with pytest.raises(GraphcValueError, match=r"E453"):
        model.predict(x, y, out=np.empty((2, 6), "float32"))


def test_the_code_refuses_sizes_by_itself() -> None:
    """As a program in C may call it."""
    model = small()
    run = model.build.functions["predict"]
    tables = [(ctypes.c_void_p * 3)() for _ in range(3)]
    error = (ctypes.c_int64 * 4)()
    arena = (ctypes.c_char * (model.build.arena_bytes + 64))()
    for size in (0, 10, -1):
        held = ctypes.c_int64(size)
        tables[0][2] = ctypes.addressof(held)
        assert run(*(ctypes.addressof(part) for part in (*tables, arena, error))) == 1
        assert list(error) == [-1, 0, size, 9]


def test_threads_give_the_same_bits() -> None:
    with G.graph():
        x = G.input("x", (32, "time", 64))
        loss = (nn.LSTM(64, return_sequences=True)(x) ** 2).mean()
        model = G.compile(G.Model(gradient=G.grad(loss, x)), max_dims={"time": 20})
    data = np.random.default_rng(0).normal(size=(32, 11, 64)).astype("float32")
    alone = model.gradient(data)
    np.testing.assert_array_equal(model.gradient(data, threads=3), alone)


def test_dropout_over_time() -> None:
    """Each step drops for itself, the gradient drops what the value does, and more steps leave the first ones alone."""
    with G.graph():
        x = G.input("x", (4, "time", 50))
        kept = nn.Dropout(0.25)(x, training=True)
        model = G.compile(G.Model(predict={"kept": kept, "g": G.grad((kept * kept).sum(), x)}), max_dims={"time": 9})
    ones = np.ones((4, 9, 50), "float32")
    made = model.predict(ones)
    assert set(np.unique(made["kept"])) == {np.float32(0), np.float32(4 / 3)}
    assert 0.7 < (made["kept"] > 0).mean() < 0.8
    assert not any(np.array_equal(made["kept"][:, 0], made["kept"][:, step]) for step in range(1, 9))
    np.testing.assert_allclose(made["g"], 2 * made["kept"] * (4 / 3), rtol=1e-6)
    np.testing.assert_array_equal(model.predict(ones[:, :5])["kept"], made["kept"][:, :5])


def test_a_memory_budget_leaves_open_loops_whole() -> None:
    module = module_of(LAYERS["LSTM sequences"], (2, "time"))
    needed = G.compile(module, max_dims={"time": 100}).build.arena_bytes
    compare(module, (5,), G.compile(module, max_dims={"time": 100}, memory_budget=2 * needed))
    with pytest.raises(GraphcValueError, match="E341"):
        G.compile(module, max_dims={"time": 100}, memory_budget=needed // 4)


def test_what_needs_the_size_says_so() -> None:
    with G.graph():
        x = G.input("x", (2, "time", FEATURES))
        refused = {
            "cumsum": G.cumulative_sum(x, axis=1),
            "twice": x @ G.transpose(x, (0, 2, 1)),
            "index": x[:, 1],
            "slice": x[:, 1:],
            "concat": G.concat([x, x], axis=1),
            "argmax": G.argmax(x, axis=1),
        }
        for name, value in refused.items():
            with pytest.raises(UnsupportedOp, match=r"E334") as caught:
                G.compile(G.Model(predict=value), max_dims={"time": 5})
            assert name in ("twice", "slice", "concat") or name in str(caught.value)
        model = G.Model(predict=x.sum(axis=1))
        with pytest.raises(UnsupportedOp, match=r"numpy compiles for fixed sizes.*E334"):
            G.compile(model, backend="numpy", max_dims={"time": 5})
        with pytest.raises(GraphcValueError, match=r"E340.*did you mean time"):
            G.compile(model, max_dims={"tim": 5})
        for largest in (0, -1):
            with pytest.raises(GraphcValueError, match=r"must be 1 to .*E214"):
                G.compile(model, max_dims={"time": largest})
        with pytest.raises(GraphcValueError, match=r"has the value 3 and a largest one, 5.*E214"):
            G.compile(model, dims={"time": 3}, max_dims={"time": 5})
        several = G.Model(predict=G.input("z", ("batch", "time", 2)).sum(axis=1))
        with pytest.raises(GraphcValueError, match=r"'batch' is symbolic.*E340"):
            G.compile(several, max_dims={"time": 5})


def test_a_network_that_was_fitted_at_some_lengths_is_exported_for_all(tmp_path: Path) -> None:
    with G.graph():
        x = nn.Input((None, FEATURES), name="x")
        network = nn.Model(x, nn.Dense(2)(nn.GRU(UNITS, return_sequences=True)(x)))
    network.compile("adam", "mse")
    rng = np.random.default_rng(0)
    for time in (3, 4):
        data = rng.normal(size=(4, time, FEATURES)).astype("float32")
        network.fit(data, data[:, :, :2], epochs=1, batch_size=2, verbose=0)
    with pytest.raises(GraphcValueError, match=r"'x_1' is symbolic.*E340"):
        network.export(tmp_path / "fixed")
    model = load(network.export(tmp_path / "all", max_dims={"x_1": 30}))
    data = rng.normal(size=(2, 17, FEATURES)).astype("float32")
    np.testing.assert_allclose(model.predict(data), network.predict(data), rtol=1e-4, atol=1e-6)
    before = model.evaluate(data, data[:, :, :2])
    for _ in range(5):
        model.train(data[:, :9], data[:, :9, :2])
    assert model.evaluate(data, data[:, :, :2]) < before


MODEL = """
import graphc as G
from graphc import nn

x = G.input("x", ("batch", "time", 3))
h = nn.GRU(4, return_sequences=True)(x)
model = G.Model(predict={"last": h[:, -1], "h": h})
"""

PROGRAM = r"""
#include "any.h"
int main(int argc, char **argv)
{
    float x[any_MAX_time][any_predict_SIZE_OF_INPUT_x], last[any_predict_SIZE_OF_OUTPUT_last];
    float h[any_MAX_time][any_predict_SIZE_OF_OUTPUT_h];
    int64_t error[4], steps = 3;
    const void *in[any_predict_INPUTS + 1];
    void *results[any_predict_OUTPUTS];
    any_model model;
    FILE *file = fopen(argv[argc - 1], "rb");
    int t, i;
    if (any_open(&model) != 0 || any_load_weights(&model, file) != 0)
        return 3;
    for (t = 0; t < any_MAX_time; t++) {
        for (i = 0; i < any_predict_SIZE_OF_INPUT_x; i++)
            x[t][i] = (float)(t + i) / 8;
        for (i = 0; i < any_predict_SIZE_OF_OUTPUT_h; i++)
            h[t][i] = -7;
    }
    in[any_predict_INPUT_x] = x;
    in[any_predict_INPUTS] = &steps;
    results[any_predict_OUTPUT_last] = last;
    results[any_predict_OUTPUT_h] = h;
    if (any_predict(in, results, model.states, model.arena, error) != 0)
        return 4;
    for (i = 0; i < any_predict_SIZE_OF_OUTPUT_last; i++)
        printf("%.9g\n", last[i]);
    for (i = 0; i < any_predict_SIZE_OF_OUTPUT_h; i++)
        if (last[i] != h[2][i] || h[3][i] != -7)
            return 5;
    steps = any_MAX_time + 1;
    return any_predict(in, results, model.states, model.arena, error) == 1 ? 0 : 6;
}
"""


def test_artifact_command_line_and_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, folder = tmp_path / "any.py", tmp_path / "any"
    source.write_text(MODEL)
    assert main(["compile", str(source), "-o", str(folder), "--dim", "batch=2", "--max-dim", "time=6"]) == 0
    model = load(folder)
    data = (np.arange(3)[:, None] + np.arange(6)).astype("float32").reshape(3, 2, 3).swapaxes(0, 1) / 8
    made = model.predict(data)
    assert made["h"].shape == (2, 3, 4)
    np.testing.assert_array_equal(made["last"], made["h"][:, -1])
    with pytest.raises(ValueError, match=r"must be 1 to 6, got 7"):
        model.predict(np.zeros((2, 7, 3), "float32"))
    np.save(tmp_path / "x.npy", data)
    assert main(["run", str(folder), "--input", f"x={tmp_path / 'x.npy'}"]) == 0
    assert "float32[2,time,4]" in capsys.readouterr().out
    printed = run_c(PROGRAM, folder, tmp_path)
    if printed is None:
        return
    np.testing.assert_allclose(printed, made["last"].reshape(-1), rtol=1e-6)
