"""Recurrent layers over a symbolic number of steps: the loop means what the unrolled layer means, at every length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.driver import schedule
from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.ir.bind import bind_dimensions
from graphc.ir.graph import Module
from graphc.ir.verify import verify_module
from tests.backends_under_test import run, with_passes

FEATURES, UNITS = 3, 4


class Sticky:
    """A user's own cell: two parts of state of different sizes, an output that is neither, weights made on the way."""

    state_size = (UNITS, 2)
    output_size = 3

    def __init__(self) -> None:
        self.w = G.parameter("w", np.linspace(-1, 1, FEATURES * UNITS, dtype="float32").reshape(FEATURES, UNITS))
        self.u = G.parameter("u", np.linspace(1, -1, UNITS * UNITS, dtype="float32").reshape(UNITS, UNITS))

    def call(self, x: G.Tensor, states: Any) -> tuple[G.Tensor, list[G.Tensor]]:
        h, memory = states
        after = G.tanh(x @ self.w + h @ self.u + memory.sum(axis=1, keepdims=True))
        memory = memory * 0.5 + after[:, :2]
        return G.concat([memory, after[:, 2:3] * x[:, :1]], axis=1), [after, memory]


def dropping(cell: type, **options: Any) -> Callable[[], Any]:
    return lambda: nn.RNN(cell(UNITS, dropout=0.3, recurrent_dropout=0.2, **options), return_sequences=True)


LAYERS: dict[str, Callable[[], Any]] = {
    "SimpleRNN": lambda: nn.SimpleRNN(UNITS),
    "LSTM sequences": lambda: nn.LSTM(UNITS, return_sequences=True),
    "LSTM time major": lambda: nn.LSTM(UNITS, return_sequences=True, return_state=True, time_major=True),
    "GRU state": lambda: nn.GRU(UNITS, return_state=True),
    "GRU reset before": lambda: nn.GRU(UNITS, reset_after=False, return_sequences=True),
    "GRU backwards": lambda: nn.GRU(UNITS, go_backwards=True, return_sequences=True),
    "own cell": lambda: nn.RNN(Sticky(), return_sequences=True, return_state=True),
    "own cell, last": lambda: nn.RNN(Sticky(), go_backwards=True),
    "stacked": lambda: nn.RNN([nn.LSTMCell(UNITS), nn.GRUCell(3)], return_sequences=True, return_state=True),
    "bidirectional": lambda: nn.Bidirectional(nn.LSTM(UNITS, return_sequences=True)),
    "bidirectional last": lambda: nn.Bidirectional(nn.GRU(UNITS, return_state=True), merge_mode="sum"),
    "dropout": dropping(nn.LSTMCell),
    "dropout of GRU": dropping(nn.GRUCell),
}


def outputs_of(layer: Any, x: G.Tensor, options: dict[str, Any]) -> list[G.Tensor]:
    made = layer(x, **options)
    pending, flat = [made], []
    while pending:
        one = pending.pop(0)
        if isinstance(one, list):
            pending = [*one, *pending]
        else:
            flat.append(one)
    return flat


def module_of(make: Callable[[], Any], sizes: tuple[Any, Any], extras: str = "") -> Module:
    """Entry points: the outputs; their gradients by x and the weights; a training step."""
    batch, time = sizes
    with G.graph():
        layer = make()
        major = getattr(layer, "time_major", False)
        x = G.input("x", (time, batch, FEATURES) if major else (batch, time, FEATURES))
        options: dict[str, Any] = {}
        if extras == "lengths":
            options["lengths"] = G.input("lengths", (batch,), "int64")
        elif extras == "mask":
            options["mask"] = G.input("mask", (batch, time), "bool")
        elif extras == "state":
            options["initial_state"] = [G.input(f"state{part}", (batch, UNITS)) for part in range(2)]
        outputs = outputs_of(layer, x, options)
        loss = sum(((part * part).sum() + G.sin(part).sum()) for part in outputs)
        assert isinstance(loss, G.Tensor)
        parameters = [w for w in (layer.weights or [layer.cell.w, layer.cell.u]) if w.state.trainable]
        gradients = G.grad(loss, [x, *parameters])
        named = {f"output{place}": part for place, part in enumerate(outputs)}
        train = optim.SGD(0.1).minimize(loss)
        return G.Model(forward=named, gradient={f"g{p}": g for p, g in enumerate(gradients)}, train=train).module


