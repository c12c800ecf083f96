"""Values and derivatives of every differentiable op against torch in float64.

Where conventions differ, the point stands in ``DIFFERENT`` with both answers, and a test holds each to what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from graphc.ir.interp import evaluate
from graphc.ir.op import registered_ops
from graphc.ir.types import DType, float64, to_carrier
from tests.differential.test_gradients import moving, reverse_graph, rng_of, seeded
from tests.optable import Array, Cell, cells
from tests.oracle.torch_ops import torch_functions

pytestmark = pytest.mark.oracle

TOLERANCE = 1e-10

# Regions have no counterpart in torch: tests/ops and the finite differences hold them.
OURS_ALONE = frozenset({"loop", "fused", "custom_gradient"})
OPS = [op.name for op in registered_ops() if op.vjp is not None and op.name not in OURS_ALONE]

SAME_AT_TIES = (
    "abs/zeros",  # 0
    "relu/zeros",  # 0
    "maximum/ties",  # half to each
    "minimum/ties",
    "max/ties",  # amax shares among all that are equal
    "min/ties",
    "max_pool/ties",  # the same, as a maximum over windows (torch's own max_pool2d takes the first)
    "prod/zeros",  # the product of the others
    "sum/zeros",
)
"""Cells on kinks and ties where both follow one convention."""


@pytest.fixture(scope="module")
def torch() -> Any:
    import torch

    return torch


def tensors(torch: Any, arrays: Sequence[Array]) -> list[Any]:
    made = [torch.from_numpy(np.array(array)) for array in arrays]
    return [t.requires_grad_() if t.dtype == torch.float64 else t for t in made]


def close(got: Array, expected: Array, what: str) -> None:
    scale = float(np.max(np.abs(expected), initial=1.0, where=np.isfinite(expected)))
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE * scale, err_msg=what)


def compare(torch: Any, cell: Cell) -> None:
    """The value and the vjp of one cell."""
    function = torch_functions()[cell.row.op]
    arguments = tensors(torch, cell.arrays)
    theirs = function(cell.row.attrs, *arguments)
    element = cell.graph.output_nodes[0].dtype
    shown = theirs.detach().to(torch.float32) if element.is_half else theirs.detach()
    close(to_carrier(cell.expected[0], element), shown.numpy(), cell.name)
    wrt = moving(cell.graph)
    if not seeded(cell.graph) or not wrt:
        return
    rng = rng_of(cell)
    weight = rng.standard_normal(cell.expected[0].shape)
    outputs, _ = evaluate(reverse_graph(cell.graph), [*cell.arrays, weight])
    moved = [arguments[k] for k in wrt]
    gradients = torch.autograd.grad(theirs, moved, torch.from_numpy(np.array(weight)), allow_unused=True)
    for got, expected, argument in zip(outputs.values(), gradients, moved, strict=True):
        close(got, np.zeros(argument.shape) if expected is None else expected.numpy(), f"{cell.name}: vjp")


@pytest.mark.parametrize("op", OPS)
def test_op(op: str, torch: Any) -> None:
    compared = 0
    for cell in cells(op, dtype=float64):
        if cell.row.build is not None:
            continue  # several ops together
        if op == "cast" and not cell.row.attrs["dtype"].is_float:
            continue  # torch wraps or leaves undefined where ours saturates
        if cell.row.smooth or f"{op}/{cell.row.label}" in SAME_AT_TIES:
            compare(torch, cell)
            compared += 1
    assert compared


def gradient_at(op: str, *values: float, element: DType = float64) -> list[float]:
    """Our derivatives of a pointwise op at a point."""
    from graphc.autodiff.reverse import gradient
    from graphc.ir.builder import Builder
    from graphc.ir.graph import Graph
    from graphc.ir.types import tensor_type

    b = Builder()
    inputs = [b.input(f"x{k}", tensor_type(element)) for k in range(len(values))]
    made = gradient(b, b.op(op, *inputs), inputs)
    graph = Graph.make("at", inputs, [(f"d{k}", node) for k, node in enumerate(made)])
    return [float(v) for v in evaluate(graph, [np.asarray(v) for v in values])[0].values()]


DIFFERENT = {
    # op at point: (ours, torch's)
    ("hypot", 0.0, 0.0): ((0.0, 0.0), (np.nan, np.nan)),
    ("copysign", 0.0, 1.0): ((0.0, 0.0), (0.0, 0.0)),
    ("logaddexp", -np.inf, -np.inf): ((0.5, 0.5), (np.nan, np.nan)),
    ("pow", 0.0, 0.0): ((0.0, 0.0), (0.0, 0.0)),
    ("maximum", np.nan, 1.0): ((0.0, 0.0), (1.0, 1.0)),
}
"""Points at which torch answers something else, or at which it is not obvious that it does not."""


@pytest.mark.parametrize("point", DIFFERENT, ids=str)
def test_conventions_that_are_written_down(point: tuple[Any, ...], torch: Any) -> None:
    op, *values = point
    ours, theirs = DIFFERENT[point]
    np.testing.assert_array_equal(gradient_at(op, *values), ours)
    arguments = tensors(torch, [np.asarray(value) for value in values])
    torch_functions()[op]({}, *arguments).backward()
    np.testing.assert_array_equal([float(a.grad) for a in arguments], theirs)


def test_every_differentiable_op_has_a_torch_function(torch: Any) -> None:
    assert set(OPS) == set(torch_functions())
