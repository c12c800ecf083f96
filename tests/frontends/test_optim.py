"""Optimizers against transcriptions of Keras' and PyTorch's formulas, clipping, and schedules."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import optim
from graphc.ir.interp import evaluate
from graphc.ir.verify import verify_module

W = np.array([1.0, -2.0, 0.5, 3.0])
TARGET = np.array([0.5, 1.0, -1.0, 2.5])


def gradient(w: Any) -> Any:
    return 2 * (w - TARGET) * np.array([1.0, 0.1, 10.0, 1e-3])


def trained(optimizer: optim.Optimizer, steps: int = 4) -> list[np.ndarray[Any, Any]]:
    """The parameter after each of some steps."""
    with G.graph():
        w = G.parameter("w", W, dtype="float64")
        loss = (G.square(w - TARGET) * np.array([1.0, 0.1, 10.0, 1e-3])).sum()
        model = G.Model(train=optimizer.minimize(loss))
        verify_module(model.module)
        states: dict[str, Any] = {}
        path = []
        for step in range(steps):
            states |= evaluate(model.entries["train"], [], states)[1]
            path.append(states["w"])
            assert states[next(name for name in states if name.endswith("/iteration"))] == step + 1
        return path


def sgd(momentum: float = 0.0, nesterov: bool = False) -> Callable[..., Any]:
    def rule(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        s["v"] = momentum * s.get("v", 0.0) - 0.05 * g
        return w + (momentum * s["v"] - 0.05 * g if nesterov else s["v"])

    return rule


def adam(epsilon: float | None, eps: float | None, decay: float = 0.0) -> Callable[..., Any]:
    def rule(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
        s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g * g
        w = w - 0.05 * decay * w
        if epsilon is not None:
            return w - 0.05 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * s["m"] / (np.sqrt(s["v"]) + epsilon)
        return w - 0.05 * (s["m"] / (1 - 0.9**t)) / (np.sqrt(s["v"] / (1 - 0.999**t)) + eps)

    return rule


def adagrad(start: float, epsilon: float | None, eps: float) -> Callable[..., Any]:
    def rule(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        s["a"] = s.get("a", start) + g * g
        return w - 0.05 * g / (np.sqrt(s["a"] + epsilon) if epsilon is not None else np.sqrt(s["a"]) + eps)

    return rule


def rmsprop(momentum: float, centered: bool, epsilon: float | None, eps: float) -> Callable[..., Any]:
    def rule(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        s["v"] = 0.9 * s.get("v", 0.0) + 0.1 * g * g
        s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
        spread = s["v"] - s["m"] ** 2 if centered else s["v"]
        root = np.sqrt(spread + epsilon) if epsilon is not None else np.sqrt(spread) + eps
        s["b"] = momentum * s.get("b", 0.0) + g / root
        return w - 0.05 * s["b"]

    return rule


@pytest.mark.parametrize(
    ("optimizer", "rule"),
    [
        (optim.SGD(0.05), sgd()),
        (optim.SGD(lr=0.05, momentum=0.9), sgd(0.9)),
        (optim.SGD(0.05, momentum=0.9, nesterov=True), sgd(0.9, True)),
        (optim.Adam(0.05), adam(1e-7, None)),
        (optim.Adam(lr=0.05, betas=(0.9, 0.999), eps=1e-8), adam(None, 1e-8)),
        (optim.AdamW(0.05), adam(1e-7, None, 0.004)),
        (optim.AdamW(lr=0.05, weight_decay=0.01, eps=1e-8), adam(None, 1e-8, 0.01)),
        (optim.Adagrad(0.05), adagrad(0.1, 1e-7, 0)),
        (optim.Adagrad(lr=0.05, initial_accumulator_value=0.0, eps=1e-10), adagrad(0.0, None, 1e-10)),
        (optim.RMSprop(0.05), rmsprop(0.0, False, 1e-7, 0)),
        (optim.RMSprop(0.05, momentum=0.8), rmsprop(0.8, False, 1e-7, 0)),
        (optim.RMSprop(0.05, centered=True), rmsprop(0.0, True, 1e-7, 0)),
        (optim.RMSprop(lr=0.05, alpha=0.9, momentum=0.8, centered=True, eps=1e-8), rmsprop(0.8, True, None, 1e-8)),
    ],
)
def test_rules(optimizer: optim.Optimizer, rule: Callable[..., Any]) -> None:
    w, slots = W, {}
    for step, got in enumerate(trained(optimizer), start=1):
        w = rule(w, gradient(w), slots, step)
        np.testing.assert_allclose(got, w, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "clipped"),
    [
        ({"clipvalue": 0.5}, lambda g: np.clip(g, -0.5, 0.5)),
        ({"clipnorm": 0.5}, lambda g: g * min(1.0, 0.5 / np.linalg.norm(g))),
        ({"global_clipnorm": 1000.0}, lambda g: g),
        ({"global_clipnorm": 0.5}, lambda g: g * min(1.0, 0.5 / np.linalg.norm(g))),
    ],
)
def test_clipping(options: dict[str, float], clipped: Callable[..., Any]) -> None:
    [got] = trained(optim.SGD(0.1, **options), 1)
    np.testing.assert_allclose(got, W - 0.1 * clipped(gradient(W)), rtol=1e-12)


def test_the_global_norm_is_that_of_all_gradients() -> None:
    w, v = G.parameter("w", [3.0]), G.parameter("v", [4.0])
    step = optim.SGD(1.0, global_clipnorm=1.0).minimize((w * w + v * v).sum())
    updates = evaluate(G.Model(train=step).entries["train"], [])[1]
    np.testing.assert_allclose([updates["w"], updates["v"]], [[3 - 0.6], [4 - 0.8]], rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (lambda step: 0.1 / (1.0 + step.astype("float32")), lambda t: 0.1 / (1 + t)),
        (optim.schedules.ExponentialDecay(0.1, 2, 0.5), lambda t: 0.1 * 0.5 ** (t / 2)),
        (optim.schedules.ExponentialDecay(0.1, 2, 0.5, staircase=True), lambda t: 0.1 * 0.5 ** (t // 2)),
        (optim.schedules.InverseTimeDecay(0.1, 2, 0.5), lambda t: 0.1 / (1 + 0.5 * t / 2)),
        (optim.schedules.PolynomialDecay(0.1, 3, 0.01, 2.0), lambda t: 0.09 * (1 - min(t, 3) / 3) ** 2 + 0.01),
        (
            optim.schedules.CosineDecay(0.1, 3, 0.2),
            lambda t: 0.1 * (0.8 * 0.5 * (1 + np.cos(np.pi * min(t, 3) / 3)) + 0.2),
        ),
        (
            optim.schedules.CosineDecay(0.0, 4, warmup_target=0.1, warmup_steps=2),
            lambda t: 0.05 * t if t < 2 else 0.1 * 0.5 * (1 + np.cos(np.pi * min(t - 2, 4) / 4)),
        ),
        (
            optim.schedules.PiecewiseConstantDecay([1, 3], [0.1, 0.05, 0.01]),
            lambda t: 0.1 if t <= 1 else 0.05 if t <= 3 else 0.01,
        ),
    ],
)
def test_schedules(schedule: Any, expected: Callable[[int], float]) -> None:
    w = W
    for step, got in enumerate(trained(optim.SGD(schedule), 5)):
        w = w - expected(step) * gradient(w)
        np.testing.assert_allclose(got, w, rtol=1e-5, atol=1e-7)


def test_a_learning_rate_may_be_an_input() -> None:
    w, rate = G.parameter("w", W, dtype="float64"), G.input("rate", ())
    model = G.Model(train=optim.SGD(rate).minimize((w * w).sum()))
    _, updates = evaluate(model.entries["train"], {"rate": np.float32(0.25)})
    np.testing.assert_allclose(updates["w"], W / 2)


def test_what_is_trained() -> None:
    x = G.input("x", (3,))
    a, b = G.parameter("a", np.ones(3)), G.parameter("b", np.ones(3))
    frozen = G.parameter("frozen", np.ones(3), trainable=False)
    loss = (a * x * frozen).sum()
    adam = optim.Adam()

    def updated(step: G.Step) -> list[str]:
        return [str(variable.name) for variable, _ in step.updates if variable.state.role == "parameter"]

    assert updated(adam.minimize(loss)) == ["a"]
    assert updated(adam.minimize(loss, [b, a])) == ["b", "a"]
    assert updated(adam.minimize(loss, {"b": b})) == ["b"]
    _, updates = evaluate(G.Model(train=optim.SGD(1.0).minimize(loss, [a, b])).entries["train"], [np.ones(3)])
    np.testing.assert_array_equal(updates["b"], np.ones(3))
    with pytest.raises(G.GraphcTypeError, match="E212"):
        adam.minimize(loss, [x])


def test_slots_have_roles_and_notes() -> None:
    w = G.parameter("w", W)
    model = G.Model(train=optim.Adam().minimize((w * w).sum()))
    graph = model.entries["train"]
    assert {state.name: state.role for state in graph.states} == {
        "w": "parameter",
        "adam/iteration": "counter",
        "adam/w/momentum": "slot",
        "adam/w/velocity": "slot",
    }
    roles = {graph.note(value).role for _, value in graph.updates}
    assert roles == {"update"}
    assert {"forward", "backward", "update"} == {
        graph.note(node).role for node in graph.nodes if node.op.name != "constant"
    }
    assert all(graph.note(node).locations[0].file == __file__ for node in graph.nodes if graph.note(node).locations)


def test_gradient_through_a_step(value: Callable[..., Any]) -> None:
    """A learning rate learned through two steps of gradient descent, written out by hand."""
    rate, w = G.input("rate", (), "float64"), G.input("w", (), "float64")
    current = w
    for _ in range(2):
        current = current - rate * G.grad(current**4, current)
    learned = value(G.grad(current**2, rate), rate=np.array(0.1), w=np.array(0.8))

    def loss(r: float) -> float:
        v = 0.8
        for _ in range(2):
            v = v - r * 4 * v**3
        return v * v

    np.testing.assert_allclose(learned, (loss(0.1 + 1e-6) - loss(0.1 - 1e-6)) / 2e-6, rtol=1e-6)
