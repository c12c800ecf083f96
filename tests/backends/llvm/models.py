"""Small models of every kind, with a training step."""

from collections.abc import Callable

import numpy as np

import graphc as G
from graphc import nn, optim
from graphc.ir.graph import Module
from graphc.ir.types import int64


def recurrent(cell: type) -> G.Model:
    x, y = G.input("x", (5, 6, 7)), G.input("y", (6,), dtype="int64")
    logits = nn.Dense(10)(cell(19, return_sequences=True, time_major=True)(x)[-1])
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    return G.Model(predict=logits, train=optim.Adam(0.01).minimize(loss))


def convolution() -> G.Model:
    x, y = G.input("x", (3, 12, 11, 2)), G.input("y", (3,), dtype="int64")
    h = nn.MaxPooling2D(2)(nn.Conv2D(18, 3, activation="relu")(x))
    logits = nn.Dense(10)(nn.Flatten()(nn.BatchNormalization()(h)))
    loss = nn.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    return G.Model(predict=logits, train=optim.SGD(0.01, momentum=0.9).minimize(loss))


def attention() -> G.Model:
    tokens = G.input("tokens", (2, 9), dtype="int64")
    h = nn.Embedding(23, 16)(tokens)
    h = nn.LayerNormalization()(h + nn.MultiHeadAttention(2, 8)(h, h))
    h = nn.Dropout(0.3)(nn.Dense(24, activation="gelu")(h))
    loss = G.mean(G.square(h))
    return G.Model(predict=h, train=optim.AdamW(0.01).minimize(loss))


def normalized() -> G.Model:
    """Rows that are walked several times, with a value that is stored once a row."""
    x = G.input("x", (40, 96))
    u, gamma = G.parameter("u", 0.1 * np.eye(96), dtype="float32"), G.parameter("gamma", np.ones(96), dtype="float32")
    h = x
    for _ in range(3):
        centred = h @ u - G.mean(h @ u, axis=-1, keepdims=True)
        h = G.tanh(centred / G.sqrt(G.mean(G.square(centred), axis=-1, keepdims=True) + 1e-3) * gamma)
    return G.Model(predict=h, train=optim.SGD(0.1).minimize(G.mean(G.square(h))))


MODELS: dict[str, Callable[[], G.Model]] = {
    "lstm": lambda: recurrent(nn.LSTM),
    "gru": lambda: recurrent(nn.GRU),
    "convolution": convolution,
    "attention": attention,
    "normalized": normalized,
}


def inputs_of(module: Module, entry: str) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [
        rng.integers(0, 10, type_.static_shape)
        if type_.dtype is int64
        else rng.standard_normal(type_.static_shape).astype(np.float32)
        for type_ in module.input_types(entry).values()
    ]