def arguments_of(module: Module, entry: str, seed: int = 3) -> list[Any]:
    rng = np.random.default_rng(seed)
    made = []
    for node in module.entry(entry).inputs:
        if node.attrs["name"] == "lengths":
            made.append(rng.integers(0, 8, node.tensor.static_shape))
        elif node.attrs["name"] == "mask":
            made.append(rng.random(node.tensor.static_shape) < 0.6)
        elif node.dtype.is_integer:
            made.append(rng.integers(0, 5, node.tensor.static_shape))
        else:
            made.append(rng.normal(size=node.tensor.static_shape).astype(node.dtype.storage))
    return made


def compare(make: Callable[[], Any], backend: str, batch: int, time: int, extras: str = "") -> None:
    unrolled = module_of(make, (batch, time), extras)
    bound = bind_dimensions(module_of(make, ("batch", "time"), extras), {"batch": batch, "time": time})
    verify_module(bound)
    ready = bound if backend == "reference" else with_passes(bound)
    for entry in unrolled.entries:
        given = arguments_of(unrolled, entry)
        wanted, after = run("reference", unrolled, entry, given)
        found, states = run(backend, ready, entry, given)
        assert found.keys() == wanted.keys()
        assert states.keys() == after.keys()
        for name, value in {**wanted, **after}.items():
            np.testing.assert_allclose(
                {**found, **states}[name], value, rtol=2e-4, atol=2e-5, err_msg=f"{entry} {name}"
            )


@pytest.mark.parametrize("name", LAYERS)
def test_the_loop_means_what_the_steps_mean(name: str) -> None:
    for batch, time in ((2, 1), (1, 2), (3, 6)):
        compare(LAYERS[name], "reference", batch, time)


@pytest.mark.parametrize("backend", ["kernel", "numpy", "llvm"])
@pytest.mark.parametrize("name", ["LSTM sequences", "own cell", "dropout of GRU"])
def test_backends(name: str, backend: str) -> None:
    compare(LAYERS[name], backend, 2, 33)


@pytest.mark.parametrize("extras", ["lengths", "mask", "state"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LSTM(UNITS, return_sequences=True, return_state=True),
        lambda: nn.LSTM(UNITS),
        lambda: nn.LSTM(UNITS, zero_output_for_mask=True, return_sequences=True, go_backwards=True),
    ],
    ids=["sequences", "last", "zeros, backwards"],
)
def test_masks_and_initial_states(make: Callable[[], Any], extras: str) -> None:
    for time in (1, 7):
        compare(make, "reference", 3, time, extras)


def test_a_mask_that_travels_with_its_sequence() -> None:
    def predict(time: Any) -> Module:
        with G.graph():
            ids = G.input("ids", (2, time), "int64")
            x = nn.Embedding(9, FEATURES, mask_zero=True)(ids)
            return G.Model(predict=nn.LSTM(UNITS)(nn.GRU(FEATURES, return_sequences=True)(x))).module

    bound = bind_dimensions(predict("time"), {"time": 5})
    ids = np.array([[3, 4, 0, 0, 0], [1, 2, 8, 5, 0]])
    wanted = run("reference", predict(5), "predict", [ids])[0]["predict"]
    np.testing.assert_allclose(run("reference", bound, "predict", [ids])[0]["predict"], wanted, rtol=1e-5)


def test_a_stateful_layer_goes_on_at_any_length() -> None:
    with G.graph():
        x = G.input("x", (2, "time", FEATURES))
        model = G.Model(predict=nn.LSTM(UNITS, stateful=True)(x), gradient=G.grad(nn.GRU(2)(x).sum(), x))
    with G.graph():
        whole = G.Model(predict=nn.LSTM(UNITS, stateful=True)(G.input("x", (2, 7, FEATURES))))
    data = np.random.default_rng(0).normal(size=(2, 7, FEATURES)).astype("float32")
    states: dict[str, Any] = {}
    for part in (data[:, :4], data[:, 4:]):
        bound = bind_dimensions(model.module, {"time": part.shape[1]})
        found, changed = run("reference", bound, "predict", [part], states or None)
        states |= changed
    wanted, after = run("reference", whole.module, "predict", [data])
    np.testing.assert_allclose(found["predict"], wanted["predict"], rtol=1e-5)
    for name, value in after.items():
        np.testing.assert_allclose(states[name], value, rtol=1e-5)


def loops_of(module: Module, entry: str) -> list[Any]:
    return [node for node in module.entry(entry).nodes if node.op.name == "loop"]


def products_of(module: Module, entry: str) -> list[tuple[Any, ...]]:
    """The shapes of all products: those outside of loops, then those of each body."""
    graph = module.entry(entry)
    regions = [graph, *(node.attrs["body"] for node in graph.nodes if node.op.name == "loop")]
    return [tuple(n.shape for n in region.nodes if n.op.name == "matmul") for region in regions]


