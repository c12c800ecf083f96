"""Definitions of ops: one place each for what an op means, and the registry that holds them.

An :class:`OpDef` holds inference, derivatives and the reference evaluation.  How an op becomes NumPy source, LLVM IR or
CUDA is the backends' business; a test walks the table op × backend and fails on a hole.  ``ir`` defines the registry;
``graphc.ops`` fills it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import GraphcKeyError, GraphcValueError, nearest
from graphc.ir.attrs import Attrs
from graphc.ir.types import ALL_DTYPES, DType, ValueType

if TYPE_CHECKING:
    from graphc.ir.builder import Builder
    from graphc.ir.node import Node

Array = np.ndarray[Any, Any]
InferRule = Callable[[Attrs, Sequence[Any]], ValueType]
EvaluateRule = Callable[..., Any]
VjpRule = Callable[["Builder", "Node", "Sequence[Node | None]"], "Sequence[Node | None]"]
JvpRule = Callable[["Builder", "Node", "Sequence[Node | None]"], "Sequence[Node | None]"]
DecomposeRule = Callable[["Builder", "Node", "Sequence[Node]"], "Node"]


class OpKind(enum.Enum):
    """What shape of computation an op is; fusion and the backends dispatch on it."""

    SOURCE = "source"
    """No inputs: input, state, constant, iota, training."""
    POINTWISE = "pointwise"
    """Element by element, inputs broadcast together."""
    REDUCTION = "reduction"
    """Over attribute ``axes`` (sum, max, argmax, ...)."""
    MOVEMENT = "movement"
    """Moves elements, computes nothing: reshape, transpose, slice, concat, ..."""
    CONTRACTION = "contraction"
    """matmul."""
    SCAN = "scan"
    """cumsum."""
    INDEXING = "indexing"
    """Data-dependent positions: take, scatter_add, argsort, ..."""
    RANDOM = "random"
    """Counter-based random numbers."""
    REGION = "region"
    """loop, and result, which takes one of its results."""
    COMPOSITE = "composite"
    """Named for people and imports; rewritten to its decomposition before kernels are made."""


@dataclass(frozen=True, eq=False, slots=True)
class OpDef:
    """The meaning of one op.

    Attributes:
        name: unique, the Array API name where there is one.
        kind: shape of the computation.
        attributes: names of the attributes a node must carry, in the order the text form prints them.
        infer: (attrs, input types) → result type; raises GraphcError for inputs that do not fit.
        evaluate: (attrs, arrays in carrier form, result type) → array in carrier form; slow and obvious.
            Values of half dtypes arrive as float32 and are rounded by the evaluator afterwards.
        vjp: (builder, node, cotangents of the results) → cotangent of each input, None for zero.
        jvp: (builder, node, tangents of the inputs, None for zero) → tangent of each result, None for zero.
        dtypes: element types its first input (or its result) may have.
        expression: of a pointwise op, sympy text over ``x``, ``y``, ``z``; None where it has none.
        decompose: of a composite op, builds the same value from other ops.
        summary: one line for documentation and error messages.
        arity: number of inputs, None where it varies.
        differentiable: False where every derivative is zero by definition (floor, comparisons, argmax).
        user_defined: made by ``G.pointwise``; not in the global registry.
    """

    name: str
    kind: OpKind
    infer: InferRule
    evaluate: EvaluateRule
    vjp: VjpRule | None = None
    jvp: JvpRule | None = None
    attributes: tuple[str, ...] = ()
    dtypes: tuple[DType, ...] = ALL_DTYPES
    expression: str | None = None
    decompose: DecomposeRule | None = None
    summary: str = ""
    arity: int | None = None
    differentiable: bool = True
    user_defined: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"OpDef({self.name})"

    def __reduce__(self) -> tuple[object, ...]:
        return get_op, (self.name,)


_registry: dict[str, OpDef] = {}


def register(op: OpDef) -> OpDef:
    """Add an op to the registry; a second op of the same name is an error."""
    if op.name in _registry:
        raise GraphcValueError("E224", f"an op called {op.name!r} exists already")
    _registry[op.name] = op
    return op


def get_op(name: str) -> OpDef:
    """The op called ``name``."""
    found = _registry.get(name)
    if found is None:
        close = nearest(name, _registry)
        raise GraphcKeyError("E333", f"unknown op {name!r}", hint=f"did you mean {close}?" if close else None)
    return found


def registered_ops() -> Iterator[OpDef]:
    """Every registered op, by name."""
    return iter([_registry[name] for name in sorted(_registry)])
