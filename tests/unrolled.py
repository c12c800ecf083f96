"""Models whose Python loops are unrolled, written as a user would: each is a function of the number of steps."""

from collections.abc import Callable

import numpy as np

import graphc as G
from graphc.frontends.dsl.tensor import Tensor
from graphc.ir.graph import Graph

BATCH, FEATURES, HIDDEN = 2, 3, 4


def parameter(name: str, *shape: int) -> Tensor:
    """A parameter whose values depend on its name only."""
    rng = np.random.default_rng(sum(map(ord, name)))
    return G.parameter(name, (rng.standard_normal(shape) * 0.4).astype(np.float32))


def inputs(steps: int, batch_first: bool = False) -> Tensor:
    """The sequence ``x``."""
    return G.input("x", (BATCH, steps, FEATURES) if batch_first else (steps, BATCH, FEATURES))


def start() -> Tensor:
    """A state of zeros."""
    return G.zeros((BATCH, HIDDEN))


class Cell:
    """An LSTM cell with its gates in one product, and weights of its own."""

    def __init__(self, name: str, features: int = FEATURES, hidden: int = HIDDEN) -> None:
        self.hidden = hidden
        self.w = parameter(f"{name} w", features, 4 * hidden)
        self.u = parameter(f"{name} u", hidden, 4 * hidden)
        self.b = parameter(f"{name} b", 4 * hidden)

    def __call__(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = G.split(x @ self.w + h @ self.u + self.b, 4, axis=1)
        c = G.sigmoid(f) * c + G.sigmoid(i) * G.tanh(g)
        return G.sigmoid(o) * G.tanh(c), c

    def run(self, xs: list[Tensor]) -> list[Tensor]:
        """All outputs."""
        h = c = G.zeros((BATCH, self.hidden))
        outputs = []
        for x in xs:
            h, c = self(x, h, c)
            outputs.append(h)
        return outputs


class Plain:
    """A plain recurrent cell."""

    def __init__(self, name: str, features: int = FEATURES) -> None:
        self.w, self.u = parameter(f"{name} w", features, HIDDEN), parameter(f"{name} u", HIDDEN, HIDDEN)

    def __call__(self, x: Tensor, h: Tensor) -> Tensor:
        return G.tanh(x @ self.w + h @ self.u)


def rows(x: Tensor, axis: int = 0) -> list[Tensor]:
    """``x`` step by step."""
    return [x[t] if axis == 0 else x[:, t] for t in range(int(x.shape[axis]))]


# -- the models --------------------------------------------------------------------------------------------------------


def one_layer(steps: int) -> Tensor:
    return G.stack(Cell("one").run(rows(inputs(steps))))


def stacked_layers(steps: int) -> Tensor:
    """The second layer takes apart what the first has stacked."""
    first = G.stack(Cell("one").run(rows(inputs(steps))))
    return G.stack(Cell("two", HIDDEN).run(rows(first)))


def stacked_layers_batch_first(steps: int) -> Tensor:
    first = G.stack(Cell("one").run(rows(inputs(steps, batch_first=True), 1)), axis=1)
    return G.stack(Cell("two", HIDDEN).run(rows(first, 1)), axis=1)


def layers_through_a_product(steps: int) -> Tensor:
    """Between the layers all steps are one tensor, on which a dense layer works."""
    first = G.stack(Cell("one").run(rows(inputs(steps))))
    between = G.tanh(first @ parameter("dense", HIDDEN, HIDDEN))
    return G.stack(Cell("two", HIDDEN).run(rows(between)))


def layers_in_one_loop(steps: int) -> Tensor:
    x, h0, h1 = inputs(steps), start(), start()
    first, second = Plain("first"), Plain("second", HIDDEN)
    for t in range(steps):
        h0 = first(x[t], h0)
        h1 = second(h0, h1)
    return h1


def loops_side_by_side(steps: int) -> Tensor:
    x = inputs(steps)
    left, right = Cell("left").run(rows(x)), Cell("right").run(rows(x))
    return left[-1] * right[-1]


def bidirectional(steps: int) -> Tensor:
    x = inputs(steps)
    forward = Cell("forward").run(rows(x))
    backward = Cell("backward").run(rows(x)[::-1])[::-1]
    return G.stack([G.concat([a, b], axis=1) for a, b in zip(forward, backward, strict=True)])


def bidirectional_twice(steps: int) -> Tensor:
    x = bidirectional(steps)
    forward = Cell("forward two", 2 * HIDDEN).run(rows(x))
    backward = Cell("backward two", 2 * HIDDEN).run(rows(x)[::-1])[::-1]
    return G.stack(forward) + G.stack(backward)


def dropout(steps: int) -> Tensor:
    """A random stream a step."""
    x, h, cell = inputs(steps), start(), Plain("cell")
    for t in range(steps):
        keep = G.random_uniform((BATCH, HIDDEN)) < 0.7
        h = cell(x[t], G.where(keep, h, 0.0) / 0.7)
    return h


def decoder(steps: int) -> Tensor:
    """Each step reads the embedding of the word that the step before found likeliest."""
    h, cell = G.input("h", (BATCH, HIDDEN)), Plain("cell")
    table, out = parameter("table", 7, FEATURES), parameter("out", HIDDEN, 7)
    word, words = G.zeros((BATCH,), dtype="int64"), []
    for _ in range(steps):
        h = cell(G.take(table, word, axis=0), h)
        scores = h @ out
        word = G.argmax(scores, axis=1)
        words.append(G.logsumexp(scores, axis=1))
    return G.stack(words)


def encoder_decoder(steps: int) -> Tensor:
    """A decoder as long as its encoder, which attends to all that the encoder gave."""
    memory = G.stack(Cell("encoder").run(rows(inputs(steps))), axis=1)
    h, cell, outputs = start(), Plain("decoder", HIDDEN), []
    for _ in range(steps):
        weights = G.softmax((memory * G.expand_dims(h, 1)).sum(axis=2), axis=1)
        h = cell((G.expand_dims(weights, 2) * memory).sum(axis=1), h)
        outputs.append(h)
    return G.stack(outputs)


def joined_operand(steps: int) -> Tensor:
    """One product of the input beside the state."""
    x, h, both, outputs = inputs(steps), start(), parameter("both", FEATURES + HIDDEN, HIDDEN), []
    for t in range(steps):
        h = G.tanh(G.concat([x[t], h], axis=1) @ both)
        outputs.append(h)
    return G.stack(outputs)


def gates_apart(steps: int) -> Tensor:
    """A GRU whose gates have matrices of their own."""
    x, h, outputs = inputs(steps), start(), []
    w = {name: (parameter(f"w{name}", FEATURES, HIDDEN), parameter(f"u{name}", HIDDEN, HIDDEN)) for name in "zrn"}
    for t in range(steps):
        z, r = (G.sigmoid(x[t] @ w[name][0] + h @ w[name][1]) for name in "zr")
        n = G.tanh(x[t] @ w["n"][0] + r * (h @ w["n"][1]))
        h = (1 - z) * n + z * h
        outputs.append(h)
    return G.stack(outputs)


def masked(steps: int) -> Tensor:
    """Steps beyond the end of a sequence leave the state alone."""
    x, lengths, h, cell = inputs(steps), G.input("lengths", (BATCH,), dtype="int64"), start(), Plain("cell")
    mask = G.expand_dims(lengths, 0) > G.reshape(G.arange(steps), (steps, 1))
    for t in range(steps):
        h = G.where(G.expand_dims(mask[t], 1), cell(x[t], h), h)
    return h


def windows(steps: int) -> Tensor:
    """Steps that read slices: one row as a matrix of one row, and two rows at a time."""
    x, y, h, cell = inputs(steps, batch_first=True), G.input("y", (2 * steps, HIDDEN)), start(), Plain("cell")
    for t in range(steps):
        h = cell(x[:, t : t + 1].sum(axis=1), h + y[2 * t : 2 * t + 2])
    return h


def numbers(steps: int) -> Tensor:
    """A factor that changes with the step."""
    x, h, cell = inputs(steps), start(), Plain("cell")
    for t in range(steps):
        h = cell(x[t], h * (1.0 - 0.5 / (t + 2)))
    return h


def inputs_apart(steps: int) -> Tensor:
    """Each step has an argument of its own."""
    h, cell = start(), Plain("cell")
    for t in range(steps):
        h = cell(G.input(f"x{t}", (BATCH, FEATURES)), h)
    return h


def loops_in_a_loop(steps: int) -> Tensor:
    """A Python loop in a Python loop."""
    x, h, cell = inputs(steps), start(), Plain("cell")
    for _ in range(6):
        inner = h
        for t in range(steps):
            inner = cell(x[t], inner)
        h = h + inner
    return h


def ragged(steps: int) -> Tensor:
    """First and last steps unlike the others."""
    x, h, cell = inputs(steps), start(), Plain("cell")
    for t in range(steps):
        h = cell(x[t], h) if t else G.tanh(x[0] @ cell.w)
        if t == steps - 1:
            h = h * 2.0
    return h


def sum_from_zero(steps: int) -> Tensor:
    """A sum of rows that begins as Python's 0, as losses do."""
    x, cell, h = inputs(steps), Cell("a"), start()
    c, total = start(), 0
    for t in range(steps):
        h, c = cell(x[t], h, c)
        total = total - G.log_softmax(h, axis=-1)[:, 0]
    assert isinstance(total, Tensor)
    return total


def state_of_one_row(steps: int) -> Tensor:
    """A first state that is the same for every row."""
    x, cell, h = inputs(steps), Plain("a"), start()
    mean = parameter("m", 1, HIDDEN)
    for t in range(steps):
        h = cell(x[t], h)
        mean = 0.9 * mean + 0.1 * h
    return mean


def running_average(steps: int) -> Tensor:
    """Of which the first step is shorter: 0.9 · 0 is a number to Python."""
    x, cell, h = inputs(steps), Plain("a"), start()
    mean = 0.0
    for t in range(steps):
        h = cell(x[t], h)
        mean = 0.9 * mean + 0.1 * h
    assert isinstance(mean, Tensor)
    return mean


def two_elements_a_step(steps: int) -> Tensor:
    """x[2t] and x[2t + 1], and a layer above that reads two outputs a step."""
    x, below, above = inputs(2 * steps), Plain("a"), Plain("b", 2 * HIDDEN)
    outputs, h = [], start()
    for t in range(steps):
        h = below(x[2 * t] * x[2 * t + 1], h)
        outputs.append(h)
    h = start()
    for t in range(steps // 2):
        h = above(G.concat([outputs[2 * t], outputs[2 * t + 1]], axis=1), h)
    return h


def columns(steps: int) -> Tensor:
    """Steps are columns, side by side, of what is read and of what is returned."""
    x, cell, h = G.input("x", (BATCH, steps * FEATURES)), Plain("a"), start()
    outputs = []
    for t in range(steps):
        h = cell(x[:, t * FEATURES : (t + 1) * FEATURES], h)
        outputs.append(h)
    return G.concat(outputs, axis=1)


def any_order(steps: int) -> Tensor:
    """Elements in an order that no formula gives."""
    x, cell, h = inputs(steps), Plain("a"), start()
    for t in np.random.default_rng(3).permutation(steps).tolist():
        h = cell(x[t], h)
    return h


def both_ways_in_one_loop(steps: int) -> Tensor:
    """A bidirectional layer whose directions take turns."""
    x, there, back = inputs(steps), Plain("a"), Plain("b")
    h, g = start(), start()
    forward, backward = [], []
    for t in range(steps):
        h, g = there(x[t], h), back(x[steps - 1 - t], g)
        forward.append(h)
        backward.append(g)
    return G.stack([G.concat(pair, axis=1) for pair in zip(forward, reversed(backward), strict=True)])


MODELS: dict[str, Callable[[int], Tensor]] = {
    "one layer": one_layer,
    "stacked layers": stacked_layers,
    "stacked layers, batch first": stacked_layers_batch_first,
    "layers through a product": layers_through_a_product,
    "layers in one loop": layers_in_one_loop,
    "loops side by side": loops_side_by_side,
    "bidirectional": bidirectional,
    "bidirectional twice": bidirectional_twice,
    "dropout": dropout,
    "decoder": decoder,
    "encoder-decoder": encoder_decoder,
    "joined operand": joined_operand,
    "gates apart": gates_apart,
    "masked": masked,
    "windows": windows,
    "numbers": numbers,
    "inputs apart": inputs_apart,
    "loops in a loop": loops_in_a_loop,
    "ragged": ragged,
    "sum from zero": sum_from_zero,
    "state of one row": state_of_one_row,
    "running average": running_average,
    "two elements a step": two_elements_a_step,
    "columns": columns,
    "any order": any_order,
    "both ways in one loop": both_ways_in_one_loop,
}


def training_graph(name: str, steps: int) -> Graph:
    """Loss, and the gradients of all parameters and of the inputs."""
    with G.graph():
        result = MODELS[name](steps)
        loss = (result * result).sum()
        wanted = [node for node in G.Model(f=loss).entries["f"].nodes if node.op.name in ("input", "state")]
        leaves = [Tensor(node, loss.builder) for node in wanted if node.dtype.is_float]
        gradients = G.grad(loss, leaves)
        outputs = {"loss": loss, **{f"gradient {place}": value for place, value in enumerate(gradients)}}
        return G.Model(train=outputs).entries["train"]
