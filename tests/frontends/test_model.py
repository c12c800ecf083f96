"""``Model``: entry points, names, inputs, state, and what ``G.training`` becomes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.ir.interp import evaluate
from graphc.ir.verify import verify_module


def readme_model(steps: int = 28, batch: int = 32, hidden: int = 128) -> G.Model:
    x = G.input("x", (steps, batch, 28))
    y = G.input("y", (batch,), dtype="int64")
    h = nn.LSTM(hidden, return_sequences=True, time_major=True)(x)
    logits = nn.Dense(10)(h[-1])
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    return G.Model(predict=logits, loss=loss, train=optim.Adam(1e-3).minimize(loss))


def test_the_model_of_the_readme() -> None:
    model = readme_model(5, 4, 8)
    verify_module(model.module)
    assert list(model.entries) == ["predict", "loss", "train"]
    assert [node.attrs["name"] for node in model.entries["predict"].inputs] == ["x"]
    assert [node.attrs["name"] for node in model.entries["train"].inputs] == ["x", "y"]
    parameters = {name: state.type.shape for name, state in model.states.items() if state.role == "parameter"}
    assert parameters == {
        "lstm/kernel": (28, 32),
        "lstm/recurrent_kernel": (8, 32),
        "lstm/bias": (32,),
        "dense/kernel": (8, 10),
        "dense/bias": (10,),
    }
    assert repr(model).splitlines()[:2] == ["Model 'model'", "  predict(x: float32[5,4,28]) -> float32[4,10]"]


def test_training_lowers_the_loss() -> None:
    model = readme_model(3, 8, 8)
    generator = np.random.default_rng(0)
    data = {"x": generator.normal(size=(3, 8, 28)).astype(np.float32), "y": np.arange(8) % 10}
    states: dict[str, Any] = {}
    losses = []
    for _ in range(20):
        outputs, updates = evaluate(model.entries["train"], data, states)
        states |= updates
        losses.append(float(outputs["train"]))
    assert losses[-1] < losses[0] - 0.15
    assert states["adam/iteration"] == 20


def test_building_again_gives_the_same_names_and_graphs() -> None:
    first, second = readme_model(3, 2, 4), readme_model(3, 2, 4)
    assert list(first.states) == list(second.states)
    assert first.entries["train"] == second.entries["train"]
    initial = [state.initial_value(1) for state in first.states.values()]
    for ours, theirs in zip(initial, (state.initial_value(1) for state in second.states.values()), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_names_of_outputs() -> None:
    x = G.input("x", (2,))
    model = G.Model(one=x + 1, table={"a": x, "b": x * 2}, pair=(x * 3, (x * 4).named("four")))
    assert [name for name, _ in model.entries["one"].outputs] == ["one"]
    assert [name for name, _ in model.entries["table"].outputs] == ["a", "b"]
    assert [name for name, _ in model.entries["pair"].outputs] == ["pair_0", "four"]


def test_inputs_come_in_the_order_of_their_making() -> None:
    b, a, unused = G.input("b", ()), G.input("a", ()), G.input("unused", ())
    model = G.Model(f=a * 2 + b)
    assert [node.attrs["name"] for node in model.entries["f"].inputs] == ["b", "a"]
    assert unused.name == "unused"


def test_training_is_bound_for_each_entry() -> None:
    x = G.input("x", (2,))
    extra = G.input("extra", (2,))
    w = G.parameter("w", [1.0, 2.0])
    y = x * w + G.where(G.training, extra, 0.0) + G.where(~G.training, 0.0, 10.0)
    model = G.Model(predict=y, train=optim.SGD(0.1).minimize(y.sum()))
    verify_module(model.module)
    for graph in model.entries.values():
        assert all(node.op.name not in ("training", "select") for node in graph.nodes)
    assert [node.attrs["name"] for node in model.entries["predict"].inputs] == ["x"]
    assert [node.attrs["name"] for node in model.entries["train"].inputs] == ["x", "extra"]
    ones = np.ones(2, np.float32)
    np.testing.assert_array_equal(evaluate(model.entries["predict"], [ones])[0]["predict"], [1, 2])
    assert evaluate(model.entries["train"], [ones, ones])[0]["train"] == 25


def test_dropout_draws_anew_at_every_step_and_is_absent_from_predict() -> None:
    x = G.input("x", (400,))
    w = G.parameter("w", np.ones(400))
    y = nn.Dropout(0.25)(x * w)
    model = G.Model(predict=y, train=optim.SGD(0.0).minimize(y.sum(), outputs=y))
    verify_module(model.module)
    assert "random/seed_step" not in [state.name for state in model.entries["predict"].states]
    ones = np.ones(400, np.float32)
    first, updates = evaluate(model.entries["train"], [ones])
    assert updates["random/seed_step"].tolist() == [0, 1]
    second, _ = evaluate(model.entries["train"], [ones], updates)
    kept = first["train"] > 0
    assert 0.65 < kept.mean() < 0.85
    np.testing.assert_allclose(first["train"][kept], 4 / 3, rtol=1e-6)
    assert (first["train"] != second["train"]).any()
    assert model.states["random/seed_step"].initial_value(9).tolist() == [9, 0]


def test_random_streams_are_numbered_from_zero_for_each_model() -> None:
    def build() -> G.Model:
        return G.Model(f=G.random_uniform((2,)) + G.random_normal((2,)))

    def streams(model: G.Model) -> list[int]:
        return [node.attrs["stream"] for node in model.entries["f"].nodes if node.op.name == "random_uniform"]

    assert streams(build()) == streams(build()) == [0, 1, 2]


def test_steps_of_the_users_own() -> None:
    total = G.state("total", 0.0)
    x = G.input("x", ())
    model = G.Model(add=G.Step({"before": total, "after": total + x}, [(total, total + x)]))
    outputs, updates = evaluate(model.entries["add"], [np.float32(3)], {"total": np.float32(4)})
    assert (outputs["before"], outputs["after"], updates["total"]) == (4, 7, 7)
    assert model.states["total"].role == "recurrent"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda x, w: G.Step(x, [(x, x)]), "E212"),
        (lambda x, w: G.Step(x, [(w, x.sum())]), "E211"),
        (lambda x, w: G.Step(x, [(w, (x * 2).astype("float64"))]), "E212"),
        (lambda x, w: G.Step(x, [(w, x), (w, x * 2)]), "E224"),
        (lambda x, w: G.Model(), "E224"),
        (lambda x, w: G.Model(_private=x), "E224"),
        (lambda x, w: G.Model(parameters=x), "E224"),
        (lambda x, w: G.Model(f=3.0), "E213"),
        (lambda x, w: G.Model(f=[]), "E213"),
        (lambda x, w: G.Model(f={"": x}), "E224"),
        (lambda x, w: G.Model(f=((x + 1).named("a"), (x + 2).named("a"))), "E224"),
    ],
)
def test_what_is_no_model(make: Callable[..., Any], code: str) -> None:
    with pytest.raises(G.GraphcError, match=code) as caught:
        make(G.input("x", (2,)), G.parameter("w", [1.0, 2.0]))
    assert caught.value.location is not None
    assert caught.value.location.file == __file__


def test_layers_reused_share_their_weights() -> None:
    x = G.input("x", (2, 3))
    layer = nn.Dense(3)
    model = G.Model(f=layer(layer(x)))
    assert list(model.states) == ["dense/kernel", "dense/bias"]


def test_layers_are_numbered_within_a_model() -> None:
    x = G.input("x", (2, 3))
    hidden = nn.Dense(3)(x)
    model = G.Model(f=nn.Dense(3)(hidden))
    assert list(model.states) == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]


def test_two_optimizers_keep_their_slots_apart() -> None:
    x = G.input("x", (2,))
    w, v = G.parameter("w", [1.0, 2.0]), G.parameter("v", [1.0, 2.0])
    loss = (x * w * v).sum()
    optimizer = optim.SGD(0.1, momentum=0.9)
    model = G.Model(a=optimizer.minimize(loss, [w]), b=optimizer.minimize(loss, [v]))
    assert [name for name in model.states if name.startswith("sgd")] == [
        "sgd/iteration",
        "sgd/w/momentum",
        "sgd_1/iteration",
        "sgd_1/v/momentum",
    ]


def test_initial_values_of_parameters() -> None:
    states = {
        "array": G.parameter("array", np.arange(3)),
        "number": G.parameter("number", 2, shape=(2, 2)),
        "named": G.parameter("named", "ones", (3,)),
        "function": G.parameter("function", lambda type, seed: np.full(type.static_shape, seed), (2,)),
        "default": G.parameter("default", shape=(50, 50)),
        "half": G.parameter("half", 1.5, dtype="bfloat16"),
    }
    values = {name: tensor.state.initial_value(3) for name, tensor in states.items()}
    np.testing.assert_array_equal(values["array"], [0, 1, 2])
    assert values["array"].dtype == np.float32
    np.testing.assert_array_equal(values["number"], np.full((2, 2), 2))
    np.testing.assert_array_equal(values["named"], np.ones(3))
    np.testing.assert_array_equal(values["function"], [3, 3])
    assert abs(values["default"].std() - np.sqrt(2 / 100)) < 0.02
    assert values["half"] == 0x3FC0
