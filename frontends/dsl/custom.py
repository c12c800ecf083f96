"""Operations of the user's own: pointwise ones from a sympy expression, and values with a derivative of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from graphc.autodiff import reverse
from graphc.errors import GraphcError, GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.session import current_session, graph
from graphc.frontends.dsl.tensor import Tensor, as_tensors, common_builder, fail, promoted
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.rewrite import inline
from graphc.ir.types import TensorType

if TYPE_CHECKING:
    import sympy


def pointwise(
    name: str, expression: sympy.Expr, parameters: Sequence[sympy.Symbol] | None = None
) -> Callable[..., Tensor]:
    """A pointwise function of floats from a sympy expression, with its derivatives, for every backend.

    Args:
        name: for people.
        expression: over at most eight symbols, which stand for real numbers.
        parameters: the symbols in the order of the function's arguments; by name where not given.

    Returns:
        A function of as many tensors, which broadcast together.
    """
    from graphc.ops.user import make_pointwise

    builder = current_session()
    try:
        op = make_pointwise(name, expression, parameters)
    except GraphcError as error:
        raise builder.locate(error) from None

    def function(*operands: Any) -> Tensor:
        tensors = promoted(*operands)
        owner = common_builder(tensors)
        return Tensor(owner.make(op, [tensor.node for tensor in tensors]), owner)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{expression}"
    return function


def custom_gradient(function: Callable[..., Tensor], gradient: Callable[..., Any]) -> Callable[..., Tensor]:
    """``function`` with ``gradient`` in place of its own derivative.

    Both are built from their arguments alone: a tensor from outside is an error (E223), so pass parameters as
    arguments.  ``gradient`` is made of graph functions, hence derivatives of higher order go through it.

    Args:
        function: tensors → one tensor.
        gradient: (the tensors, the value, the cotangent of the value) → the cotangent of each tensor, None for zero;
            one alone where there is one tensor.

    Returns:
        A function of tensors.
    """
    label = getattr(function, "__name__", "custom")

    def applied(*operands: Any) -> Tensor:
        tensors = as_tensors(*operands)
        owner = common_builder(tensors)
        types = [tensor.node.tensor for tensor in tensors]
        forward = _forward_region(label, function, types)
        backward = _backward_region(label, gradient, types, forward.output_nodes[0].tensor)
        attributes = {
            "name": label,
            "forward": forward,
            "backward": backward,
            "tangent": _tangent_region(label, forward, backward),
        }
        return Tensor(owner.make("custom_gradient", [tensor.node for tensor in tensors], attributes), owner)

    applied.__name__ = applied.__qualname__ = label
    applied.__doc__ = function.__doc__
    return applied


def _arguments(builder: Builder, prefix: str, types: Sequence[TensorType]) -> list[Node]:
    return [builder.new_input(f"{prefix}{position}", type_) for position, type_ in enumerate(types)]


def _closed(label: str, region: Graph) -> Graph:
    for node in region.nodes:
        if node.op.name in ("state", "training") or (node.op.name == "input" and node not in region.inputs):
            raise fail(
                GraphcValueError,
                "E223",
                f"{label}: a custom function reads {node!r}, which is not an argument",
                "pass it as an argument",
            )
    return region


def _forward_region(label: str, function: Callable[..., Any], types: Sequence[TensorType]) -> Graph:
    with graph() as builder:
        inputs = _arguments(builder, "x", types)
        value = function(*(Tensor(node, builder) for node in inputs))
        if not isinstance(value, Tensor):
            raise fail(GraphcTypeError, "E225", f"{label} must give one tensor, got {type(value).__name__}")
        _check_owner(label, value, builder)
        return _closed(label, Graph.make(label, inputs, [("0", value.node)], builder=builder))


def _check_owner(label: str, value: Tensor, builder: Builder) -> None:
    if value.builder is not builder:
        raise fail(
            GraphcValueError,
            "E223",
            f"{label} must build its result from its arguments",
            "pass every tensor as an argument",
            value,
        )


def _backward_region(
    label: str, gradient: Callable[..., Any], types: Sequence[TensorType], result: TensorType
) -> Graph:
    with graph() as builder:
        inputs = _arguments(builder, "x", types)
        value, cotangent = builder.new_input("value", result), builder.new_input("cotangent", result)
        arguments = [Tensor(node, builder) for node in (*inputs, value, cotangent)]
        found = gradient(*arguments)
        parts = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(parts) != len(types):
            raise fail(
                GraphcValueError, "E225", f"{label}: the gradient must give {len(types)} cotangents, got {len(parts)}"
            )
        outputs = []
        for position, (part, type_) in enumerate(zip(parts, types, strict=True)):
            if part is None:
                continue
            if not isinstance(part, Tensor) or part.node.type is not type_:
                raise fail(GraphcValueError, "E225", f"{label}: cotangent {position} must be {type_!r}, got {part!r}")
            _check_owner(label, part, builder)
            outputs.append((str(position), part.node))
        return _closed(label, Graph.make(f"{label}_gradient", [*inputs, value, cotangent], outputs, builder=builder))


def _tangent_region(label: str, forward: Graph, backward: Graph) -> Graph | None:
    """The forward derivative: the transpose of the gradient, which is linear in the cotangent; None where it is not.

    The gradient u ↦ w(u) is Jᵀu, so ∂⟨w(u), t⟩/∂u = J·t (Christianson's double reverse trick).
    """
    builder = Builder()
    types = [node.tensor for node in forward.inputs]
    result = forward.output_nodes[0].tensor
    inputs = _arguments(builder, "x", types)
    value = builder.new_input("value", result)
    tangents = _arguments(builder, "t", [node.tensor for node in backward.output_nodes])
    probe = builder.new_input("cotangent", result)
    cotangents = inline(builder, backward, [*inputs, value, probe])
    tangent = reverse.vjp(builder, cotangents, list(tangents), [probe])[0]
    made = Graph.make(f"{label}_tangent", [*inputs, value, *tangents], [("0", tangent)], builder=builder)
    return None if probe in made.nodes else made
