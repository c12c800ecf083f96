"""Compiled once, called with any number of rows, and of steps: the results are those of code compiled for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.errors import GraphcIndexError, GraphcTypeError, GraphcValueError, UnsupportedOp
from graphc.ir.bind import bind_dimensions, bind_graph
from graphc.ir.graph import Module
from graphc.ir.interp import evaluate
from graphc.passes.decompose import Decompose
from graphc.passes.mask import mask
from graphc.sizes import ladder
from tests.frontends.test_any_length import same
from tests.frontends.test_symbolic_time import FEATURES, LAYERS, UNITS, arguments_of, module_of

LARGEST = {"batch": 13, "time": 9}
SIZES = ((1, 1), (3, 9), (6, 2), (11, 5), (13, 4))


def tagger() -> Module:
    """Embedding → recurrent layers under a mask → a class a step, the loss a mean of rows and steps; Adam."""
    with G.graph():
        ids, classes = (G.input(name, ("batch", "time"), "int64") for name in ("ids", "classes"))
        x = nn.Embedding(11, FEATURES, mask_zero=True)(ids)
        x = nn.Bidirectional(nn.GRU(UNITS, return_sequences=True))(x)
        scores = nn.Dense(5)(nn.LayerNormalization()(x))
        loss = nn.losses.sparse_categorical_crossentropy(classes, scores, from_logits=True).mean()
        return G.Model(predict=G.softmax(scores, axis=-1), train=optim.Adam(0.01).minimize(loss)).module


def classifier() -> Module:
    """The last step's class of a stack of own cells and LSTMs, steps first; weights of rows, gradient clipping."""
    with G.graph():
        x, y, w = G.input("x", ("time", "batch", FEATURES)), G.input("y", ("batch",), "int64"), G.input("w", ("batch",))
        h = nn.LSTM(UNITS, return_sequences=True, time_major=True)(x)
        scores = nn.Dense(5)(h[-1] - h[0])
        losses = nn.losses.sparse_categorical_crossentropy(y, scores, from_logits=True)
        loss = (losses * w).sum() / w.sum()
        step = optim.SGD(0.1, momentum=0.9, clipnorm=0.5).minimize(loss)
        best = {"best": G.argmax(scores, axis=1), "largest": scores.max(axis=0), "sure": (scores > 0.1).any(axis=0)}
        return G.Model(predict=best, gradient=G.grad(loss, x), train=step).module


def frames() -> Module:
    """Rows and steps in one dimension, statistics over all of them, several steps that each read all rows."""
    with G.graph():
        x = G.input("x", ("batch", "time", 4, 4, 2))
        features = nn.TimeDistributed(nn.Conv2D(3, 3, padding="same", activation="relu"))(x)
        pooled = nn.BatchNormalization()(nn.TimeDistributed(nn.GlobalAveragePooling2D())(features))
        flat = G.reshape(pooled, (-1, 3))
        h = nn.LSTM(UNITS, return_sequences=True)(pooled)
        loss = (h * h).mean() + G.log((flat.T @ flat) + 1).mean() + G.einsum("bti,btj->ij", pooled, h).sum()
        found = {"h": h, "least": x.min(axis=(0, 1)), "product": (1 + 0.01 * pooled).prod(axis=0)}
        return G.Model(predict=found, gradient=G.grad(loss, x), train=optim.SGD(0.1).minimize(loss)).module


def rows() -> Module:
    """No steps at all: a network with statistics of its batch."""
    with G.graph():
        x, y = G.input("x", ("batch", 7)), G.input("y", ("batch", 3))
        h = nn.BatchNormalization()(nn.Dense(6, activation="gelu")(x))
        p = nn.Dense(3)(nn.LayerNormalization()(h))
        loss = nn.losses.mean_squared_error(y, p).mean() + 0.1 * G.abs(p).max()
        centred = p - p.mean(axis=0)
        shown = {"p": p, "covariance": centred.T @ centred, "number": G.ones_like(p).sum(axis=0)}
        return G.Model(predict=shown, gradient=G.grad(loss, x), train=optim.Adam(0.01).minimize(loss)).module


