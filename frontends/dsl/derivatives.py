"""Derivatives: each is a graph function, so their derivatives are taken by the same functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from graphc.autodiff import forward, reverse
from graphc.errors import GraphcError, GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.movement import reshape, stack
from graphc.frontends.dsl.tensor import Tensor, as_tensor, common_builder, fail
from graphc.ir.builder import Builder, user_location
from graphc.ir.collector import collector_paused
from graphc.ir.node import Node, Note
from graphc.ir.traverse import creation_order

MAXIMUM_ROWS = 4096
"""The most rows of a Jacobian: each is a derivative of its own in the graph."""

Structure = Callable[[Sequence[Tensor]], Any]


def _flattened(value: Any, what: str) -> tuple[list[Tensor], Structure]:
    """The tensors of a tensor, list, tuple or dict, and how to put results back into its form."""
    if isinstance(value, Tensor):
        return [value], lambda results: results[0]
    if isinstance(value, Mapping):
        names = list(value)
        return _checked(list(value.values()), what), lambda results: dict(zip(names, results, strict=True))
    if isinstance(value, (list, tuple)):
        kind = type(value) if type(value) in (list, tuple) else tuple
        return _checked(list(value), what), kind
    raise fail(
        GraphcTypeError,
        "E225",
        f"{what} must be a tensor, or a list, tuple or dict of them, got {type(value).__name__}",
    )


def _checked(values: list[Any], what: str) -> list[Tensor]:
    for value in values:
        if not isinstance(value, Tensor):
            raise fail(GraphcTypeError, "E225", f"{what} must be tensors, got {type(value).__name__}")
    return values


def _derived(builder: Builder) -> AbstractContextManager[None]:
    """Nodes made inside belong to the backward part and to the line that asked for the derivative."""
    place = user_location()
    return builder.noted(Note((place,) if place else ()), "backward")


def grad(output: Tensor, wrt: Any) -> Any:
    """The gradient of a scalar by tensors.

    Args:
        output: a floating-point scalar.
        wrt: a tensor, or a list, tuple or dict of tensors; not only parameters.

    Returns:
        The derivatives in the same form.  A tensor that ``output`` does not depend on has the gradient zero.

    Raises:
        GraphcTypeError: E225, ``output`` is not floating-point, or depends on ``wrt`` only through operations that have
            no derivative.
        GraphcValueError: E225, ``output`` is not a scalar.
    """
    if not isinstance(output, Tensor):
        raise fail(GraphcTypeError, "E225", f"the output must be a tensor, got {type(output).__name__}")
    tensors, structure = _flattened(wrt, "wrt")
    builder = common_builder([output, *tensors])
    nodes = [tensor.node for tensor in tensors]
    with collector_paused():
        order = creation_order([output.node])
        _check_connected(output, nodes, order)
        found = _gradient(builder, output, nodes, order)
    return structure([Tensor(node, builder) for node in found])


def _gradient(builder: Builder, output: Tensor, wrt: list[Node], order: Sequence[Node]) -> list[Node]:
    try:
        with _derived(builder):
            return reverse.gradient(builder, output.node, wrt, order)
    except GraphcError as error:
        raise builder.locate(error, [output.node]) from None


def _check_connected(output: Tensor, wrt: Sequence[Node], order: Sequence[Node]) -> None:
    """Complain where ``output`` depends on ``wrt``, but only through the likes of ``floor``, ``argmax`` or ``<``.

    ``stop_gradient`` is meant: what lies behind it does not count as a dependence.
    """
    if not output.dtype.is_float or output.node in reverse.active_nodes(order, wrt):
        return
    reached = set(wrt)
    barrier: Node | None = None
    for node in order:
        if node in reached or node.op.name == "stop_gradient" or not any(operand in reached for operand in node.inputs):
            continue
        reached.add(node)
        if barrier is None and (not node.op.differentiable or not node.dtype.is_float):
            barrier = node
    if output.node in reached and barrier is not None:
        message = f"the output depends on wrt only through {barrier.op.name!r}, which has no derivative"
        raise fail(
            GraphcTypeError, "E225", message, "use a smooth function there, or stop_gradient if zero is meant", output
        )


def vjp(outputs: Any, wrt: Any, cotangents: Any) -> Any:
    """The vector–Jacobian product: the cotangents of ``wrt`` for those of ``outputs``.

    Args:
        outputs: a tensor, or a list, tuple or dict of tensors.
        wrt: likewise.
        cotangents: one an output, of its shape and dtype; None stands for zero.

    Returns:
        Cotangents in the form of ``wrt``.
    """
    results, _ = _flattened(outputs, "outputs")
    tensors, structure = _flattened(wrt, "wrt")
    seeds = _seeds(cotangents, outputs, results)
    builder = common_builder([*results, *tensors, *(seed for seed in seeds if seed is not None)])
    try:
        with _derived(builder):
            found = reverse.vjp(
                builder,
                [result.node for result in results],
                [None if seed is None else seed.node for seed in seeds],
                [tensor.node for tensor in tensors],
            )
    except GraphcError as error:
        raise builder.locate(error, [result.node for result in results]) from None
    return structure([Tensor(node, builder) for node in found])


def _seeds(values: Any, form: Any, like: Sequence[Tensor]) -> list[Tensor | None]:
    """Directions for the tensors ``like``, given in the same ``form``: alone, or as a list, tuple or dict."""
    if isinstance(form, Tensor):
        items = [values]
    elif isinstance(values, Mapping) and isinstance(form, Mapping):
        items = [values.get(name) for name in form]
    else:
        items = list(values) if isinstance(values, (list, tuple)) else [values]
    if len(items) != len(like):
        raise fail(GraphcValueError, "E225", f"{len(like)} tensors need as many directions, got {len(items)}")
    return [
        None if item is None else as_tensor(item, tensor.dtype, tensor.builder)
        for item, tensor in zip(items, like, strict=True)
    ]


def jvp(outputs: Any, wrt: Any, tangents: Any) -> Any:
    """The Jacobian–vector product: the tangents of ``outputs`` for those of ``wrt``, in the form of ``outputs``."""
    results, structure = _flattened(outputs, "outputs")
    tensors, _ = _flattened(wrt, "wrt")
    seeds = [
        Tensor(reverse.zeros(tensor.builder, tensor.node.tensor), tensor.builder) if seed is None else seed
        for seed, tensor in zip(_seeds(tangents, wrt, tensors), tensors, strict=True)
    ]
    builder = common_builder([*results, *tensors, *seeds])
    try:
        with _derived(builder):
            found = forward.jvp(
                builder,
                [result.node for result in results],
                [tensor.node for tensor in tensors],
                [seed.node for seed in seeds],
            )
    except GraphcError as error:
        raise builder.locate(error, [result.node for result in results]) from None
    return structure([Tensor(node, builder) for node in found])


def hvp(output: Tensor, wrt: Any, vectors: Any) -> Any:
    """The Hessian of a scalar times ``vectors``, by forward mode over the gradient.

    The Hessian itself is never made.
    """
    return jvp(grad(output, wrt), wrt, vectors)


def jacobian(output: Tensor, wrt: Tensor) -> Tensor:
    """All first derivatives of a tensor, of shape ``output.shape + wrt.shape``; both static.

    Forward or reverse mode is chosen by whichever side has fewer elements, each of which costs one derivative.
    """
    rows, columns = (_static_size(tensor) for tensor in (output, wrt))
    shape = (*output.shape, *wrt.shape)
    if min(rows, columns) > MAXIMUM_ROWS:
        needed = f"the Jacobian of {output.shape} by {wrt.shape} needs {min(rows, columns)} derivatives"
        message = f"{needed}, the limit is {MAXIMUM_ROWS}"
        raise fail(GraphcValueError, "E225", message, "use vjp, jvp or hvp", output)
    if not rows or not columns:
        return Tensor(reverse.zeros(output.builder, output.node.tensor.with_shape(shape)), output.builder)
    if columns < rows:
        parts = [jvp(output, wrt, _unit(wrt, position)) for position in range(columns)]
        return reshape(stack([part.flatten() for part in parts], axis=1), shape)
    parts = [vjp(output, wrt, _unit(output, position)) for position in range(rows)]
    return reshape(stack([part.flatten() for part in parts]), shape)


def _static_size(tensor: Tensor) -> int:
    if not tensor.node.tensor.is_static:
        raise fail(GraphcValueError, "E225", f"a Jacobian needs static shapes, got {tensor.shape}", None, tensor)
    return tensor.node.tensor.static_size


def _unit(like: Tensor, position: int) -> Tensor:
    vector = np.zeros(like.node.tensor.static_size)
    vector[position] = 1
    return as_tensor(vector.reshape(like.node.tensor.static_shape), like.dtype, like.builder)


def hessian(output: Tensor, wrt: Tensor) -> Tensor:
    """All second derivatives of a scalar, of shape ``wrt.shape + wrt.shape``; for large tensors use :func:`hvp`."""
    gradient: Tensor = grad(output, wrt)
    return jacobian(gradient, wrt)
