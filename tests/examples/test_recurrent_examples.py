"""The recurrent examples: their hand-written cells against the library's, their data, and their derivatives."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.driver import schedule
from graphc.errors import GraphcTypeError
from graphc.ir.printer import print_graph
from tests.examples.loading import example

STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 4, 6

Arrays = dict[str, np.ndarray]


# -- hand-written cells are those of the library ----------------------------------------------------------------------


def last_state_and_gradients(cell: Callable[[G.Tensor], G.Tensor], weights: Callable[[Arrays], Arrays]) -> Arrays:
    """The last h of a cell over a random sequence, and the gradients by the input and by every weight.

    ``weights`` gives the values to begin with in place of the initial ones.
    """
    rng = np.random.default_rng(1)
    values = rng.standard_normal((STEPS, BATCH, FEATURES)).astype("float32")
    x = G.input("x", (STEPS, BATCH, FEATURES))
    h = cell(x)
    loss = G.sum(h * rng.standard_normal((BATCH, HIDDEN)).astype("float32"))
    # Where the rate is 1, a step of gradient descent is the gradient.
    m = G.compile(G.Model(predict=h, slope=G.grad(loss, x), train=optim.SGD(1.0).minimize(loss)), backend="numpy")
    parameters = {name: value for name, value in m.parameters.items() if name != "sgd/iteration"}
    before = weights(parameters)
    for name, value in before.items():
        parameters[name][...] = value
    found = {"h": m.predict(values), "x": m.slope(values)}
    m.train(values)
    return found | {name: before[name] - value for name, value in parameters.items()}


def assert_same_cell(
    by_hand: Callable[[G.Tensor], G.Tensor],
    layer: Callable[[G.Tensor], G.Tensor],
    moved: Callable[[Arrays], Arrays],
    added: Arrays | None = None,
) -> None:
    """Both give the same state and gradients.

    ``moved`` turns the weights of the one, or their gradients, into those of the other, whose weights have ``added`` in
    them.
    """
    chosen: Arrays = {}

    def choose(parameters: Arrays) -> Arrays:
        rng = np.random.default_rng(0)
        chosen.update({name: rng.standard_normal(p.shape).astype("float32") / 2 for name, p in parameters.items()})
        return chosen

    def take(parameters: Arrays) -> Arrays:
        return {name: value + (added or {}).get(name, np.float32(0)) for name, value in moved(chosen).items()}

    mine = last_state_and_gradients(by_hand, choose)
    library = last_state_and_gradients(layer, take)
    expected = {"h": mine["h"], "x": mine["x"], **moved(mine)}
    assert set(library) == set(expected)
    for name, value in library.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def side_by_side(values: Arrays, letter: str, gates: str) -> np.ndarray:
    return np.concatenate([values[f"{letter}_{gate}"] for gate in gates], axis=-1)


LSTM_LAYERS: dict[str, Callable[[], Any]] = {
    "standard": lambda: nn.LSTM(HIDDEN, time_major=True, name="cell"),
    "no bias": lambda: nn.LSTM(HIDDEN, time_major=True, use_bias=False, name="cell"),
    "forget bias": lambda: nn.LSTM(HIDDEN, time_major=True, name="cell"),
    "peepholes, diagonal": lambda: nn.RNN(nn.PeepholeLSTMCell(HIDDEN, name="cell"), time_major=True, name="rnn"),
    "peepholes, full": lambda: nn.RNN(
        nn.PeepholeLSTMCell(HIDDEN, diagonal=False, name="cell"), time_major=True, name="rnn"
    ),
    "gates on [x, h]": lambda: nn.RNN(nn.ConcatLSTMCell(HIDDEN, name="cell"), time_major=True, name="rnn"),
}


@pytest.mark.parametrize("variant", LSTM_LAYERS)
def test_variants_of_the_lstm(variant: str) -> None:
    variants = example("lstm_variants").VARIANTS
    assert set(variants) == set(LSTM_LAYERS)
    layer = LSTM_LAYERS[variant]()
    prefix = "rnn/cell" if layer.name == "rnn" else "cell"

    def moved(values: Arrays) -> Arrays:
        found = {f"{prefix}/kernel": side_by_side(values, "W", "ifco")}
        if "U_i" in values:
            found[f"{prefix}/recurrent_kernel"] = side_by_side(values, "U", "ifco")
        if "b_i" in values:
            found[f"{prefix}/bias"] = side_by_side(values, "b", "ifco")
        if "P_i" in values:
            found[f"{prefix}/peephole_kernel"] = side_by_side(values, "P", "ifo")
        return found

    assert_same_cell(lambda x: variants[variant](x, HIDDEN), layer, moved, {f"{prefix}/bias": forget_bias(variant)})


def forget_bias(variant: str) -> np.ndarray:
    """What the hand-written cell adds to the sums and the library's has in its bias."""
    return np.repeat([0, float(variant == "forget bias"), 0, 0], HIDDEN).astype("float32")


