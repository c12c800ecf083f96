"""``Tensor``: a value of the graph that behaves like an array while the graph is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from graphc.errors import GraphcError, GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.literals import constant_node, is_scalar, scalar_node
from graphc.frontends.dsl.methods import TensorMethods
from graphc.frontends.dsl.session import current_session, session_of
from graphc.ir.builder import Builder
from graphc.ir.dim import Dim
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import DType, bool_, promote
from graphc.ir.types import dtype as dtype_of

MAXIMUM_STEPS = 100_000
"""The longest loop that is unrolled: a Python ``for`` over a tensor, a recurrent layer."""


class Tensor(TensorMethods):
    """A node and the builder that made it; immutable.

    Operators broadcast as NumPy's do and promote as the Array API does; a scalar takes the tensor's dtype, an array
    keeps its own. Comparisons give bool tensors, so a tensor has no truth value.  Methods mean what the function of the
    same name means.
    """

    __slots__ = ("builder", "node")

    node: Node
    builder: Builder

    __array_priority__ = 1000

    def __init__(self, node: Node, builder: Builder) -> None:
        object.__setattr__(self, "node", node)
        object.__setattr__(self, "builder", builder)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a tensor is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a tensor is immutable: cannot delete {name!r}")

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[Dim, ...]:
        """The dimensions: integers, or polynomials in symbols."""
        return self.node.tensor.shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.node.tensor.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.node.rank

    @property
    def size(self) -> Dim:
        """Number of elements."""
        return self.node.tensor.size

    @property
    def state(self) -> State | None:
        """The state variable this tensor reads, where it is one."""
        return self.node.attrs["state"] if self.node.op.name == "state" else None

    @property
    def name(self) -> str | None:
        """The user's name for it: of an input, a state variable, or given by :meth:`named`."""
        if self.node.op.name == "input":
            return str(self.node.attrs["name"])
        return self.state.name if self.state is not None else self.builder.note(self.node).name

    def __repr__(self) -> str:
        inside = ", ".join(map(str, self.shape))
        shape = f"({inside},)" if self.ndim == 1 else f"({inside})"
        label = f"{self.name!r}, " if self.name is not None else ""
        return f"Tensor({label}{self.node.op.name}, shape={shape}, dtype={self.dtype})"

    def __hash__(self) -> int:
        return hash(self.node)

    def named(self, name: str) -> Tensor:
        """The same tensor, called ``name`` in outputs and drawings."""
        self.builder.replace_note(self.node, replace(self.builder.note(self.node), name=name))
        return self

    # -- what it is not --------------------------------------------------------------------------------------------

    def _no_value(self, wanted: str, hint: str) -> NoReturn:
        raise fail(GraphcTypeError, "E227", f"{wanted} of a tensor is not known while the graph is built", hint)

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        self._no_value("the truth value", "use where(condition, x, y), and &, |, ~ in place of and, or, not")

    def __float__(self) -> NoReturn:
        self._no_value("the number", "compile the model and call it")

    def __int__(self) -> NoReturn:
        self._no_value("the number", "compile the model and call it; for casts use x.astype('int64')")

    def __index__(self) -> NoReturn:  # noqa: PLE0305
        self._no_value("the number", "to index with data use x[indices] or take(x, indices)")

    def __array__(self, *_arguments: Any, **_options: Any) -> NoReturn:
        self._no_value("the array", "use graphc's own functions, or compile the model and call it")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Tensor:
        # NumPy asks here for `array + tensor` and for `np.tanh(tensor)`.
        from graphc.frontends.dsl.ufuncs import apply_ufunc

        return apply_ufunc(ufunc, method, operands, options)

    def _sympy_(self) -> NoReturn:
        self._no_value("the symbol", "use graphc's function of that name, or graphc.pointwise with an expression")

    def __len__(self) -> int:
        if not self.shape:
            raise fail(GraphcTypeError, "E217", "a scalar tensor has no length", None, self)
        length = self.shape[0]
        if not isinstance(length, int):
            message = f"the length is the symbol {length}, not an integer"
            raise fail(GraphcTypeError, "E228", message, "give the dimension a size", self)
        return length

    def __iter__(self) -> Iterator[Tensor]:
        length = len(self)
        if length > MAXIMUM_STEPS:
            message = f"a loop over {length} elements would be unrolled"
            raise fail(GraphcValueError, "E228", message, f"the limit is {MAXIMUM_STEPS}", self)
        return (self[position] for position in range(length))

    # -- operators -------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return binary("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return binary("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return binary("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return binary("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return binary("multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return binary("multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return binary("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return binary("divide", other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return binary("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return binary("floor_divide", other, self)

    def __mod__(self, other: Any) -> Tensor:
        return binary("remainder", self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return binary("remainder", other, self)

    def __pow__(self, other: Any) -> Tensor:
        if isinstance(other, (int, float)) and other == 2 and not (isinstance(other, float) and self.dtype.is_integer):
            return apply("square", self)  # the same number, one multiplication
        return binary("pow", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return binary("pow", other, self)

    def __neg__(self) -> Tensor:
        return apply("negative", self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return apply("abs", self)

    def __invert__(self) -> Tensor:
        return logical_or_bitwise("not", self)

    def __and__(self, other: Any) -> Tensor:
        return logical_or_bitwise("and", self, other)

    def __rand__(self, other: Any) -> Tensor:
        return logical_or_bitwise("and", other, self)

    def __or__(self, other: Any) -> Tensor:
        return logical_or_bitwise("or", self, other)

    def __ror__(self, other: Any) -> Tensor:
        return logical_or_bitwise("or", other, self)

    def __xor__(self, other: Any) -> Tensor:
        return logical_or_bitwise("xor", self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return logical_or_bitwise("xor", other, self)

    def __lshift__(self, other: Any) -> Tensor:
        return binary("bitwise_left_shift", self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return binary("bitwise_left_shift", other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return binary("bitwise_right_shift", self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return binary("bitwise_right_shift", other, self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return binary("equal", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return binary("not_equal", self, other)

    def __lt__(self, other: Any) -> Tensor:
        return binary("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return binary("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return binary("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return binary("greater_equal", self, other)


# -- from values to nodes ------------------------------------------------------------------------------------------


def fail(kind: type[GraphcError], code: str, message: str, hint: str | None = None, *operands: Tensor) -> GraphcError:
    """The error to raise: with the user's line, and the lines that made ``operands``."""
    builder = operands[0].builder if operands else current_session()
    return builder.locate(kind(code, message, hint=hint), [operand.node for operand in operands])


def to_dtype(value: DType | str | type | np.dtype[Any]) -> DType:
    """The dtype meant by a name, a NumPy dtype or a Python type; an unknown one is an error with the user's line."""
    if isinstance(value, DType):
        return value
    try:
        return dtype_of(value)
    except GraphcError as error:
        raise current_session().locate(error) from None


def common_builder(operands: Sequence[Any]) -> Builder:
    """The builder of the tensors among ``operands``, the current one where there is none.

    Raises:
        GraphcValueError: E223 where they come from different graphs.
    """
    first: Tensor | None = None
    for operand in operands:
        if not isinstance(operand, Tensor):
            continue
        if first is None:
            first = operand
        elif operand.builder is not first.builder:
            raise _foreign(first, operand)
    return current_session() if first is None else first.builder


def _foreign(left: Tensor, right: Tensor) -> GraphcError:
    made = [
        f"{t.node.type!r}" + (f" made at {lines[0]}" if (lines := t.builder.note(t.node).locations) else "")
        for t in (left, right)
    ]
    hint = "build both inside the same `with graph():`, and custom functions from their arguments alone"
    message = f"these tensors belong to different graphs: {made[0]} and {made[1]}"
    return left.builder.locate(GraphcValueError("E223", message, hint=hint))


def as_tensor(value: Any, dtype: DType | None = None, builder: Builder | None = None) -> Tensor:
    """A tensor as it is; anything else as a constant of ``dtype``, or of the value's own."""
    if isinstance(value, Tensor):
        return value
    builder = builder or current_session()
    try:
        return Tensor(constant_node(builder, value, dtype), builder)
    except GraphcError as error:
        raise builder.locate(error) from None


def as_tensors(*values: Any) -> list[Tensor]:
    """Operands of one operation: all tensors of one graph.

    Scalars take the dtype of the first tensor or array among them.
    """
    builder = common_builder(values)
    typed = [value if is_scalar(value) else as_tensor(value, None, builder) for value in values]
    like = next((value for value in typed if isinstance(value, Tensor)), None)
    if like is None:
        # Scalars alone: together they make one constant's dtype, as in maximum(1, 2.0).
        kinds = [as_tensor(value, None, builder) for value in values]
        best = next((tensor.dtype for tensor in kinds if tensor.dtype.is_float), kinds[0].dtype)
        return [as_tensor(value, best, builder) for value in values]
    result = []
    for value in typed:
        if isinstance(value, Tensor):
            result.append(value)
            continue
        try:
            result.append(Tensor(scalar_node(builder, value, like.dtype), builder))
        except GraphcError as error:
            raise builder.locate(error, [like.node]) from None
    return result


def promoted(*values: Any) -> list[Tensor]:
    """Operands as tensors of their common dtype, under the Array API's promotion."""
    known = _known_pair(*values) if len(values) == 2 else None
    if known is not None:
        return list(known)
    tensors = as_tensors(*values)
    target = tensors[0].dtype
    for tensor in tensors[1:]:
        if tensor.dtype is not target:
            try:
                target = promote(target, tensor.dtype)
            except GraphcError as error:
                raise tensor.builder.locate(error, [operand.node for operand in tensors]) from None
    return [tensor if tensor.dtype is target else apply("cast", tensor, dtype=target) for tensor in tensors]


def _known_pair(left: Any, right: Any) -> tuple[Tensor, Tensor] | None:
    """Two tensors of one graph and one dtype as they are; a tensor beside a number that has stood beside such a tensor
    before.  Most operands are that: it saves finding out the rest.
    """
    if left.__class__ is not Tensor:
        if right.__class__ is not Tensor or left.__class__ not in (int, float):
            return None
        number = _known_number(left, right)
        return None if number is None else (number, right)
    if right.__class__ is Tensor:
        return (left, right) if left.builder is right.builder and left.node.dtype is right.node.dtype else None
    number = _known_number(right, left) if right.__class__ in (int, float) else None
    return None if number is None else (left, number)


def _known_number(value: float, beside: Tensor) -> Tensor | None:
    node = session_of(beside.builder).known_scalar(value, beside.node.dtype)
    return None if node is None else Tensor(node, beside.builder)


def apply(op: str, *operands: Tensor, **attributes: Any) -> Tensor:
    """The op called ``op`` on tensors that have the dtypes it needs."""
    builder = operands[0].builder if len(operands) == 1 else common_builder(operands)
    return Tensor(builder.make(op, [operand.node for operand in operands], attributes), builder)


def binary(op: str, left: Any, right: Any) -> Tensor:
    """A pointwise op of two operands after promotion.

    Raises:
        GraphcValueError: E221 for an integer division by a constant zero.
    """
    first, second = _known_pair(left, right) or promoted(left, right)
    if op in ("floor_divide", "remainder") and second.dtype.is_integer and second.node.op.name == "constant":
        divisor = second.node.attrs["value"].array
        if divisor.size and not divisor.all():
            raise fail(GraphcValueError, "E221", "an integer division by a constant zero", None, first)
    return Tensor(first.builder.make(op, (first.node, second.node)), first.builder)


def logical_or_bitwise(operation: str, *operands: Any) -> Tensor:
    """What ``~ & | ^`` are: logical for bools, bit by bit for integers."""
    tensors = promoted(*operands)
    if tensors[0].dtype is bool_:
        return apply(f"logical_{operation}", *tensors)
    return apply("bitwise_invert" if operation == "not" else f"bitwise_{operation}", *tensors)