def assorted() -> Module:
    """Indices from the data, sorting within rows, folds of integers, booleans and half precision, merged dimensions."""
    with G.graph():
        x, k = G.input("x", ("batch", 5, 4)), G.input("k", ("batch", 5), "int64")
        sure, half = G.input("sure", ("batch",), "bool"), G.input("half", ("batch", 4), "float16")
        table = G.parameter("table", np.linspace(-1, 1, 28, dtype="float32").reshape(7, 4))
        rows = G.take(table, k + 1, axis=0)
        picked = G.take_along_axis(x, G.argsort(rows, axis=1), axis=1)
        joined = G.concat([picked, G.pad(rows, [(0, 0), (1, 0), (0, 0)])[:, :5]], axis=2)
        flat = G.reshape(joined, (-1, 8))
        chosen = G.take(joined, [6, 1, 6], axis=2)
        loss = (
            (chosen**2).mean()
            + (flat / flat.sum(axis=1, keepdims=True)).mean()
            + (G.log(G.abs(picked)) * rows).max()
            + half.mean()
        )
        shown = {
            "joined": G.cumulative_sum(joined, axis=1),
            "chosen": chosen,
            "least": k.min(axis=0),
            "all": sure.all(),
            "any": G.logical_not(sure).any(),
            "halves": half.sum(axis=0),
            "numbers": G.reshape(x, (-1, 4)).max(axis=0),
            "first": x[0],
        }
        gradient = {"x": G.grad(loss, x), "half": G.grad(loss, half)}
        return G.Model(predict=shown, gradient=gradient, train=optim.SGD(0.1).minimize(loss)).module


FILL = {"f": np.nan, "b": True}
MODELS = {"tagger": tagger, "classifier": classifier, "frames": frames, "rows": rows, "assorted": assorted}


def compare(module: Module, sizes: dict[str, int], sized: Any) -> None:
    wanted = G.compile(module, backend="numpy", dims=sizes)
    sized.reset()
    for entry in module.entries:
        given = arguments_of(bind_dimensions(module, sizes), entry, seed=sum(sizes.values()))
        same(getattr(sized, entry)(*given), getattr(wanted, entry)(*given), f"{entry} {sizes}")
    for name, value in wanted.parameters.items():
        np.testing.assert_allclose(sized.parameters[name], value, rtol=1e-3, atol=1e-4, err_msg=f"{name} {sizes}")


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    module = MODELS[name]()
    has_steps = name not in ("rows", "assorted")
    sized = G.compile(module, max_dims=LARGEST if has_steps else {"batch": 13})
    for batch, time in SIZES:
        compare(module, {"batch": batch, "time": time} if has_steps else {"batch": batch}, sized)


@pytest.mark.parametrize("extras", ["lengths", "mask", "state"])
def test_masks_and_initial_states(extras: str) -> None:
    module = module_of(lambda: nn.LSTM(UNITS, return_sequences=True, return_state=True), ("batch", "time"), extras)
    compare(module, {"batch": 7, "time": 6}, G.compile(module, max_dims={"batch": 8, "time": 6}))


def with_rows(array: Any, axis: int | None, fill: Any) -> Any:
    """``array`` with three rows more."""
    if axis is None:
        return array
    shape = list(array.shape)
    shape[axis] = 3
    return np.concatenate([array, np.full(shape, fill, array.dtype)], axis=axis)


def axis_of_batch(node: Any) -> int | None:
    return next((axis for axis, dim in enumerate(node.shape) if "batch" in str(dim)), None)


@pytest.mark.parametrize("name", [*LAYERS, *MODELS])
def test_no_row_that_does_not_count_is_seen(name: str) -> None:
    """By the reference evaluator, with NaN and indices far out of range in such rows."""
    module = MODELS[name]() if name in MODELS else module_of(LAYERS[name], ("batch", "time"))
    module = bind_dimensions(module, {} if name in ("rows", "assorted") else {"time": 4}, leave=("batch",))
    for entry, graph in module.entries.items():
        bound = bind_dimensions(module, {"batch": 5})
        given = arguments_of(bound, entry)
        masked = bind_graph(mask(Decompose().run(graph), "batch"), {"batch": 8})
        pairs = [(array, axis_of_batch(node)) for array, node in zip(given, graph.inputs, strict=True)]
        count = np.asarray(5, np.int64)
        if "dropout" in name:  # whose numbers depend on how many rows there is room for
            wanted, after = evaluate(masked, [*(with_rows(array, axis, 0) for array, axis in pairs), count])
        else:
            wanted, after = evaluate(bound.entries[entry], given)
        spoilt = [with_rows(array, axis, FILL.get(array.dtype.kind, 1 << 40)) for array, axis in pairs]
        with np.errstate(all="ignore"):
            found, states = evaluate(masked, [*spoilt, count])
        for label, node in graph.outputs:
            axis = axis_of_batch(node)
            value, right = found[label], wanted[label]
            if axis is not None:
                value, right = value.take(range(5), axis), right.take(range(5), axis)
            np.testing.assert_allclose(value, right, rtol=1e-4, atol=1e-5, err_msg=f"{entry} {label}")
        for label, value in after.items():
            np.testing.assert_allclose(states[label], value, rtol=1e-4, atol=1e-5, err_msg=f"{entry} {label}")