def gru_weights(values: Arrays) -> Arrays:
    return {
        "rnn/cell/kernel": side_by_side(values, "W", "zrh"),
        "rnn/cell/recurrent_kernel": side_by_side(values, "U", "zrh"),
        "rnn/cell/bias": side_by_side(values, "b", "zrh"),
    }


@pytest.mark.parametrize("reset", ["state", "product"])
@pytest.mark.parametrize("keep", ["state", "candidate"])
def test_forms_of_the_gru(reset: str, keep: str) -> None:
    gru = example("gru_forms").gru
    cell = nn.MinimalGRUCell(HIDDEN, reset=reset, keep=keep, name="cell")
    layer = nn.RNN(cell, time_major=True, name="rnn")
    assert_same_cell(lambda x: gru(x, HIDDEN, reset, keep), layer, gru_weights)


def test_one_form_of_the_gru_is_keras_and_the_ways_to_reset_differ() -> None:
    gru = example("gru_forms").gru
    layer = nn.GRU(HIDDEN, reset_after=False, time_major=True, name="gru")

    def moved(values: Arrays) -> Arrays:
        return {name.replace("rnn/cell", "gru"): value for name, value in gru_weights(values).items()}

    assert_same_cell(lambda x: gru(x, HIDDEN, "state", "state"), layer, moved)
    with pytest.raises(AssertionError):
        assert_same_cell(lambda x: gru(x, HIDDEN, "product", "state"), layer, moved)


@pytest.mark.parametrize(("reset", "keep"), [("state", "candidate"), ("product", "state")])
def test_twins_of_the_gru_are_one_function(reset: str, keep: str) -> None:
    forms = example("gru_forms")
    m = G.compile(forms.model(reset, keep))
    rng = np.random.default_rng(0)
    for value in m.parameters.values():
        value[...] = rng.standard_normal(value.shape) / 3
    x, _ = forms.strings(rng, forms.STEPS, 32)
    assert np.abs(m.predict(x)).max() > 0.1
    np.testing.assert_allclose(forms.twin(m, reset, keep).predict(x), m.predict(x), atol=1e-4)


# -- vanilla networks and shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_the_vanilla_network_rolls_and_steps_as_it_is_unrolled(activation: str) -> None:
    vanilla = example("vanilla_rnn")
    built = vanilla.model(activation)
    text = print_graph(schedule(built.module, until="accumulate").entry("predict"))
    assert text.count("loop(") == 1 and "trips=24" in text and text.count(f"{activation}(") == 1
    m = G.compile(built)
    letters, _ = vanilla.speak(np.random.default_rng(0), 24, 32)
    scores = m.predict(letters)
    state = np.zeros((32, 16), "float32")
    for t in range(24):
        stepped = m.step(state, letters[t])
        state = stepped["after"]
        shifted = np.exp(scores[t] - scores[t].max(axis=1, keepdims=True))
        np.testing.assert_allclose(
            stepped["probabilities"], shifted / shifted.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6
        )


def test_the_grammar() -> None:
    vanilla = example("vanilla_rnn")
    for text in ("BTXSE", "BPVVE", "BTSSXXTVVE", "BPTTVPSE"):
        assert vanilla.grammatical(text)
    for text in ("BTXS", "BE", "BTTVVE", "BPSE", "BTXSEB"):
        assert not vanilla.grammatical(text)
    letters, choices = vanilla.speak(np.random.default_rng(0), 24, 50)
    for column in letters.T:
        text = "".join(vanilla.LETTERS[letter] for letter in column)
        assert all(vanilla.grammatical(part) for part in text[: text.rfind("E") + 1].replace("E", "E ").split())
    # Whoever knows the place in the grammar does better than whoever knows the last letter.
    assert np.log(choices).mean() < vanilla.last_letter_loss(letters) - 0.3


@pytest.mark.parametrize("shape", ["one_to_one", "one_to_many", "many_to_one", "many_to_many"])
def test_shapes(shape: str) -> None:
    shapes = example("rnn_shapes")
    m = G.compile(shapes.model(shape, steps=12, batch=8, updates=60))
    x, y = shapes.task(shape, np.random.default_rng(0), 12, 8)
    assert (x.ndim, y.ndim) == tuple(3 if side == "many" else 2 for side in shape.split("_to_"))
    assert m.predict(x).shape == y.shape
    first = m.loss(x, y)
    for _ in range(60):
        m.train(x, y)
    assert m.loss(x, y) < 0.7 * first


