"""Cells that no library has a kernel for, written step by step; products with the input are taken out of the loop by
hand, as one does for compilers that do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.spec import TRAIN, Data, Parameter, Product, Values, Workload, mean_square

Parts = tuple[dict[str, Parameter], tuple[Product, ...], Callable[[Any, Values, Any], Any]]


def _classifier(
    name: str, title: str, steps: int, batch: int, features: int, hidden: int, parts: Parts, input_width: int
) -> Workload:
    """A cell over (steps, batch, features), and 10 classes from its last output."""
    parameters, products, run = parts
    return Workload(
        name,
        title,
        {"x": Data((steps, batch, features))},
        {**parameters, "dense/w": Parameter((hidden, 10), "dense"), "dense/b": Parameter((10,))},
        lambda kit, p, inputs: kit.dense(run(kit, p, inputs["x"]), p["dense/w"], p["dense/b"]),
        (
            Product(steps * batch, features, input_width, input_gradient=False),
            *products,
            Product(batch, hidden, 10),
        ),
        Data((batch,), classes=10),
        steps=steps,
        batch=batch,
    )


def peephole(name: str, title: str, steps: int, batch: int, features: int, hidden: int) -> Workload:
    """LSTM whose gates see the cell state (Gers and Schmidhuber, 2000): i and f the old one, o the new one."""
    width = 4 * hidden
    parameters = {
        "w": Parameter((features, width)),
        "u": Parameter((hidden, width)),
        "b": Parameter((width,)),
        **{f"peek {gate}": Parameter((hidden,)) for gate in "ifo"},
    }

    def run(kit: Any, p: Values, x: Any) -> Any:
        def step(carries: tuple[Any, ...], xw: Any) -> tuple[tuple[Any, ...], Any]:
            h, c = carries
            i, f, g, o = kit.split(xw + h @ p["u"], 4)
            i, f = kit.sigmoid(i + p["peek i"] * c), kit.sigmoid(f + p["peek f"] * c)
            c = f * c + i * kit.tanh(g)
            h = kit.sigmoid(o + p["peek o"] * c) * kit.tanh(c)
            return (h, c), h

        zero = kit.zeros((batch, hidden))
        return kit.recurrence(step, (zero, zero), x @ p["w"] + p["b"], steps, False)

    products = (Product(batch, hidden, width, count=steps),)
    return _classifier(name, title, steps, batch, features, hidden, (parameters, products, run), width)


def layer_norm_lstm(name: str, title: str, steps: int, batch: int, features: int, hidden: int) -> Workload:
    """LSTM with layer normalization of both products and of the cell state (Ba et al., 2016).

    The factors start near 0.5: from 1 gradients grow over the steps until rounding alone sets two libraries 2% apart.
    """
    width = 4 * hidden
    parameters = {"w": Parameter((features, width)), "u": Parameter((hidden, width))}
    for what, size in (("input", width), ("state", width), ("cell", hidden)):
        parameters[f"{what} gamma"] = Parameter((size,), scale=0.05, offset=0.5)
        parameters[f"{what} beta"] = Parameter((size,))

    def run(kit: Any, p: Values, x: Any) -> Any:
        def normal(value: Any, what: str) -> Any:
            return kit.layer_norm(value, p[f"{what} gamma"], p[f"{what} beta"])

        def step(carries: tuple[Any, ...], xw: Any) -> tuple[tuple[Any, ...], Any]:
            h, c = carries
            i, f, g, o = kit.split(xw + normal(h @ p["u"], "state"), 4)
            c = kit.sigmoid(f) * c + kit.sigmoid(i) * kit.tanh(g)
            h = kit.sigmoid(o) * kit.tanh(normal(c, "cell"))
            return (h, c), h

        zero = kit.zeros((batch, hidden))
        return kit.recurrence(step, (zero, zero), normal(x @ p["w"], "input"), steps, False)

    products = (Product(batch, hidden, width, count=steps),)
    return _classifier(name, title, steps, batch, features, hidden, (parameters, products, run), width)


def minimal_gated_unit(name: str, title: str, steps: int, batch: int, features: int, hidden: int) -> Workload:
    """One gate that forgets and resets (Zhou et al., 2016): two products in a row a step."""
    parameters = {
        "w": Parameter((features, 2 * hidden)),
        "b": Parameter((2 * hidden,)),
        "u": Parameter((hidden, hidden)),
        "v": Parameter((hidden, hidden)),
    }

    def run(kit: Any, p: Values, x: Any) -> Any:
        def step(carries: tuple[Any, ...], xw: Any) -> tuple[tuple[Any, ...], Any]:
            h = carries[0]
            forget, candidate = kit.split(xw, 2)
            f = kit.sigmoid(forget + h @ p["u"])
            h = h + f * (kit.tanh(candidate + (f * h) @ p["v"]) - h)
            return (h,), h

        return kit.recurrence(step, (kit.zeros((batch, hidden)),), x @ p["w"] + p["b"], steps, False)

    products = tuple(Product(batch, hidden, hidden, count=steps, loop="cell") for _ in range(2))
    return _classifier(name, title, steps, batch, features, hidden, (parameters, products, run), 2 * hidden)


def attention_decoder(
    name: str, title: str, steps: int, batch: int, source: int, hidden: int, embedding: int, vocabulary: int
) -> Workload:
    """LSTM decoder that looks at ``source`` encoder states at every step by additive attention (Bahdanau et al., 2014).

    It is told the word before, as in training; every step's output becomes logits over the vocabulary.
    """
    width = 4 * hidden
    parameters = {
        "table": Parameter((vocabulary, embedding), scale=0.5),
        "key": Parameter((hidden, hidden)),
        "query": Parameter((hidden, hidden)),
        "score": Parameter((hidden,)),
        "w": Parameter((embedding, width)),
        "context": Parameter((hidden, width)),
        "u": Parameter((hidden, width)),
        "b": Parameter((width,)),
        "words/w": Parameter((hidden, vocabulary), "dense"),
        "words/b": Parameter((vocabulary,)),
    }

    def forward(kit: Any, p: Values, inputs: Values) -> Any:
        memory = inputs["memory"]
        keys = memory @ p["key"]

        def step(carries: tuple[Any, ...], xw: Any) -> tuple[tuple[Any, ...], Any]:
            h, c = carries
            query = kit.reshape(h @ p["query"], (batch, 1, hidden))
            weights = kit.softmax(kit.sum(kit.tanh(keys + query) * p["score"], 2))
            context = kit.reshape(kit.reshape(weights, (batch, 1, source)) @ memory, (batch, hidden))
            i, f, g, o = kit.split(xw + context @ p["context"] + h @ p["u"], 4)
            c = kit.sigmoid(f) * c + kit.sigmoid(i) * kit.tanh(g)
            h = kit.sigmoid(o) * kit.tanh(c)
            return (h, c), h

        zero = kit.zeros((batch, hidden))
        words = kit.embedding(p["table"], inputs["words"]) @ p["w"] + p["b"]
        outputs = kit.recurrence(step, (zero, zero), words, steps, True)
        return kit.dense(kit.reshape(outputs, (steps * batch, hidden)), p["words/w"], p["words/b"])

    return Workload(
        name,
        title,
        {"memory": Data((batch, source, hidden)), "words": Data((steps, batch), classes=vocabulary)},
        parameters,
        forward,
        (
            Product(batch * source, hidden, hidden, input_gradient=False),
            Product(steps * batch, embedding, width),
            Product(batch, hidden, hidden, count=steps, loop="decoder"),
            Product(1, source, hidden, count=steps * batch, weight_gradient=False),
            Product(batch, hidden, width, count=steps, loop="decoder"),
            Product(batch, hidden, width, count=steps, loop="decoder"),
            Product(steps * batch, hidden, vocabulary),
        ),
        Data((steps * batch,), classes=vocabulary),
        steps=steps,
        batch=batch,
    )


def unrolled(name: str, title: str, cell: str, steps: int, batch: int, features: int, hidden: int) -> Workload:
    """A cell in a Python loop as a textbook has it, product with the input and all; a loss over every step; Adam.

    From the last step alone gradients vanish into subnormal numbers, on which every processor is slow.
    """
    gates = {"lstm": 4, "gru": 3}[cell]
    width = gates * hidden
    parameters = {"w": Parameter((features, width)), "u": Parameter((hidden, width)), "b": Parameter((width,))}

    def lstm(kit: Any, p: Values, carries: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Any]:
        h, c = carries
        i, f, g, o = kit.split(x @ p["w"] + h @ p["u"] + p["b"], 4)
        c = kit.sigmoid(f) * c + kit.sigmoid(i) * kit.tanh(g)
        h = kit.sigmoid(o) * kit.tanh(c)
        return (h, c), h

    def gru(kit: Any, p: Values, carries: tuple[Any, ...], x: Any) -> tuple[tuple[Any, ...], Any]:
        h = carries[0]
        xz, xr, xn = kit.split(x @ p["w"] + p["b"], 3)
        hz, hr, hn = kit.split(h @ p["u"], 3)
        z, r = kit.sigmoid(xz + hz), kit.sigmoid(xr + hr)
        h = z * h + (1.0 - z) * kit.tanh(xn + r * hn)
        return (h,), h

    step = {"lstm": lstm, "gru": gru}[cell]

    def forward(kit: Any, p: Values, inputs: Values) -> Any:
        carries = (kit.zeros((batch, hidden)),) * (2 if cell == "lstm" else 1)
        return kit.recurrence(lambda carried, x: step(kit, p, carried, x), carries, inputs["x"], steps, True)

    return Workload(
        name,
        title,
        {"x": Data((steps, batch, features))},
        parameters,
        forward,
        (
            Product(steps * batch, features, width, input_gradient=False),
            Product(batch, hidden, width, count=steps),
        ),
        Data((steps, batch, hidden)),
        loss=mean_square,
        optimizer="adam",
        rate=0.001,
        steps=steps,
        batch=batch,
        modes=(TRAIN,),
    )
