"""What the recurrent examples claim, with seeds: the figures of examples/README.md, with room for another CPU."""

import math

import numpy as np
import pytest

import graphc as G
from tests.examples.loading import example

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [0, 1])
def test_digits_read_row_by_row(seed: int) -> None:
    lstm = example("digits_lstm")
    x, y, x_test, y_test = lstm.digits()
    m = G.compile(lstm.model(), seed=seed)
    lstm.train(m, x, y, batch=32, epochs=60, seed=seed)
    assert lstm.accuracy(m, x_test, y_test, 32) >= 0.97


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_a_vanilla_network_learns_the_grammar(activation: str) -> None:
    vanilla = example("vanilla_rnn")
    letters, choices = vanilla.unseen(24)
    entropy = np.log(choices).mean()
    loss, share, _ = vanilla.learn(activation, 3000)
    assert entropy - 0.005 < loss < entropy + 0.01 < vanilla.last_letter_loss(letters)
    assert share >= 0.97


@pytest.mark.parametrize("shape", ["one_to_one", "one_to_many", "many_to_one", "many_to_many"])
def test_shapes(shape: str) -> None:
    shapes = example("rnn_shapes")
    assert shapes.learn(shape, 4000) < shapes.LIMITS[shape]


def test_brackets_need_both_directions() -> None:
    stacked = example("stacked_and_bidirectional")
    for name, settings in stacked.NETWORKS.items():
        opening, closing = stacked.learn(1000, **settings)
        assert closing > 0.99, name
        assert (opening < 0.8) if settings.get("merge") == "none" else (opening > 0.99), name


def test_variants_of_the_lstm_read_digits() -> None:
    variants = example("lstm_variants")
    for variant in variants.VARIANTS:
        share, _ = variants.learn(variant, 30)
        assert share >= 0.96, variant


def test_forms_of_the_gru_tell_the_temporal_order() -> None:
    forms = example("gru_forms")
    for reset in ("state", "product"):
        for keep in ("state", "candidate"):
            assert forms.learn(1000, reset=reset, keep=keep)[0] > 0.98, (reset, keep)
    assert forms.learn(1000, gated=False)[0] < 0.5


def test_hard_gates_keep_what_soft_ones_learned() -> None:
    gates = example("memory_gates")
    weights = gates.learn(2000)
    soft, hard = (gates.forgetting(weights, hard, gates.PAUSES) for hard in (False, True))
    assert soft[0] < 0.1 and soft[-1] > 0.9
    assert max(hard) < 0.05 and len(set(hard)) == 1


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_adding_problem_is_solved_with_gates(cell: str) -> None:
    adding = example("adding_problem")
    assert adding.learn(cell, adding.UPDATES[cell], steps=100) < 0.01


def test_the_adding_problem_is_not_solved_without_gates() -> None:
    adding = example("adding_problem")
    assert adding.learn("rnn", adding.UPDATES["rnn"], steps=100) > 0.1


def test_copy_memory_is_solved_by_the_lstm() -> None:
    copy = example("copy_memory")
    loss, exact = copy.learn("lstm", copy.UPDATES["lstm"])
    assert exact > 0.99 and loss < 0.1


@pytest.mark.parametrize("rate", [1e-3, 3e-3])
def test_copy_memory_is_not_solved_by_the_vanilla_network(rate: float) -> None:
    """It ends near the loss of a guess, ln 8, and repeats no sequence but by chance."""
    loss, exact = example("copy_memory").learn("rnn", 3000, rate)
    assert exact < 0.05 and loss > 0.9 * math.log(8)