@pytest.mark.parametrize(
    ("cell", "merge", "joined"),
    [("rnn", "concat", False), ("gru", "sum", True), ("lstm", "mul", False), ("rnn", "ave", True)],
)
def test_both_directions_of_every_cell_have_weights_of_their_own(cell: str, merge: str, joined: bool) -> None:
    stacked = example("stacked_and_bidirectional")
    small = {"cell": cell, "steps": 6, "batch": 4, "hidden": 3, "joined": joined, "updates": 10}
    m = G.compile(stacked.model(merge=merge, **small))
    x, y = stacked.brackets(np.random.default_rng(0), 6, 4)
    before = {name: value.copy() for name, value in m.parameters.items()}
    m.train(x, y)
    changed = {name for name, value in m.parameters.items() if not np.array_equal(value, before[name])}
    assert changed == set(before)
    cells = [name for name in before if name.endswith("/recurrent_kernel")]
    assert len(cells) == 4 and sum("/forward_" in name for name in cells) == 2
    for one, other in itertools.combinations(cells, 2):
        assert not np.array_equal(before[one], before[other])


def test_only_both_directions_see_what_comes_later() -> None:
    stacked = example("stacked_and_bidirectional")
    small = {"cell": "rnn", "steps": 8, "batch": 16, "hidden": 4}
    x, _ = stacked.brackets(np.random.default_rng(0), 8, 16)
    later = x.copy()
    later[:, 4:] = 1 - later[:, 4:]
    ahead = G.compile(stacked.model(merge="none", **small))
    assert np.array_equal(ahead.predict(x)[:, :4], ahead.predict(later)[:, :4])
    both = G.compile(stacked.model(**small))
    assert np.abs(both.predict(x)[:, :4] - both.predict(later)[:, :4]).max(axis=1).min() > 1e-4


def test_brackets_are_paired_by_a_stack() -> None:
    class Drawn:
        """Gives the string )(())( in place of a random one."""

        def integers(self, low: int, high: int, shape: tuple[int, int]) -> np.ndarray:
            return np.array([[1, 0, 0, 1, 1, 0]])

    _, y = example("stacked_and_bidirectional").brackets(Drawn(), 6, 1)
    assert y.tolist() == [[1, 0, 0, 0, 0, 1]]


# -- gates of 0 and 1 --------------------------------------------------------------------------------------------------


def test_hard_gates_learn_nothing_and_soft_ones_do() -> None:
    gates = example("memory_gates")
    batch = gates.flip_flop(np.random.default_rng(0), 30, 32)
    soft, hard = (G.compile(gates.model(hard)).gradients(*batch) for hard in (False, True))
    assert set(soft) == {"Wf", "Ww", "Wg", "bf", "bw"}
    assert all(np.abs(value).max() > 1e-3 for value in soft.values())
    assert all(not hard[name].any() for name in ("Wf", "Ww", "bf", "bw"))
    assert np.abs(hard["Wg"]).max() > 1e-3


@pytest.mark.parametrize("gate", [G.step, lambda a: G.where(a > 0, 1.0, 0.0)], ids=["step", "comparison"])
def test_the_gradient_by_a_hard_gate_alone_is_refused(gate: Callable[[G.Tensor], G.Tensor]) -> None:
    x, w, v = G.input("x", (4,)), G.parameter("w", np.ones(4, "float32")), G.parameter("v", np.ones(4, "float32"))
    loss = G.sum(gate(x * w) * x * v)
    with pytest.raises(GraphcTypeError) as caught:
        G.grad(loss, w)
    assert caught.value.code == "E225"
    by_w, by_v = G.grad(loss, [w, v])
    values = np.array([-1, 2, 3, -4], "float32")
    found = G.compile(G.Model(gradients={"w": by_w, "v": by_v})).gradients(values)
    assert found["w"].tolist() == [0, 0, 0, 0] and found["v"].tolist() == [0, 2, 3, 0]


def test_the_memory_is_the_library_s_cell() -> None:
    gates = example("memory_gates")
    rng = np.random.default_rng(3)
    x, _ = gates.flip_flop(rng, 30, 32)
    for hard in (False, True):
        mine = G.compile(gates.model(hard))
        inputs = G.input("x", x.shape)
        cell = nn.MemoryCell(3, hard=hard, recurrent=False, name="cell")
        library = G.compile(G.Model(predict=nn.RNN(cell, return_sequences=True, time_major=True, name="rnn")(inputs)))
        for value in mine.parameters.values():
            value[...] = rng.standard_normal(value.shape)
        p = mine.parameters
        library.parameters["rnn/cell/kernel"][...] = np.concatenate([p["Wf"], p["Ww"], p["Wg"]], axis=1)
        library.parameters["rnn/cell/bias"][...] = np.concatenate([p["bf"], p["bw"], np.zeros(3)])
        np.testing.assert_allclose(mine.predict(x), library.predict(x), rtol=1e-4, atol=1e-5)


