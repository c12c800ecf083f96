"""winograd: 3×3 convolutions and their gradients by products of transformed tiles are what they were."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn
from graphc.ir.graph import Graph, Module
from graphc.ir.interp import evaluate
from graphc.ir.node import Node
from graphc.ir.verify import verify
from graphc.passes.pipeline import run_pipeline
from graphc.passes.winograd import Winograd
from tests.backends_under_test import BACKENDS, LEVELS, compiled

ALWAYS = Winograd(worth=math.inf)
LAYOUTS = ("channels_last", "channels_first")


def convolution(
    shape: tuple[int, int, int, int],
    filters: int,
    layout: str = "channels_last",
    padding: Any = "valid",
    dtype: str = "float64",
    **options: Any,
) -> Module:
    """A convolution of images (count, height, width, channels), and its gradients."""
    images, high, wide, channels = shape
    window = options.pop("window", 3)
    last = layout == "channels_last"
    per_group = channels // options.get("groups", 1)
    with G.graph():
        x = G.input("x", shape if last else (images, channels, high, wide), dtype)
        wshape = (window, window, per_group, filters) if last else (filters, per_group, window, window)
        w = G.input("w", wshape, dtype)
        y = G.conv2d(x, w, padding=padding, data_format=layout, **options)
        g = G.input("g", y.shape, dtype)
        dx, dw = G.grad((y * g).sum(), [x, w])
        return G.Model(step={"y": y, "dx": dx, "dw": dw}).module


def data_of(graph: Graph, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=node.shape).astype(node.dtype.storage) for node in graph.inputs]


def before(module: Module) -> Graph:
    return run_pipeline(module.entries["step"], until="winograd")


def loops(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        if node.op.name == "loop":
            yield node
            yield from loops(node.attrs["body"])


def is_rewritten(module: Module, how: Winograd = ALWAYS) -> bool:
    graph = before(module)
    return how.run(graph) is not graph


@pytest.mark.parametrize("block_bytes", [1 << 30, 3000, 500], ids=["whole", "images", "strips"])
@pytest.mark.parametrize("padding", ["valid", "same", ((2, 0), (1, 3))], ids=["valid", "same", "uneven"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 6, 8, 3), (3, 7, 5, 2), (1, 3, 3, 1), (2, 12, 4, 1)])
def test_results_and_gradients(shape: Any, layout: str, padding: Any, block_bytes: int) -> None:
    graph = before(convolution(shape, 2, layout, padding))
    changed = dataclasses.replace(ALWAYS, block_bytes=block_bytes).run(graph)
    verify(changed)
    assert not any(node.op.name in ("einsum", "fold_patches") for node in changed.nodes)
    given = data_of(graph)
    expected, found = evaluate(graph, given)[0], evaluate(changed, given)[0]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-12, err_msg=name)


def test_blocks_are_of_images_and_then_of_strips() -> None:
    graph = before(convolution((4, 14, 6, 2), 2))
    # 6 rows of 2 tiles an image (for the gradient of the data 7 rows of 3): 16 places · (2 + 2) numbers · 8 bytes each.
    tile = 512

    def trips(block_bytes: int) -> list[int]:
        return sorted(n.attrs["trips"] for n in loops(dataclasses.replace(ALWAYS, block_bytes=block_bytes).run(graph)))

    assert trips(4 * 21 * tile) == []
    assert trips(4 * 12 * tile) == [2]
    assert trips(2 * 12 * tile) == [2, 2, 4]
    assert trips(6 * tile) == [2, 2, 4, 4, 4, 4]


def test_a_number_of_images_that_no_block_divides() -> None:
    """The last block is filled up with zeros: eleven images are two blocks of six, or three of four."""
    graph = before(convolution((11, 6, 6, 2), 2))
    changed = dataclasses.replace(ALWAYS, block_bytes=4 * 9 * 512).run(graph)
    verify(changed)
    assert {loop.attrs["trips"] for loop in loops(changed)} == {2, 3}
    given = data_of(graph)
    expected, found = evaluate(graph, given)[0], evaluate(changed, given)[0]
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("block_bytes", [1 << 30, 3000, 500], ids=["whole", "images", "strips"])
@pytest.mark.parametrize("backend", [*BACKENDS, *(f"llvm {level}" for level in LEVELS)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_backend(layout: str, backend: str, block_bytes: int) -> None:
    graph = before(convolution((4, 9, 8, 5), 7, layout, "same", "float32"))
    given = data_of(graph)
    expected, _ = evaluate(graph, given)
    changed = dataclasses.replace(ALWAYS, block_bytes=block_bytes).run(graph)
    found, _ = compiled(backend, Module("m", {"step": run_pipeline(changed, disable=["winograd"])}))(
        "step", given, None
    )
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4)


def test_whole_numbers_stay_exact() -> None:
    """All that is multiplied by is a half or a quarter."""
    with G.graph():
        x, w = G.input("x", (2, 10, 10, 32)), G.input("w", (3, 3, 32, 32))
        model = G.compile(G.Model(predict=G.conv2d(x, w)))
        plain = G.compile(G.Model(predict=G.conv2d(x, w)), disable=("winograd",))
    rng = np.random.default_rng(1)
    data, kernel = (rng.integers(-9, 10, one.shape).astype("float32") for one in (x, w))
    np.testing.assert_array_equal(model.predict(data, kernel), plain.predict(data, kernel))


def test_rounding_errors_stay_near_those_of_the_plain_algorithm() -> None:
    module = convolution((2, 20, 20, 64), 64, dtype="float32")
    exact = convolution((2, 20, 20, 64), 64, dtype="float64")
    given = data_of(module.entries["step"])
    truth, _ = evaluate(exact.entries["step"], [array.astype("float64") for array in given])
    errors = []
    for disable in (["winograd"], []):
        made = G.compile(module, disable=disable).step(*given)
        errors.append({name: np.sqrt(np.mean((made[name] - truth[name]) ** 2)) for name in truth})
    for name, plain in errors[0].items():
        assert errors[1][name] < 2.5 * plain, name
        assert errors[1][name] < 1e-6 * np.abs(truth[name]).max(), name


@pytest.mark.parametrize(
    "options",
    [
        {"strides": 2},
        {"dilation": 2},
        {"groups": 2},
        {"window": 5},
        {"window": 1},
        {"dtype": "float16"},
    ],
    ids=str,
)
def test_other_convolutions_stay(options: dict[str, Any]) -> None:
    assert is_rewritten(convolution((2, 12, 12, 4), 4, dtype="float32"))
    assert not is_rewritten(convolution((2, 12, 12, 4), 4, **({"dtype": "float32"} | options)))


@pytest.mark.parametrize(
    ("shape", "filters", "is_worth_it"),
    [
        ((1, 58, 58, 64), 64, True),
        ((32, 13, 13, 32), 64, True),
        # One channel: nothing to sum. Four channels: the transformations take longer. One tile: the kernel's does.
        ((32, 28, 28, 1), 32, False),
        ((8, 30, 30, 4), 64, False),
        ((1, 4, 4, 256), 256, False),
    ],
)
def test_where_it_pays(shape: Any, filters: int, is_worth_it: bool) -> None:
    assert is_rewritten(convolution(shape, filters, dtype="float32"), Winograd()) is is_worth_it


def test_a_network_learns_the_same() -> None:
    def network() -> G.Model:
        with G.graph():
            x, y = G.input("x", (8, 16, 16, 16), "float64"), G.input("y", (8,), "int64")
            h = nn.Conv2D(32, 3, padding="same", activation="tanh", dtype="float64")(x)
            h = nn.Conv2D(32, 3, activation="tanh", dtype="float64")(nn.AveragePooling2D(2)(h))
            scores = nn.Dense(4, dtype="float64")(nn.Flatten()(h))
            loss = nn.losses.sparse_categorical_crossentropy(y, scores, from_logits=True).mean()
            return G.Model(predict=scores, train=G.optim.Adam(0.01).minimize(loss))

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 16, 16, 16)), rng.integers(0, 4, 8)
    fast, plain = G.compile(network()), G.compile(network(), disable=["winograd"])
    for _ in range(5):
        np.testing.assert_allclose(fast.train(x, y), plain.train(x, y), rtol=1e-9)
    np.testing.assert_array_equal(fast.predict(x, threads=3), fast.predict(x))
    for name, value in plain.parameters.items():
        np.testing.assert_allclose(fast.parameters[name], value, rtol=1e-6, atol=1e-9)


def test_convolutions_inside_a_loop() -> None:
    """A recurrent cell whose products are convolutions: what is left in the loops that ``roll`` finds is rewritten."""

    def network() -> G.Model:
        with G.graph():
            x = G.input("x", (2, 6, 12, 12, 16))
            rng = np.random.default_rng(1)
            w, u = (
                G.parameter(name, rng.normal(size=(3, 3, 16, 16), scale=0.1).astype("float32")) for name in ("w", "u")
            )
            h = G.zeros((2, 12, 12, 16))
            for step in range(6):
                h = G.tanh(G.conv2d(x[:, step], w, padding="same") + G.conv2d(h, u, padding="same"))
            return G.Model(predict=h, train=G.optim.SGD(0.1).minimize((h * h).mean()))

    looped = run_pipeline(network().module.entries["train"], until="winograd")
    changed = ALWAYS.run(looped)
    assert any("einsum" in {node.op.name for node in loop.attrs["body"].nodes} for loop in loops(looped))
    assert not any("einsum" in {node.op.name for node in loop.attrs["body"].nodes} for loop in loops(changed))
    data = np.random.default_rng(0).normal(size=(2, 6, 12, 12, 16)).astype("float32")
    fast, plain = G.compile(network()), G.compile(network(), disable=["winograd"])
    np.testing.assert_allclose(fast.predict(data), plain.predict(data), rtol=1e-4, atol=1e-5)
    for _ in range(3):
        np.testing.assert_allclose(fast.train(data), plain.train(data), rtol=1e-4)
