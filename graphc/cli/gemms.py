"""The matrix products of an entry point: their shapes, and how often a call runs them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.cli.common import table
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ops.linalg import split_subscripts


@dataclass(frozen=True, slots=True)
class Gemm:
    """``batch`` products of an M×K by a K×N matrix; every contraction is one, convolutions among them."""

    batch: int
    m: int
    n: int
    k: int
    dtype: str

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.m * self.n * self.k

    def __str__(self) -> str:
        batch = f"{self.batch} × " if self.batch != 1 else ""
        return f"{batch}{self.m}×{self.n}×{self.k}"


def gemms(graph: Graph) -> Counter[Gemm]:
    """Each kind of product in a graph without composites, with the number of times that a call runs it."""
    found: Counter[Gemm] = Counter()
    pending: list[tuple[Graph, int]] = [(graph, 1)]
    while pending:
        region, runs = pending.pop()
        for node in region.nodes:
            if node.op.name == "matmul":
                found[_matmul(node)] += runs
            elif node.op.name == "einsum":
                found[_einsum(node)] += runs
            else:
                # A loop runs its body once a trip, any other region once.
                inside = runs * node.attrs.get("trips", 1)
                pending += [(value, inside) for value in node.attrs.values() if isinstance(value, Graph)]
    return found


def _matmul(node: Node) -> Gemm:
    left, _ = node.inputs
    *batch, m, n = node.tensor.static_shape
    return Gemm(math.prod(batch), m, n, left.tensor.static_shape[-1], node.dtype.name)


def _einsum(node: Node) -> Gemm:
    left, right, output = split_subscripts(node.attrs["subscripts"])
    shapes = [operand.tensor.static_shape for operand in node.inputs]
    sizes = dict(zip(left + right, shapes[0] + shapes[1], strict=True))

    def extent(letters: Iterable[str]) -> int:
        return math.prod(sizes[letter] for letter in letters)

    return Gemm(
        extent(letter for letter in output if letter in left and letter in right),
        extent(letter for letter in output if letter not in right),
        extent(letter for letter in output if letter not in left),
        extent(letter for letter in left if letter not in output),
        node.dtype.name,
    )


def gemm_lines(entry: str, stages: Sequence[tuple[str, Counter[Gemm]]]) -> list[str]:
    """A table for each stage of an entry point."""
    lines = []
    for stage, found in stages:
        total = sum(gemm.flops * runs for gemm, runs in found.items())
        lines.append(f"{entry}, {stage}: {found.total():,} GEMMs of {len(found)} shapes, {total / 1e6:,.3f} MFLOP")
        if found:
            rows = [
                (f"{runs:,}", gemm, gemm.dtype, f"{gemm.flops / 1e6:,.3f}", f"{gemm.flops * runs / 1e6:,.3f}")
                for gemm, runs in _largest_first(found)
            ]
            text = table(rows, header=("runs", "M×N×K", "dtype", "MFLOP", "in all"), right=[0, 3, 4])
            lines += [f"  {line}" for line in text.splitlines()]
    return lines


def gemm_figures(found: Counter[Gemm]) -> list[dict[str, Any]]:
    """The products of one stage, for JSON."""
    return [
        {
            "runs": runs,
            "batch": gemm.batch,
            "m": gemm.m,
            "n": gemm.n,
            "k": gemm.k,
            "dtype": gemm.dtype,
            "flops": gemm.flops,
        }
        for gemm, runs in _largest_first(found)
    ]


def _largest_first(found: Counter[Gemm]) -> list[tuple[Gemm, int]]:
    return sorted(found.items(), key=lambda item: (-item[0].flops * item[1], str(item[0]), item[0].dtype))
