"""Convolutional networks and layers."""

from __future__ import annotations

from typing import Any

from benchmarks.spec import INFER, Data, Parameter, Product, Values, Workload, mean_square


def _out(size: int, window: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - window) // stride + 1


def cnn(name: str, title: str, batch: int, size: int = 28, filters: tuple[int, int] = (32, 64)) -> Workload:
    """Two 3×3 convolutions with relu and 2×2 pooling, then 10 classes; without the dropout of its training."""
    first, second = filters
    inner = _out(size, 3, 1, 0)
    pooled = inner // 2
    outer = _out(pooled, 3, 1, 0)
    side = outer // 2
    parameters = {
        "conv1/w": Parameter((3, 3, 1, first), "conv"),
        "conv1/b": Parameter((first,)),
        "conv2/w": Parameter((3, 3, first, second), "conv"),
        "conv2/b": Parameter((second,)),
        "dense/w": Parameter((side * side * second, 10), "image_dense", image=(side, side, second)),
        "dense/b": Parameter((10,)),
    }

    def forward(kit: Any, p: Values, inputs: Values) -> Any:
        x = kit.max_pool(kit.relu(kit.conv2d(inputs["x"], p["conv1/w"], p["conv1/b"])), 2)
        x = kit.max_pool(kit.relu(kit.conv2d(x, p["conv2/w"], p["conv2/b"])), 2)
        return kit.dense(kit.flatten(x), p["dense/w"], p["dense/b"])

    return Workload(
        name,
        title,
        {"x": Data((batch, size, size, 1), image=True)},
        parameters,
        forward,
        (
            Product(batch * inner * inner, 9, first, input_gradient=False),
            Product(batch * outer * outer, 9 * first, second),
            Product(batch, side * side * second, 10),
        ),
        Data((batch,), classes=10),
        batch=batch,
    )


def convolution(
    name: str, title: str, batch: int, size: int, channels: int, filters: int, window: int, stride: int, padding: int
) -> Workload:
    """One convolution; inference only."""
    side = _out(size, window, stride, padding)
    return Workload(
        name,
        title,
        {"x": Data((batch, size, size, channels), image=True)},
        {"w": Parameter((window, window, channels, filters), "conv")},
        lambda kit, p, inputs: kit.conv2d(inputs["x"], p["w"], stride=stride, padding=padding),
        (Product(batch * side * side, window * window * channels, filters),),
        image_output=True,
        batch=batch,
        modes=(INFER,),
    )


def residual(
    name: str, title: str, batch: int, size: int, channels: int, filters: int, stride: int = 1, inner: int = 0
) -> Workload:
    """A residual block with batch normalization (He et al., 2016): basic (two 3×3), or bottleneck where ``inner``.

    Training uses the statistics of the batch.  The shortcut is a 1×1 convolution where shapes differ.
    """
    side = _out(size, 3, stride, 1)
    if inner:
        plan = [(1, 1, 0, channels, inner), (3, stride, 1, inner, inner), (1, 1, 0, inner, filters)]
    else:
        plan = [(3, stride, 1, channels, filters), (3, 1, 1, filters, filters)]
    shortcut = stride != 1 or channels != filters
    shapes = [*plan, (1, stride, 0, channels, filters)] if shortcut else plan
    parameters: dict[str, Parameter] = {}
    products = []
    for layer, (window, step, _, before, after) in enumerate(shapes):
        parameters |= {
            f"{layer}/w": Parameter((window, window, before, after), "conv"),
            f"{layer}/gamma": Parameter((after,), scale=0.1, offset=1.0),
            f"{layer}/beta": Parameter((after,)),
            f"{layer}/mean": Parameter((after,), "statistic"),
            f"{layer}/variance": Parameter((after,), "statistic", scale=0.05, offset=1.0),
        }
        full = bool(inner) and layer == 0  # a bottleneck strides in its second convolution
        rows = batch * (size if full else side) ** 2
        del step
        products.append(Product(rows, window * window * before, after, input_gradient=layer not in (0, len(plan))))

    def forward(kit: Any, p: Values, inputs: Values) -> Any:
        def unit(x: Any, layer: int) -> Any:
            _, step, padding, _, _ = shapes[layer]
            y = kit.conv2d(x, p[f"{layer}/w"], stride=step, padding=padding)
            names = ("gamma", "beta", "mean", "variance")
            return kit.batch_norm(y, *(p[f"{layer}/{part}"] for part in names))

        x = y = inputs["x"]
        for layer in range(len(plan)):
            y = unit(kit.relu(y) if layer else y, layer)
        return kit.relu(y + (unit(x, len(plan)) if shortcut else x))

    return Workload(
        name,
        title,
        {"x": Data((batch, size, size, channels), image=True)},
        parameters,
        forward,
        tuple(products),
        Data((batch, side, side, filters), image=True),
        loss=mean_square,
        image_output=True,
        batch=batch,
    )
