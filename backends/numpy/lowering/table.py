"""The table op → rule.  A test walks the op registry and fails on an op that has neither a rule, a decomposition nor a place here."""

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
