"""Layers against NumPy transcriptions of Keras' formulas, their weights, and their gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

import graphc as G
from graphc import nn

Run = Callable[..., Any]
X = np.random.default_rng(0).normal(size=(2, 5, 3))
H = 4


def initial(layer: nn.Layer, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    return {state.name.rsplit("/", 1)[1]: state.initial_value(seed) for state in layer.states}


def simple_rnn(x: Any, w: Any) -> Any:
    h = np.zeros((x.shape[0], H))
    states = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ w["kernel"] + w["bias"] + h @ w["recurrent_kernel"])
        states.append(h)
    return np.stack(states, 1), [h]


def lstm(x: Any, w: Any) -> Any:
    h = c = np.zeros((x.shape[0], H))
    states = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w.get("bias", 0), 4, axis=1)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, 1), [h, c]


def gru_after(x: Any, w: Any) -> Any:
    h = np.zeros((x.shape[0], H))
    states = []
    for t in range(x.shape[1]):
        az, ar, ah = np.split(x[:, t] @ w["kernel"] + w["bias"][0], 3, axis=1)
        bz, br, bh = np.split(h @ w["recurrent_kernel"] + w["bias"][1], 3, axis=1)
        z, r = expit(az + bz), expit(ar + br)
        h = z * h + (1 - z) * np.tanh(ah + r * bh)
        states.append(h)
    return np.stack(states, 1), [h]


def gru_before(x: Any, w: Any) -> Any:
    h = np.zeros((x.shape[0], H))
    u = np.split(w["recurrent_kernel"], 3, axis=1)
    states = []
    for t in range(x.shape[1]):
        az, ar, ah = np.split(x[:, t] @ w["kernel"] + w["bias"], 3, axis=1)
        z, r = expit(az + h @ u[0]), expit(ar + h @ u[1])
        h = z * h + (1 - z) * np.tanh(ah + (r * h) @ u[2])
        states.append(h)
    return np.stack(states, 1), [h]


# Biases start at 0 (or 1): random ones show where each is added.
_BIAS = nn.initializers.RandomNormal(stddev=1.0)
_CELLS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "simple_rnn": (lambda **o: nn.SimpleRNN(H, bias_initializer=_BIAS, **o), simple_rnn),
    "lstm": (lambda **o: nn.LSTM(H, bias_initializer=_BIAS, **o), lstm),
    "lstm without bias": (lambda **o: nn.LSTM(H, use_bias=False, **o), lstm),
    "gru": (lambda **o: nn.GRU(H, bias_initializer=_BIAS, **o), gru_after),
    "gru reset before": (lambda **o: nn.GRU(H, reset_after=False, bias_initializer=_BIAS, **o), gru_before),
}


@pytest.mark.parametrize("cell", _CELLS)
def test_recurrent_layers(cell: str, value: Run) -> None:
    make, formula = _CELLS[cell]
    layer = make(return_sequences=True, return_state=True)
    x = G.input("x", X.shape, "float64")
    got = value(*layer(x), x=X)
    sequence, state = formula(X, initial(layer))
    for ours, theirs in zip(got, [sequence, *state], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("cell", _CELLS)
def test_options_of_recurrent_layers(cell: str, value: Run) -> None:
    make, formula = _CELLS[cell]
    x = G.input("x", X.shape, "float64")
    last, back, major = (
        make(),
        make(go_backwards=True, return_sequences=True),
        make(time_major=True, return_sequences=True),
    )
    got = value(last(x), back(x), major(G.transpose(x, (1, 0, 2))), x=X)
    np.testing.assert_allclose(got[0], formula(X, initial(last))[0][:, -1], rtol=1e-12)
    np.testing.assert_allclose(got[1], formula(X[:, ::-1], initial(back))[0], rtol=1e-12)
    np.testing.assert_allclose(got[2], formula(X, initial(major))[0].transpose(1, 0, 2), rtol=1e-12)


@pytest.mark.parametrize("cell", _CELLS)
def test_gradients_of_recurrent_layers(cell: str, check_gradients: Callable[..., None]) -> None:
    layer = _CELLS[cell][0](return_sequences=True)
    x = G.input("x", (2, 3, 3), "float64")
    loss = (layer(x) * np.linspace(-1, 1, H)).sum() + (x * x).sum()
    check_gradients(loss, [x, *layer.weights], x=X[:, :3].copy())


def test_gradients_of_a_convolutional_network(check_gradients: Callable[..., None]) -> None:
    x = G.input("x", (2, 6, 6, 2), "float64")
    y = G.input("y", (2,), "int64")
    layers = [nn.Conv2D(3, 3, activation="tanh", padding="same"), nn.MaxPooling2D(), nn.Flatten(), nn.Dense(4)]
    network = nn.Sequential(layers)
    loss = nn.losses.sparse_categorical_crossentropy(G.constant([1, 3]), network(x), from_logits=True)
    assert y.shape == (2,)
    check_gradients(loss, [x, *network.weights], x=np.random.default_rng(4).normal(size=(2, 6, 6, 2)))


def test_states_given_at_the_start(value: Run) -> None:
    x = G.input("x", X.shape, "float64")
    layer = nn.LSTM(H, return_state=True)
    first = layer(x[:, :2])
    second = layer(x[:, 2:], initial_state=first[1:])
    np.testing.assert_allclose(value(second[0], x=X), lstm(X, initial(layer))[0][:, -1], rtol=1e-12)
    with pytest.raises(G.GraphcValueError, match="E211"):
        layer(x, initial_state=[first[0]])


def test_weights_of_recurrent_layers() -> None:
    x = G.input("x", X.shape)
    for layer in (nn.LSTM(H), nn.GRU(H), nn.SimpleRNN(H), nn.GRU(H, reset_after=False)):
        layer(x)
    names = [state.name for layer in (nn.LSTM(3, name="a"),) for state in (layer(x), layer)[1].states]
    assert names == ["a/kernel", "a/recurrent_kernel", "a/bias"]
    layer = nn.LSTM(H)
    layer(x)
    weights = initial(layer)
    assert {name: weight.shape for name, weight in weights.items()} == {
        "kernel": (3, 16),
        "recurrent_kernel": (4, 16),
        "bias": (16,),
    }
    np.testing.assert_array_equal(weights["bias"], np.repeat([0, 1, 0, 0], H))
    np.testing.assert_allclose(weights["recurrent_kernel"] @ weights["recurrent_kernel"].T, np.eye(H), atol=1e-6)
    limit = np.sqrt(6 / (3 + 16))
    assert np.abs(weights["kernel"]).max() <= limit


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
def test_bidirectional(merge: str | None, value: Run) -> None:
    x = G.input("x", X.shape, "float64")
    layer = nn.Bidirectional(nn.LSTM(H, return_sequences=True), merge_mode=merge)
    out = layer(x)
    got = value(*out, x=X) if merge is None else value(out, x=X)
    ahead = lstm(X, initial(layer.forward_layer))[0]
    back = lstm(X[:, ::-1], initial(layer.backward_layer))[0][:, ::-1]
    expected = {
        "concat": np.concatenate([ahead, back], -1),
        "sum": ahead + back,
        "mul": ahead * back,
        "ave": (ahead + back) / 2,
        None: [ahead, back],
    }[merge]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert [state.name for state in layer.states][::3] == [
        "bidirectional/forward_lstm/kernel",
        "bidirectional/backward_lstm/kernel",
    ]
    assert not np.array_equal(initial(layer.forward_layer)["kernel"], initial(layer.backward_layer)["kernel"])


def test_dense_and_embedding(value: Run) -> None:
    x, tokens = G.input("x", X.shape, "float64"), G.input("tokens", (2, 3), "int64")
    dense, table = nn.Dense(7, activation="relu"), nn.Embedding(10, 6)
    data = np.array([[1, 2, 9], [0, 1, 1]])
    got = value(dense(x), table(tokens), x=X, tokens=data)
    weights = initial(dense)
    np.testing.assert_allclose(got[0], np.maximum(X @ weights["kernel"] + weights["bias"], 0), rtol=1e-12)
    np.testing.assert_array_equal(got[1], initial(table)["embeddings"][data])
    assert table.states[0].name == "embedding/embeddings"
    with pytest.raises(G.GraphcIndexError, match="E456"):
        value(table(tokens), tokens=data + 1)


def test_convolution_layers(value: Run) -> None:
    image = np.random.default_rng(3).normal(size=(1, 6, 6, 4)).astype(np.float32)
    x = G.input("x", image.shape)
    last = nn.Conv2D(6, (3, 2), strides=2, groups=2, activation="relu")
    first = nn.Conv2D(6, (3, 2), strides=2, groups=2, activation="relu", data_format="channels_first", name="first")
    second = nn.Conv1D(5, 3, padding="causal")
    a, b, c = last(x), first(G.transpose(x, (0, 3, 1, 2))), second(x[:, 0])
    assert (a.shape, b.shape, c.shape) == ((1, 2, 3, 6), (1, 6, 2, 3), (1, 6, 5))
    assert initial(last)["kernel"].shape == initial(first)["kernel"].shape == (3, 2, 2, 6)
    states = {state.name: state.initial_value() for state in (*last.states, *first.states)}
    states["first/kernel"] = states["conv2d/kernel"]
    got = value(a, b, x=image, states=states)
    np.testing.assert_allclose(got[0].transpose(0, 3, 1, 2), got[1], rtol=1e-5, atol=1e-6)


def test_layers_that_rearrange(value: Run) -> None:
    x = G.input("x", ("batch", 2, 6))
    assert nn.Flatten()(x).shape == (x.shape[0], 12)
    assert nn.Reshape((3, -1))(x).shape == (x.shape[0], 3, 4)
    assert nn.Permute((2, 1))(x).shape == (x.shape[0], 6, 2)
    y = G.input("y", (2, 3))
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(value(nn.Activation("relu")(y - 3), y=data), np.maximum(data - 3, 0))


def test_sequential_and_trainable() -> None:
    network = nn.Sequential([nn.Dense(4, activation="relu"), G.tanh])
    network.add(nn.Dense(2))
    x = G.input("x", (3, 5))
    assert network(x).shape == (3, 2)
    assert [weight.name for weight in network.weights] == [
        "dense/kernel",
        "dense/bias",
        "dense_1/kernel",
        "dense_1/bias",
    ]
    network.layers[0].trainable = False
    assert [weight.name for weight in network.trainable_weights] == ["dense_1/kernel", "dense_1/bias"]
    network.trainable = True
    assert len(network.trainable_weights) == 4


def test_dropout_inside_recurrent_layers() -> None:
    x = G.input("x", X.shape)
    layer = nn.LSTM(H, dropout=0.5, recurrent_dropout=0.2)
    model = G.Model(predict=layer(x))
    assert list(model.states) == ["lstm/kernel", "lstm/recurrent_kernel", "lstm/bias"]


def test_steps_have_scopes() -> None:
    model = G.Model(out=nn.LSTM(2)(G.input("x", (1, 3, 2))))
    graph = model.entries["out"]
    scopes = {graph.note(node).scope for node in graph.nodes if node.op.name == "matmul"}
    assert scopes == {("lstm", f"step {step}") for step in range(3)}


def test_initializers_are_reproducible_and_independent() -> None:
    shape = G.parameter("a", "he_normal", (64, 64)).state
    other = G.parameter("b", "he_normal", (64, 64)).state
    np.testing.assert_array_equal(shape.initial_value(1), shape.initial_value(1))
    assert not np.array_equal(shape.initial_value(1), shape.initial_value(2))
    assert not np.array_equal(shape.initial_value(1), other.initial_value(1))
    assert abs(shape.initial_value(1).std() - np.sqrt(2 / 64)) < 0.01
    # The numbers themselves are part of what users rely on.
    assert shape.initial_value(0)[0, :2].tolist() == pytest.approx([0.0523286797106266, -0.006241795606911182])


@pytest.mark.parametrize(
    "name",
    [
        "zeros",
        "ones",
        "uniform",
        "normal",
        "truncated_normal",
        "glorot_uniform",
        "glorot_normal",
        "he_uniform",
        "he_normal",
        "lecun_uniform",
        "lecun_normal",
        "orthogonal",
        "identity",
    ],
)
def test_every_initializer_fills_a_matrix(name: str) -> None:
    for dtype in ("float32", "bfloat16"):
        values = G.parameter(f"w_{dtype}", name, (6, 6), dtype).state.initial_value()
        assert values.shape == (6, 6)
        assert np.isfinite(values).all()