@pytest.mark.parametrize("name", ["LSTM time major", "GRU reset before", "own cell"])
def test_the_recurrent_rewrites_reach_the_loop(name: str) -> None:
    """One forward and one backward loop with one product a gate block; inputs and weight gradients outside."""
    sizes = {"batch": 4, "time": 12}
    looped = module_of(LAYERS[name], ("batch", "time"))
    scheduled = schedule(bind_dimensions(looped, sizes), until="fuse")
    assert len(loops_of(looped, "train")) == 3
    assert len(loops_of(scheduled, "train")) == 2
    rolled = schedule(module_of(LAYERS[name], (4, 12)), until="fuse")
    ours, theirs = products_of(scheduled, "train"), products_of(rolled, "train")
    assert ours[1:] == theirs[1:]
    assert sum(map(len, ours)) <= sum(map(len, theirs))


def test_what_the_backward_steps_read_is_what_the_forward_steps_made() -> None:
    """No exponential is computed twice."""
    scheduled = schedule(bind_dimensions(module_of(LAYERS["LSTM sequences"], (4, "time")), {"time": 12}), until="fuse")
    forward, backward = (
        [n.op.name for n in node.attrs["body"].nodes if n.op.name in ("sigmoid", "tanh", "exp")]
        for node in loops_of(scheduled, "train")
    )
    assert sorted(forward) == ["sigmoid"] * 3 + ["tanh"] * 2
    assert backward == []


def test_random_numbers_of_a_step_differ_from_step_to_step() -> None:
    class Noisy:
        state_size = UNITS

        def call(self, x: G.Tensor, states: Any) -> tuple[G.Tensor, list[G.Tensor]]:
            return G.random_uniform(x.shape) + 0 * x, states

    with G.graph():
        x = G.input("x", (2, "time", UNITS))
        model = G.Model(predict=nn.RNN(Noisy(), return_sequences=True)(x))
    drawn = G.compile(model, backend="numpy", dims={"time": 40}).predict(np.zeros((2, 40, UNITS), "float32"))
    assert len(np.unique(drawn)) == drawn.size


def test_dropout_of_a_users_cell_is_for_training_alone() -> None:
    class Dropping:
        state_size = UNITS

        def __init__(self) -> None:
            self.drop = nn.Dropout(0.5)

        def call(self, x: G.Tensor, states: Any) -> tuple[G.Tensor, list[G.Tensor]]:
            return self.drop(x), [states[0] + x]

    with G.graph():
        x = G.input("x", (1, "time", UNITS))
        made = nn.RNN(Dropping(), return_sequences=True)(x)
        model = G.Model(predict=made, train=G.Step(made, training=True))
    ones = np.ones((1, 60, UNITS), "float32")
    compiled = G.compile(model, dims={"time": 60})
    assert (compiled.predict(ones) == 1).all()
    kept = compiled.train(ones)
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert 0.3 < (kept == 2).mean() < 0.7
    assert not any(n.op.name == "random_uniform" for n in model.entries["predict"].nodes)


def test_fit_compiles_for_each_length_it_meets() -> None:
    with G.graph():
        x = nn.Input((None, FEATURES))
        y = nn.Dense(1)(nn.LSTM(8, return_sequences=True)(x))
        network = nn.Model(x, y)
        network.compile(optim.Adam(0.02), "mse")
    rng = np.random.default_rng(0)

    def batches(time: int) -> tuple[Any, Any]:
        data = rng.normal(size=(16, time, FEATURES)).astype("float32")
        return data, data.sum(axis=2, keepdims=True)

    first = network.train_on_batch(*batches(5))
    for step in range(60):
        last = network.train_on_batch(*batches(4 + step % 3))
    assert last < 0.7 * first
    network.train_on_batch(*batches(5), sample_weight=np.ones(16))
    assert network.predict(batches(9)[0]).shape == (16, 9, 1)
    assert np.isfinite(network.evaluate(*batches(2)))


def test_what_a_loop_cannot_do_says_so() -> None:
    class Normed:
        state_size = FEATURES

        def __init__(self) -> None:
            self.norm = nn.BatchNormalization()

        def call(self, x: G.Tensor, states: Any) -> tuple[G.Tensor, list[G.Tensor]]:
            return self.norm(x + states[0]), [x]

    class Growing:
        state_size = FEATURES

        def call(self, x: G.Tensor, states: Any) -> tuple[G.Tensor, list[G.Tensor]]:
            return x, [x.astype("float64")]

    with G.graph():
        x = G.input("x", (2, "time", FEATURES))
        with pytest.raises(GraphcTypeError, match="statistics at every step"):
            nn.RNN(Normed())(x)
        with pytest.raises(GraphcValueError, match=r"takes the state .* as float32.*makes it float64.*E211"):
            nn.RNN(Growing())(x)
