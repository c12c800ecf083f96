"""Penalties on weights under their Keras names: functions from a tensor to a scalar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.elementwise import abs, sqrt, square
from graphc.frontends.dsl.linalg import matmul
from graphc.frontends.dsl.lookup import by_name
from graphc.frontends.dsl.movement import transpose
from graphc.frontends.dsl.penalties import penalized, penalties
from graphc.frontends.dsl.reductions import sum
from graphc.frontends.dsl.tensor import Tensor, fail
from graphc.frontends.optim.optimizer import check_number

__all__ = ["L1", "L1L2", "L2", "OrthogonalRegularizer", "get", "l1", "l1_l2", "l2", "penalized", "penalties"]

Penalty = Callable[[Tensor], Tensor]


@dataclass(init=False)
class L1L2:
    """l1 sum(|w|) + l2 sum(w²)."""

    l1: float
    l2: float

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1, self.l2 = check_number("l1", l1, 0.0), check_number("l2", l2, 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty on ``x``."""
        terms = [self.l1 * sum(abs(x))] if self.l1 else []
        if self.l2 or not terms:
            terms.append(self.l2 * sum(square(x)))
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]


@dataclass(init=False)
class L1:
    """l1 sum(|w|)."""

    l1: float

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = check_number("l1", l1, 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty on ``x``."""
        return self.l1 * sum(abs(x))


@dataclass(init=False)
class L2:
    """l2 sum(w²)."""

    l2: float

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = check_number("l2", l2, 0.0)

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty on ``x``."""
        return self.l2 * sum(square(x))


@dataclass(frozen=True)
class OrthogonalRegularizer:
    """The mean |cosine| between different rows (or columns) of a matrix, times ``factor``."""

    factor: float = 0.01
    mode: str = "rows"

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty on the matrix ``x``."""
        if x.ndim != 2 or self.mode not in ("rows", "columns"):
            message = f"an orthogonal penalty takes a matrix and mode rows or columns, got {x.shape}, {self.mode!r}"
            raise fail(GraphcValueError, "E211", message, None, x)
        rows = x if self.mode == "rows" else transpose(x)
        size = rows.shape[0]
        if not isinstance(size, int):
            raise fail(GraphcValueError, "E214", f"an orthogonal penalty needs static sizes, got {x.shape}", None, x)
        unit = rows / sqrt(sum(square(rows), axis=1, keepdims=True))
        cosines = matmul(unit, transpose(unit))
        # The diagonal is 1 whatever the rows are.
        pairs = size * (size - 1) / 2.0
        return self.factor * 0.5 * (sum(abs(cosines)) - float(size)) / max(pairs, 1.0)


l1, l2 = L1, L2


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """Both penalties, with the defaults that Keras gives this name."""
    return L1L2(l1, l2)


_BY_NAME: dict[str, Callable[[], Penalty]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": l1_l2,
    "l1l2": L1L2,
    "L1": L1,
    "L2": L2,
    "L1L2": L1L2,
    "orthogonal_regularizer": OrthogonalRegularizer,
}


def get(identifier: Any) -> Penalty | None:
    """The penalty meant by a name, a class, a function of a tensor, or None for none.

    Raises:
        GraphcValueError: E213 for a name that is none, with the nearest.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str):
        return by_name(identifier, _BY_NAME, "regularizer")()
    if isinstance(identifier, type):
        identifier = identifier()
    if not callable(identifier):
        raise fail(GraphcTypeError, "E213", f"a regularizer is a name or a function, got {identifier!r}")
    penalty: Penalty = identifier
    return penalty
