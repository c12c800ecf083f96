"""Recurrent layers that libraries have kernels for: a layer or two, and a dense layer on the last step."""

from __future__ import annotations

from typing import Any

from benchmarks.spec import TRAIN, Data, Parameter, Product, Values, Workload, binary_cross_entropy, mean_square

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def cell_parameters(cell: str, features: int, hidden: int, prefix: str = "") -> dict[str, Parameter]:
    """Kernel, recurrent kernel and bias of a layer."""
    width = GATES[cell] * hidden
    bias = (2, width) if cell == "gru" else (width,)
    return {
        f"{prefix}w": Parameter((features, width), f"{cell}_kernel"),
        f"{prefix}u": Parameter((hidden, width), f"{cell}_recurrent"),
        f"{prefix}b": Parameter(bias, f"{cell}_bias", scale=0.1),
    }


def cell_products(cell: str, steps: int, batch: int, features: int, hidden: int, data: bool) -> list[Product]:
    """The products of a layer, those with the input taken together; ``data``: its input needs no gradient."""
    width = GATES[cell] * hidden
    return [
        Product(steps * batch, features, width, input_gradient=not data),
        Product(batch, hidden, width, count=steps),
    ]


def layers(
    name: str, title: str, cell: str, steps: int, batch: int, hidden: int, features: int = 128, depth: int = 1
) -> Workload:
    """``depth`` layers of one kind over (steps, batch, features), and 10 classes from the last step."""
    parameters: dict[str, Parameter] = {}
    products: list[Product] = []
    for layer in range(depth):
        width = hidden if layer else features
        parameters |= cell_parameters(cell, width, hidden, f"{layer}/")
        products += cell_products(cell, steps, batch, width, hidden, data=layer == 0)
    parameters |= {"dense/w": Parameter((hidden, 10), "dense"), "dense/b": Parameter((10,))}
    products.append(Product(batch, hidden, 10))

    def forward(kit: Any, p: Values, inputs: Values) -> Any:
        x = inputs["x"]
        for layer in range(depth):
            weights = (p[f"{layer}/w"], p[f"{layer}/u"], p[f"{layer}/b"])
            x = getattr(kit, cell)(x, (steps, batch, hidden), *weights, sequence=layer < depth - 1)
        return kit.dense(x, p["dense/w"], p["dense/b"])

    return Workload(
        name,
        title,
        {"x": Data((steps, batch, features))},
        parameters,
        forward,
        tuple(products),
        Data((batch,), classes=10),
        steps=steps,
        batch=batch,
    )


def bilstm(
    name: str,
    title: str,
    steps: int = 100,
    batch: int = 32,
    vocabulary: int = 10_000,
    embedding: int = 128,
    hidden: int = 64,
    dense: int = 64,
) -> Workload:
    """Embedding, LSTMs from both ends, a dense layer, and one number between 0 and 1: a classifier of texts."""
    parameters = {"table": Parameter((vocabulary, embedding), scale=0.5)}
    products = []
    for end in ("forward", "backward"):
        parameters |= cell_parameters("lstm", embedding, hidden, f"{end}/")
        products += cell_products("lstm", steps, batch, embedding, hidden, data=False)
    parameters |= {
        "dense/w": Parameter((2 * hidden, dense), "dense"),
        "dense/b": Parameter((dense,)),
        "score/w": Parameter((dense, 1), "dense"),
        "score/b": Parameter((1,)),
    }
    products += [Product(batch, 2 * hidden, dense), Product(batch, dense, 1)]

    def forward(kit: Any, p: Values, inputs: Values) -> Any:
        x = kit.embedding(p["table"], inputs["ids"])
        ends = [tuple(p[f"{end}/{part}"] for part in "wub") for end in ("forward", "backward")]
        h = kit.bilstm(x, (steps, batch, hidden), *ends)
        h = kit.relu(kit.dense(h, p["dense/w"], p["dense/b"]))
        return kit.dense(h, p["score/w"], p["score/b"])

    return Workload(
        name,
        title,
        {"ids": Data((steps, batch), classes=vocabulary)},
        parameters,
        forward,
        tuple(products),
        Data((batch, 1), binary=True),
        loss=binary_cross_entropy,
        head=lambda kit, output: kit.sigmoid(output),
        steps=steps,
        batch=batch,
    )


def language_model(
    name: str, title: str, steps: int, batch: int, hidden: int, vocabulary: int = 10_000, depth: int = 2
) -> Workload:
    """LSTMs over embedded words and logits over the vocabulary at every step (Zaremba et al., 2014), no dropout."""
    parameters = {"table": Parameter((vocabulary, hidden), scale=0.1)}
    products = []
    for layer in range(depth):
        parameters |= cell_parameters("lstm", hidden, hidden, f"{layer}/")
        products += cell_products("lstm", steps, batch, hidden, hidden, data=False)
    parameters |= {"words/w": Parameter((hidden, vocabulary), "dense"), "words/b": Parameter((vocabulary,))}
    products.append(Product(steps * batch, hidden, vocabulary))

    def forward(kit: Any, p: Values, inputs: Values) -> Any:
        x = kit.embedding(p["table"], inputs["words"])
        for layer in range(depth):
            weights = (p[f"{layer}/{part}"] for part in "wub")
            x = kit.lstm(x, (steps, batch, hidden), *weights, sequence=True)
        return kit.dense(kit.reshape(x, (steps * batch, hidden)), p["words/w"], p["words/b"])

    return Workload(
        name,
        title,
        {"words": Data((steps, batch), classes=vocabulary)},
        parameters,
        forward,
        tuple(products),
        Data((steps * batch,), classes=vocabulary),
        steps=steps,
        batch=batch,
    )


def sequence(name: str, title: str, cell: str, steps: int, batch: int, features: int, hidden: int) -> Workload:
    """One library layer with a loss over every step, and Adam: what :func:`benchmarks.workloads.cells.unrolled` is to
    users whose cell the library happens to have.
    """

    def forward(kit: Any, p: Values, inputs: Values) -> Any:
        return getattr(kit, cell)(inputs["x"], (steps, batch, hidden), p["w"], p["u"], p["b"], sequence=True)

    return Workload(
        name,
        title,
        {"x": Data((steps, batch, features))},
        cell_parameters(cell, features, hidden),
        forward,
        tuple(cell_products(cell, steps, batch, features, hidden, data=True)),
        Data((steps, batch, hidden)),
        loss=mean_square,
        optimizer="adam",
        rate=0.001,
        steps=steps,
        batch=batch,
        modes=(TRAIN,),
    )