def test_the_ladder() -> None:
    assert ladder(1) == (1,)
    assert ladder(5) == (1, 4, 5)
    assert ladder(64) == (1, 4, 8, 16, 24, 32, 48, 64)
    assert ladder(100)[-2:] == (96, 100)


def test_rungs_can_be_stated() -> None:
    with G.graph():
        x = G.input("x", ("batch", "time", FEATURES))
        model = G.Model(predict=nn.LSTM(UNITS)(x).sum(axis=0))
        sized = G.compile(model, max_dims={"batch": [6, np.int64(2), 6], "time": 4})
        assert sized.spec.to_json()["sizes"] == {"batch": 6, "time": 4}
        assert list(sized.build.exports) == ["predict__2", "predict__6"]
        for rows in range(1, 7):
            compare(model.module, {"batch": rows, "time": 3}, sized)
        with pytest.raises(GraphcValueError, match=r"'time' has steps, for any number of which.*\(2, 4\).*E214"):
            G.compile(model, max_dims={"batch": 2, "time": (2, 4)})
        with pytest.raises(GraphcTypeError, match=r"the largest 'batch' must be an integer, got 'x'.*E214"):
            G.compile(model, max_dims={"batch": (2, "x"), "time": 4})  # type: ignore[dict-item]
        with pytest.raises(GraphcTypeError, match=r"the largest 'batch' must be an integer, got \(\).*E214"):
            G.compile(model, max_dims={"batch": (), "time": 4})
        with pytest.raises(GraphcValueError, match=r"must be 1 to .*, got 0.*E214"):
            G.compile(model, max_dims={"batch": (0, 2), "time": 4})


def network(**largest: int) -> Any:
    with G.graph():
        ids = G.input("ids", ("batch", "time"), "int64")
        y = G.input("y", ("time", "batch", 2))
        h = nn.LSTM(UNITS, return_sequences=True)(nn.Embedding(6, FEATURES)(ids))
        both = {"h": h, "y": y + h.sum(axis=(0, 1, 2))}
        return G.compile(G.Model(predict=both, only=y.mean(axis=0)), max_dims=largest or LARGEST)


