"""Networks of dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from benchmarks.spec import INFER, Data, Parameter, Product, Values, Workload


def mlp(name: str, title: str, batch: int, sizes: Sequence[int] = (784, 512, 512, 10)) -> Workload:
    """Dense layers with relu between them."""
    shapes = list(pairwise(sizes))
    parameters: dict[str, Parameter] = {}
    for layer, shape in enumerate(shapes):
        parameters |= {f"{layer}/w": Parameter(shape, "dense"), f"{layer}/b": Parameter(shape[1:])}
    products = tuple(Product(batch, *shape, input_gradient=layer > 0) for layer, shape in enumerate(shapes))

    def forward(kit: Any, p: Values, inputs: Values) -> Any:
        x = inputs["x"]
        for layer in range(len(shapes)):
            x = kit.relu(x) if layer else x
            x = kit.dense(x, p[f"{layer}/w"], p[f"{layer}/b"])
        return x

    return Workload(
        name,
        title,
        {"x": Data((batch, sizes[0]))},
        parameters,
        forward,
        products,
        Data((batch,), classes=sizes[-1]),
        batch=batch,
    )


def product(name: str, title: str, m: int, k: int, n: int) -> Workload:
    """One product of a matrix with a weight; inference only."""
    return Workload(
        name,
        title,
        {"x": Data((m, k))},
        {"w": Parameter((k, n), "plain")},
        lambda kit, p, inputs: inputs["x"] @ p["w"],
        (Product(m, k, n),),
        batch=m,
        modes=(INFER,),
    )
