"""What lowering rules share: the scope they read operands from, and the treatment of the half dtypes.

float16 and bfloat16 are storage formats: an op widens its operands to float32 and rounds its result once.  A bfloat16
value is held as float32 on the bfloat16 grid, so it needs no widening.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Protocol

from graphc.backends.numpy.literals import dtype_expression
from graphc.backends.numpy.syntax import call, method, tuple_of
from graphc.ir.dim import Dim
from graphc.ir.node import Node
from graphc.ir.types import DType, bfloat16, float16, float32


class Scope(Protocol):
    """Where a rule finds the values of operands in the function being written."""

    def value(self, node: Node) -> ast.expr:
        """The value of ``node``; a scalar constant carries its dtype."""

    def weak(self, node: Node) -> ast.expr:
        """The same, but a scalar constant is a plain Python number, which takes the dtype of the array it meets."""

    def is_number(self, node: Node) -> bool:
        """True where ``weak`` gives something that is a Python number at run time."""

    def helper(self, name: str) -> ast.expr:
        """A helper function, which the module will carry."""

    def dim(self, dim: Dim) -> ast.expr:
        """A dimension: an integer, or an expression in the sizes of the arguments."""


Rule = Callable[[Scope, Node], ast.expr]
"""(scope, node) → an expression for the node's value; a fresh array unless ``views`` says otherwise."""


def shape_of(scope: Scope, dims: Sequence[Dim]) -> ast.expr:
    """A shape as a tuple."""
    return tuple_of(scope.dim(dim) for dim in dims)


def wide(scope: Scope, node: Node) -> ast.expr:
    """The value of ``node`` in the dtype that arithmetic on it is done in."""
    value = scope.value(node)
    return method(value, "astype", dtype_expression(float32)) if node.dtype is float16 else value


def rounded(scope: Scope, value: ast.expr, element: DType) -> ast.expr:
    """A computed value, rounded to ``element`` where it is a half dtype."""
    if element is float16:
        return method(value, "astype", dtype_expression(float16))
    if element is bfloat16:
        return call(scope.helper("_round_bfloat16"), value)
    return value


def meets_array(scope: Scope, operands: Sequence[Node]) -> bool:
    """True where one of ``operands`` gives Python numbers beside it their dtype: an array, or a scalar of 64 bits.

    NumPy 1 let a Python number widen a narrower scalar.
    """
    return any((operand.rank > 0 or operand.dtype.bits == 64) and not scope.is_number(operand) for operand in operands)
