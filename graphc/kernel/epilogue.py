"""What is done with the sums of a contraction's tile."""

from __future__ import annotations

from graphc.kernel.loopir import Apply, Const, Gather, Index, Kernel, Load, Map
from graphc.kernel.parts import closure, roots_of
from graphc.kernel.tiling import Contraction
from graphc.ops.simple import SIMPLE_OPS

_MOST_OPS = 8
"""Ops that are repeated for every vector of a tile, rather than looped over."""


def epilogue_values(kernel: Kernel, plan: Contraction) -> list[int]:
    """What the stores of a contraction need besides the sum, in order."""
    product = set(closure(kernel, [plan.reduce]))
    return [number for number in closure(kernel, roots_of(plan.stores)) if number not in product]


def epilogue_maps(kernel: Kernel, plan: Contraction) -> list[Map]:
    """All functions of the axes in an epilogue."""
    values = [kernel.values[number] for number in epilogue_values(kernel, plan)]
    return [value.map for value in values if isinstance(value, (Load, Gather, Index))] + [s.map for s in plan.stores]


def has_light_epilogue(kernel: Kernel, plan: Contraction) -> bool:
    """Is the epilogue a few simple instructions a vector, which the registers beside the tile have room for?"""
    ops = 0
    for number in epilogue_values(kernel, plan):
        match kernel.values[number]:
            case Apply(op=op):
                ops += 1
                if op not in SIMPLE_OPS or op == "cast":
                    return False
            case Load(map=map_):
                if map_.coefficients[plan.column] not in (0, 1):
                    return False
            case Const():
                pass
            case _:
                return False
    along = all(s.map.coefficients[plan.column] == 1 and s.scatter is None and not s.accumulate for s in plan.stores)
    return along and ops <= _MOST_OPS