def test_sizes_are_checked() -> None:
    model = network()
    signature = "predict(ids: int64[batch,time], y: float32[time,batch,2]) -> "
    assert signature + "h: float32[batch,time,4], y: float32[time,batch,2]" in repr(model)
    ids, y = np.zeros((3, 5), "int64"), np.zeros((5, 3, 2), "float32")
    assert model.predict(ids, y)["h"].shape == (3, 5, UNITS)
    with pytest.raises(GraphcValueError, match=r"'batch' must be 1 to 13, got 14 in input 'ids'.*E449.*max_dims"):
        model.predict(np.zeros((14, 5), "int64"), np.zeros((5, 14, 2), "float32"))
    with pytest.raises(GraphcValueError, match=r"'time' must be 1 to 9, got 10 in input 'ids'.*E449.*max_dims"):
        model.predict(np.zeros((3, 10), "int64"), np.zeros((10, 3, 2), "float32"))
    with pytest.raises(GraphcValueError, match=r"'batch' must be 1 to 13, got 0.*E449"):
        model.predict(ids[:0], y[:, :0])
    with pytest.raises(GraphcValueError, match=r"'batch' is 3 in input 'ids' and 2 in input 'y'.*E449"):
        model.predict(ids, y[:, :2])
    with pytest.raises(GraphcValueError, match=r"input 'y' must be float32\[5,3,2\], got float32\[5,3,4\].*E449"):
        model.predict(ids, np.zeros((5, 3, 4), "float32"))
    with pytest.raises(GraphcIndexError, match=r"index 7 at position .*E456"):
        model.predict(ids + 7, y)
    out = {"y": np.empty((5, 3, 2), "float32")}
    assert model.predict(ids, y, out=out)["y"] is out["y"]
    np.testing.assert_array_equal(out["y"], model.predict(ids.tolist(), y)["y"])
    wide = np.random.default_rng(0).normal(size=(9, 20, 2)).astype("float32")
    np.testing.assert_allclose(model.only(wide[:, ::2]), wide[:, ::2].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_threads_give_the_same_bits() -> None:
    with G.graph():
        x = G.input("x", ("batch", "time", 64))
        loss = (nn.LSTM(64, return_sequences=True)(x) ** 2).mean()
        model = G.compile(G.Model(gradient=G.grad(loss, x)), max_dims={"time": 20, "batch": 32})
    data = np.random.default_rng(0).normal(size=(29, 11, 64)).astype("float32")
    alone = model.gradient(data)
    np.testing.assert_array_equal(model.gradient(data, threads=3), alone)


def test_dropout_of_a_row_depends_on_no_other() -> None:
    with G.graph():
        x = G.input("x", ("batch", 50))
        model = G.compile(G.Model(predict=nn.Dropout(0.25)(x, training=True)), max_dims={"batch": 9})
    ones = np.ones((9, 50), "float32")
    np.testing.assert_array_equal(model.predict(ones[:5]), model.predict(ones)[:5])


def test_what_mixes_rows_says_so() -> None:
    with G.graph():
        x = G.input("x", ("batch", FEATURES))
        z = G.input("z", ("batch", "time", "more", 2))
        refused = {
            "cumsum": G.cumulative_sum(x, axis=0),
            "matmul": (x @ x.T).sum(),
            "slice": x[1:].sum(),
            "concat": G.concat([x, x], axis=0).sum(),
            "argmax": G.argmax(x, axis=0),
        }
        for name, value in refused.items():
            with pytest.raises(UnsupportedOp, match=rf"{name}: .*'batch' that only the call says.*E334") as caught:
                G.compile(G.Model(predict=value), max_dims={"batch": 5})
            assert "test_any_batch.py" in str(caught.value)
        sums = G.Model(predict=z.sum(axis=(1, 2)))
        with pytest.raises(UnsupportedOp, match=r"only steps and rows, two dimensions.*E334"):
            G.compile(sums, max_dims={"batch": 2, "time": 3, "more": 4})
        both = nn.LSTM(2)(z[:, :, 0]).sum() + nn.LSTM(2, time_major=True)(z[:, :, 0]).sum()
        with pytest.raises(UnsupportedOp, match=r"'batch' and 'time': loops go over both.*E334"):
            G.compile(G.Model(predict=both), dims={"more": 1}, max_dims={"batch": 2, "time": 3})
        with pytest.raises(UnsupportedOp, match=r"'merged' has the shape.*'batch' must stand once and alone.*E334"):
            G.compile(G.Model(merged=G.reshape(z, (-1, 2))), dims={"more": 2}, max_dims={"batch": 2, "time": 3})
        two = {"over": x.sum(axis=0), "over__4": x.max(axis=0)}
        with pytest.raises(GraphcValueError, match=r"'over__4' is the entry point 'over' for 4.*E108"):
            G.compile(G.Model(**two), max_dims={"batch": 5})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((2, "batch"), (-1, 2)),
        (("batch", 2), (2, -1)),
        ((3, "batch", 2), (-1, 6)),
        (("time", "batch"), ("batch", "time")),
    ],
)
def test_a_reshape_that_mixes_rows_says_so(given: tuple, wanted: tuple) -> None:
    with G.graph():
        x = G.input("x", given)
        y = G.reshape(x, [x.shape[given.index(size)] if isinstance(size, str) else size for size in wanted])
        with pytest.raises(UnsupportedOp, match=r"reshape: .*E334"):
            G.compile(G.Model(predict=y * 1.0), max_dims={name: 6 for name in given if isinstance(name, str)})


def test_what_is_no_batch_goes_step_by_step() -> None:
    with G.graph():
        x = G.input("x", ("number", FEATURES))
        w = G.parameter("w", np.ones(FEATURES, "float32"))
        ends = (G.tanh(x * w)[-1] - x[0]).sum()
        parts = {"turned": G.flip(x, axis=0), "ends": ends, "gx": G.grad(ends, x), "gw": G.grad(ends, w)}
        module = G.Model(predict=parts).module
    sized = G.compile(module, max_dims={"number": 6})
    for number in (1, 4, 6):
        compare(module, {"number": number}, sized)
