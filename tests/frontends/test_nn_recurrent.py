"""Recurrent layers: cells of one's own, masks, states that stay, dropout, stacks and directions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim

Run = Callable[..., Any]
_rng = np.random.default_rng(0)
X = _rng.normal(size=(2, 4, 3))


class Leaky:
    """A cell that is no layer: h' = h / 2 + x."""

    state_size = 3

    def __call__(self, inputs: G.Tensor, states: list[G.Tensor]) -> tuple[G.Tensor, list[G.Tensor]]:
        after = states[0] * 0.5 + inputs
        return after * 2, [after]


class Counting(nn.Layer):
    """A cell that is a layer, with two parts of its state of different sizes."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units
        self.state_size = [units, 1]
        self.output_size = units

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight("kernel", (shape[-1], self.units))

    def call(self, x: G.Tensor, states: list[G.Tensor]) -> tuple[G.Tensor, list[G.Tensor]]:
        h = G.tanh(x @ self.kernel + states[0])
        return h * states[1], [h, states[1] + 1]


def test_a_cell_that_is_no_layer(value: Run) -> None:
    x = G.input("x", X.shape, "float64")
    layer = nn.RNN(Leaky(), return_sequences=True, return_state=True)
    outputs, last = value(*layer(x), x=X)
    h, expected = np.zeros((2, 3)), []
    for t in range(4):
        h = h / 2 + X[:, t]
        expected.append(2 * h)
    np.testing.assert_allclose(outputs, np.stack(expected, 1))
    np.testing.assert_allclose(last, h)
    assert layer.weights == []


def test_a_cell_that_is_a_layer(value: Run) -> None:
    x = G.input("x", X.shape, "float64")
    layer = nn.Bidirectional(nn.RNN(Counting(2), return_sequences=True), merge_mode="sum")
    out = layer(x)
    names = [state.name for state in layer.states]
    assert names == ["bidirectional/forward_rnn/counting/kernel", "bidirectional/backward_rnn/counting/kernel"]

    def run(data: Any, kernel: Any) -> Any:
        h, outputs = np.zeros((2, 2)), []
        for t in range(4):
            h = np.tanh(data[:, t] @ kernel + h)
            outputs.append(h * t)
        return np.stack(outputs, 1)

    ahead, back = (state.initial_value(0) for state in layer.states)
    np.testing.assert_allclose(value(out, x=X), run(X, ahead) + run(X[:, ::-1], back)[:, ::-1], rtol=1e-12)


def test_a_cell_that_gives_too_little() -> None:
    class Wrong:
        state_size = (2, 2)

        def call(self, inputs: G.Tensor, states: list[G.Tensor]) -> tuple[G.Tensor, list[G.Tensor]]:
            return inputs, [states[0]]

    x = G.input("x", X.shape)
    with pytest.raises(G.GraphcValueError, match="makes 1 parts of a state that has 2"):
        nn.RNN(Wrong())(x)
    with pytest.raises(G.GraphcTypeError, match="backward_layer"):
        nn.Bidirectional(nn.RNN(Leaky()))


@pytest.mark.parametrize("make", [nn.SimpleRNN, nn.LSTM, nn.GRU])
def test_masked_steps_hold_the_state(make: Callable[..., nn.Layer], value: Run) -> None:
    x = G.input("x", X.shape, "float64")
    layer = make(3, return_sequences=True, return_state=True)
    mask = np.array([[True, True, False, True], [False, True, False, False]])
    outputs, *states = value(*layer(x, mask=mask), x=X)
    np.testing.assert_array_equal(outputs[0, 2], outputs[0, 1])  # repeated
    np.testing.assert_array_equal(outputs[1, 0], 0)  # nothing to repeat yet
    np.testing.assert_array_equal(outputs[1, 3], outputs[1, 1])
    for number, steps in enumerate([[0, 1, 3], [1]]):
        alone, *ends = value(*layer(_steps(x, number, steps)), x=X)
        np.testing.assert_allclose(outputs[number, steps], alone[0], rtol=1e-12)
        for state, end in zip(states, ends, strict=True):
            np.testing.assert_allclose(state[number], end[0], rtol=1e-12)


def _steps(x: G.Tensor, sample: int, steps: list[int]) -> G.Tensor:
    return G.take(x[sample : sample + 1], np.array(steps), axis=1)


@pytest.mark.parametrize("backwards", [False, True])
def test_lengths(backwards: bool, value: Run) -> None:
    x, lengths = G.input("x", X.shape, "float64"), G.input("lengths", (2,), "int32")
    layer = nn.GRU(3, go_backwards=backwards)
    got = value(layer(x, lengths=lengths), x=X, lengths=np.array([4, 2], np.int32))
    np.testing.assert_allclose(got[0], value(layer(x), x=X)[0], rtol=1e-12)
    np.testing.assert_allclose(got[1], value(layer(x[:, :2]), x=X)[1], rtol=1e-12)


def test_time_major_masks(value: Run) -> None:
    x = G.input("x", X.shape, "float64")
    layer = nn.LSTM(3, return_sequences=True, name="l")
    with G.graph():
        y = G.input("y", (4, 2, 3), "float64")
        major = nn.LSTM(3, return_sequences=True, time_major=True, name="l")
        other = value(major(y, lengths=np.array([1, 3])), y=X.transpose(1, 0, 2))
    np.testing.assert_allclose(value(layer(x, lengths=np.array([1, 3])), x=X), other.transpose(1, 0, 2), rtol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_stateful_layer_goes_on(backend: str) -> None:
    x, one = G.input("x", (2, 4, 3)), G.input("one", (2, 1, 3))
    layer = nn.LSTM(3, stateful=True)
    whole = nn.LSTM(3, name="whole")(x)
    model = G.compile(G.Model(predict=layer(x), step=layer(one), whole=whole), backend=backend)
    for name in ("kernel", "recurrent_kernel", "bias"):
        model.parameters[f"lstm/{name}"][...] = model.parameters[f"whole/{name}"]
    data = X.astype(np.float32)
    for t in range(4):
        last = model.step(data[:, t : t + 1])
    np.testing.assert_allclose(last, model.whole(data), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.parameters["lstm/h"], last, rtol=1e-6)
    again = model.predict(data)
    assert not np.allclose(again, last)
    model.parameters["lstm/h"][...] = model.parameters["lstm/c"][...] = 0
    np.testing.assert_allclose(model.predict(data), last, rtol=1e-5, atol=1e-6)


def test_stateful_layers_are_called_once_and_reset() -> None:
    x = G.input("x", (2, 4, 3))
    layer = nn.GRU(3, stateful=True)
    both = {"a": layer(x), "b": layer(x * 2)}
    with pytest.raises(G.GraphcValueError, match="E224"):
        G.Model(predict=both)
    model = G.compile(G.Model(predict=both["a"], clear=G.Step(G.constant(0.0), layer.reset_updates())), backend="numpy")
    data = X.astype(np.float32)
    first = model.predict(data)
    assert not np.array_equal(first, model.predict(data))
    model.clear()
    np.testing.assert_array_equal(first, model.predict(data))


def test_stacks(value: Run) -> None:
    x = G.input("x", X.shape, "float64")
    stack = nn.RNN([nn.LSTMCell(3), nn.GRUCell(2)], return_sequences=True, return_state=True)
    outputs, first, second = stack(x)
    assert (outputs.shape, len(first), second.shape) == ((2, 4, 2), 2, (2, 2))
    assert [state.name for state in stack.states][::3] == [
        "rnn/stacked_rnn_cells/lstm_cell/kernel",
        "rnn/stacked_rnn_cells/gru_cell/kernel",
    ]
    bottom, top = nn.LSTM(3, return_sequences=True, name="a"), nn.GRU(2, return_sequences=True, name="b")
    apart = top(bottom(x))
    states = {}
    for mine, theirs in zip([*bottom.states, *top.states], stack.states, strict=True):
        states[mine.name] = states[theirs.name] = theirs.initial_value(0)
    got = value(outputs, apart, x=X, states=states)
    np.testing.assert_allclose(got[0], got[1], rtol=1e-12)


@pytest.mark.parametrize("make", [nn.SimpleRNN, nn.LSTM, nn.GRU])
def test_dropout_draws_once_a_sequence(make: Callable[..., nn.Layer]) -> None:
    x = G.input("x", (2, 5, 3))
    layer = make(4, dropout=0.3, recurrent_dropout=0.3)
    out = layer(x)
    model = G.Model(predict=out, run=G.Step(out, training=True))
    draws = [node for node in model.entries["run"].nodes if node.op.name == "random_uniform"]
    # As in Keras, every gate drops its own as soon as states are dropped.
    gates = () if make is nn.SimpleRNN else (layer.cell.gates,)
    assert [node.shape for node in draws] == [(*gates, 2, 3), (*gates, 2, 4)]
    shared = G.Model(run=G.Step(make(4, dropout=0.3)(x), training=True)).entries["run"]
    assert [node.shape for node in shared.nodes if node.op.name == "random_uniform"] == [(2, 3)]
    assert not [node for node in model.entries["predict"].nodes if node.op.name == "random_uniform"]
    compiled = G.compile(model, backend="numpy")
    data = _rng.normal(size=(2, 5, 3)).astype(np.float32)
    assert not np.array_equal(compiled.run(data), compiled.run(data))
    np.testing.assert_array_equal(compiled.predict(data), compiled.predict(data))


def test_everything_dropped_leaves_the_bias(value: Run) -> None:
    x = G.input("x", X.shape, "float64")
    layer = nn.GRU(3, dropout=1.0, bias_initializer="ones")
    got = value(layer(x, training=True), layer(x * 0), x=X)
    np.testing.assert_allclose(got[0], got[1], rtol=1e-12)


def test_hard_gates_pass_no_gradient(value: Run) -> None:
    x = G.input("x", X.shape, "float64")
    hard = nn.RNN(nn.MemoryCell(2, hard=True, bias_initializer="ones", recurrent=False))
    loss = hard(x).sum()
    kernel = hard.weights[0]
    gradient = value(G.grad(loss, kernel), x=X)
    assert gradient.shape == (3, 6)
    np.testing.assert_array_equal(gradient[:, :4], 0)  # of the gates
    assert np.abs(gradient[:, 4:]).max() > 0  # of the content


def test_a_recurrent_layer_trains_with_mask_and_penalty() -> None:
    tokens, y = G.input("tokens", (4, 5), "int64"), G.input("y", (4,), "int64")
    h = nn.Embedding(6, 4, mask_zero=True)(tokens)
    h = nn.Bidirectional(nn.LSTM(3, kernel_regularizer="l2", dropout=0.1))(h)
    loss = nn.losses.sparse_categorical_crossentropy(y, nn.Dense(2)(h), from_logits=True)
    model = G.compile(G.Model(loss=loss, train=optim.Adam(0.05).minimize(loss)), backend="numpy")
    data = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0], [1, 3, 3, 3, 0], [5, 5, 5, 5, 5]])
    before = model.loss(data, np.array([0, 1, 0, 1]))
    for _ in range(30):
        model.train(data, np.array([0, 1, 0, 1]))
    assert model.loss(data, np.array([0, 1, 0, 1])) < before / 3


def test_a_stateful_network_goes_on_until_it_is_reset() -> None:
    network = nn.Sequential([nn.Input((4, 3), batch_size=2), nn.LSTM(3, stateful=True)])
    data = X.astype(np.float32)
    first = network.predict(data)
    assert not np.array_equal(network.predict(data), first)
    network.reset_states()
    np.testing.assert_array_equal(network.predict(data), first)


def test_the_mask_of_a_sequence_goes_past_softmax(value: Run) -> None:
    words = G.input("words", (2, 4), "int64")
    steps = nn.Embedding(5, 3, mask_zero=True)(words)
    made = nn.GRU(2, return_sequences=True)(nn.Softmax()(steps))
    want = nn.Softmax()(steps.named("plain"))
    data = np.array([[1, 2, 0, 0], [3, 4, 1, 0]])
    states = value(made, words=data)
    np.testing.assert_array_equal(states[0, 1], states[0, 3])
    np.testing.assert_allclose(np.sum(value(want, words=data), -1), np.ones((2, 4)), rtol=1e-6)
