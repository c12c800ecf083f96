"""The table op → rule; a test fails on an op of the registry with no rule, no decomposition and no place here."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.backends.numpy.lowering import contraction, indexing, movement, pointwise, reduce, source
from graphc.backends.numpy.lowering.base import Rule

RULES: Mapping[str, Rule] = {
    **source.RULES,
    **pointwise.RULES,
    **reduce.RULES,
    **movement.RULES,
    **contraction.RULES,
    **indexing.RULES,
}

STRUCTURAL = frozenset({"input", "state", "constant", "training", "loop", "result", "fused"})
"""Ops that the emitter itself turns into arguments, constants and statements."""