# -- tasks of long delays ----------------------------------------------------------------------------------------------


def test_the_adding_problem_s_data() -> None:
    x, y = example("adding_problem").sequences(np.random.default_rng(0), 100, 2000)
    numbers, marks = x[..., 0], x[..., 1]
    assert (marks[:50].sum(axis=0) == 1).all() and (marks[50:].sum(axis=0) == 1).all()
    np.testing.assert_allclose((numbers * marks).sum(axis=0), y, rtol=1e-6)
    assert abs(np.mean((y - 1) ** 2) - 1 / 6) < 0.01


def test_copy_memory_s_data_and_its_loss_without_memory() -> None:
    copy = example("copy_memory")
    x, y = copy.sequences(np.random.default_rng(0), 32)
    asked = x == copy.MARK
    assert (asked.sum(axis=0) == copy.SHOWN).all()
    for column in range(32):
        places = np.flatnonzero(asked[:, column])
        assert copy.SHORTEST <= places[0] - copy.SHOWN <= copy.LONGEST
        assert np.array_equal(y[places, column], x[: copy.SHOWN, column])
    m = G.compile(copy.model("rnn"))
    m.parameters["dense/kernel"][...] = 0
    assert math.isclose(m.loss(x, y), math.log(copy.SYMBOLS), rel_tol=1e-5)


# -- vanishing and exploding gradients ---------------------------------------------------------------------------------


def state_derivatives(matrix: np.ndarray, steps: int) -> np.ndarray:
    """‖∂h_T/∂h_k‖ by T − k of a vanilla network with that recurrent matrix, near zero, where tanh is straight."""
    vanishing = example("vanishing_gradients")
    hidden = len(matrix)
    m = G.compile(vanishing.model("rnn", steps, hidden))
    m.parameters["rnn/recurrent_kernel"][...] = matrix
    rng = np.random.default_rng(0)
    x = (1e-8 * rng.standard_normal((steps, 8))).astype("float32")
    v = rng.standard_normal(hidden).astype("float32")
    reverse, forward = vanishing.derivatives(m, x, v)
    # Both modes agree where they meet.
    np.testing.assert_allclose(reverse["h"][0] @ v, forward["h"][-1], rtol=1e-3, atol=1e-4 * np.abs(forward["h"]).max())
    return np.linalg.norm(reverse["h"], 2, axis=(1, 2))[::-1]


@pytest.mark.parametrize("radius", [0.8, 0.95, 1.05, 1.2])
def test_gradients_of_a_vanilla_network_go_with_the_power_of_the_spectral_radius(radius: float) -> None:
    """A random matrix is not normal, so the radius shows in the long run only: ‖Uⁿ‖^(1/n) → r (Gelfand)."""
    matrix = np.random.default_rng(5).standard_normal((16, 16))
    matrix *= radius / np.abs(np.linalg.eigvals(matrix)).max()
    norms = state_derivatives(matrix.astype("float32"), steps=60)
    per_step = (norms[60] / norms[30]) ** (1 / 30)
    assert abs(per_step - radius) < 0.03
    assert (norms[60] < norms[30] < 1) if radius < 1 else (norms[60] > norms[30] > 1)


@pytest.mark.parametrize("radius", [0.9, 1.1])
def test_gradients_of_a_scaled_rotation_are_the_very_power(radius: float) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(6).standard_normal((16, 16)))
    norms = state_derivatives((radius * rotation).astype("float32"), steps=40)
    np.testing.assert_allclose(norms, radius ** np.arange(41), rtol=1e-4)


def test_open_gates_keep_the_gradient_and_half_open_ones_do_not() -> None:
    norms, apart = example("vanishing_gradients").curves(steps=50, hidden=16)
    assert apart < 1e-4
    assert norms["RNN, r = 0.9"][50] < 0.01 < 10 < norms["RNN, r = 1.1"][50]
    for gated in ("GRU, z = 0.98", "LSTM, f = 0.98, c"):
        assert 0.3 < norms[gated][50] < 1.5
    assert norms["GRU, z = 0.5"][50] < 1e-6 and norms["LSTM, f = 0.73, c"][50] < 1e-2
