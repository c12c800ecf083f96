"""Every workload by name, in suites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from benchmarks.spec import Workload
from benchmarks.workloads.cells import attention_decoder, layer_norm_lstm, minimal_gated_unit, peephole, unrolled
from benchmarks.workloads.convolution import cnn, convolution, residual
from benchmarks.workloads.feedforward import mlp, product
from benchmarks.workloads.recurrent import bilstm, language_model, layers, sequence


@dataclass(frozen=True)
class Case:
    """How a workload is made.

    Attributes:
        name: on the command line.
        title: in tables.
        make: from name, title and arguments to the workload.
        arguments: of the real size.
        tiny: what to replace for a size that a test can afford.
        series: workloads of one series grow; a peer that is late for one is not asked for the next.  Their compile
            time is what is looked at, so nothing runs beside it.
        peers: who takes part, in place of the usual ones.
    """

    name: str
    title: str
    make: Callable[..., Workload]
    arguments: Mapping[str, Any]
    tiny: Mapping[str, Any]
    series: str = ""
    peers: tuple[str, ...] = ()

    def workload(self, tiny: bool = False) -> Workload:
        """The workload."""
        return self.make(self.name, self.title, **{**self.arguments, **(self.tiny if tiny else {})})


def _layer(cell: str, steps: int, batch: int, hidden: int, features: int = 128, depth: int = 1) -> Case:
    title = f"{f'{depth}×' if depth > 1 else ''}{cell.upper()} T{steps} B{batch} H{hidden}"
    name = f"{cell}{depth if depth > 1 else ''}-t{steps}-b{batch}-h{hidden}"
    arguments = {"cell": cell, "steps": steps, "batch": batch, "hidden": hidden, "features": features, "depth": depth}
    return Case(name, title, layers, arguments, {"steps": 5, "batch": min(batch, 3), "hidden": 8, "features": 6})


def _mlp(batch: int) -> Case:
    tiny = {"batch": min(batch, 4), "sizes": (12, 9, 9, 10)}
    return Case(f"mlp-b{batch}", f"MLP 784-512-512-10 B{batch}", mlp, {"batch": batch}, tiny)


def _cnn(batch: int) -> Case:
    tiny = {"batch": min(batch, 2), "size": 14, "filters": (4, 5)}
    return Case(f"cnn-b{batch}", f"CNN 28×28 B{batch}", cnn, {"batch": batch}, tiny)


def _bilstm() -> Case:
    tiny = {"steps": 5, "batch": 3, "vocabulary": 20, "embedding": 6, "hidden": 4, "dense": 7}
    return Case("bilstm-t100-b32", "BiLSTM V10000 T100 B32 H64", bilstm, {}, tiny)


_TINY_CELL = {"steps": 5, "batch": 3, "features": 6, "hidden": 8}


def _cell(name: str, title: str, make: Callable[..., Workload]) -> Case:
    arguments = {"steps": 64, "batch": 32, "features": 64, "hidden": 128}
    return Case(f"{name}-t64-b32-h128", f"{title} T64 B32 H128", make, arguments, _TINY_CELL)


def _attention() -> Case:
    arguments = {"steps": 32, "batch": 32, "source": 32, "hidden": 128, "embedding": 64, "vocabulary": 1000}
    tiny = {"steps": 4, "batch": 3, "source": 5, "hidden": 8, "embedding": 6, "vocabulary": 11}
    title = "attention decoder T32 S32 B32 H128 V1000"
    return Case("attention-t32-b32-h128", title, attention_decoder, arguments, tiny)


def _language_model(size: str, steps: int, hidden: int) -> Case:
    arguments = {"steps": steps, "batch": 20, "hidden": hidden}
    tiny = {"steps": 4, "batch": 3, "hidden": 8, "vocabulary": 13}
    title = f"PTB {size} 2×LSTM T{steps} B20 H{hidden} V10000"
    return Case(f"ptb-{size}", title, language_model, arguments, tiny)


def _product(m: int, k: int, n: int) -> Case:
    return Case(f"gemm-{m}x{k}x{n}", f"GEMM {m}×{k}×{n}", product, {"m": m, "k": k, "n": n}, {"m": 3, "k": 7, "n": 9})


def _convolution(
    batch: int, size: int, channels: int, filters: int, window: int, stride: int = 1, padding: int = 0
) -> Case:
    arguments = {
        "batch": batch,
        "size": size,
        "channels": channels,
        "filters": filters,
        "window": window,
        "stride": stride,
        "padding": padding,
    }
    name = f"conv-{size}x{channels}-{filters}-k{window}s{stride}-b{batch}"
    title = f"conv {size}×{size}×{channels} to {filters}, {window}×{window} stride {stride} B{batch}"
    return Case(name, title, convolution, arguments, {"size": 2 * window + stride, "channels": 3, "filters": 4})


def _residual(batch: int, size: int, channels: int, filters: int, stride: int = 1, inner: int = 0) -> Case:
    arguments = {"batch": batch, "size": size, "channels": channels, "filters": filters}
    arguments |= {"stride": stride, "inner": inner}
    kind, short = ("bottleneck", "bottleneck") if inner else ("basic block", "basic")
    name = f"{short}-{size}x{channels}-{filters}-s{stride}-b{batch}"
    title = f"{kind} {size}×{size}×{channels} to {filters} stride {stride} B{batch}"
    tiny = {"batch": 2, "size": 6, "channels": 4, "filters": 4 if channels == filters else 6, "inner": inner and 3}
    return Case(name, title, residual, arguments, tiny)


UNROLLED_STEPS = (16, 64, 128, 256, 1500, 10_000)
_UNROLLED_PEERS = ("graphc", "torch", "inductor", "jax-unrolled", "pytensor-unrolled")
_LIBRARY_PEERS = ("graphc", "torch", "jax")


def _unrolled(cell: str, steps: int, library: bool) -> Case:
    arguments = {"cell": cell, "steps": steps, "batch": 32, "features": 64, "hidden": 64}
    what = "library" if library else "unrolled"
    title = f"{cell.upper()}{' layer' if library else ' in a loop'} T{steps} B32 H64"
    make = sequence if library else unrolled
    peers = _LIBRARY_PEERS if library else _UNROLLED_PEERS
    return Case(f"{what}-{cell}-t{steps}", title, make, arguments, _TINY_CELL, f"{what}-{cell}", peers)


SUITES: dict[str, tuple[Case, ...]] = {
    "core": (
        _mlp(1),
        _mlp(64),
        _layer("rnn", 64, 1, 256),
        _layer("rnn", 64, 32, 256),
        _layer("gru", 64, 1, 256),
        _layer("gru", 64, 32, 256),
        _layer("lstm", 64, 1, 256),
        _layer("lstm", 64, 32, 256),
        _layer("lstm", 32, 64, 512, features=512, depth=2),
        _cnn(1),
        _cnn(32),
        _bilstm(),
    ),
    "cells": (
        _cell("peephole", "peephole LSTM", peephole),
        _cell("layernorm", "layer-norm LSTM", layer_norm_lstm),
        _cell("mgu", "minimal gated unit", minimal_gated_unit),
        _attention(),
    ),
    "language": (_language_model("small", 20, 200), _language_model("medium", 35, 650)),
    "deepbench": (
        _product(16, 1760, 1760),
        _product(128, 1760, 1760),
        _product(64, 2560, 2560),
        _product(700, 2048, 5124),
        _product(1, 2560, 7680),
        _convolution(1, 224, 3, 64, 7, stride=2, padding=3),
        _convolution(1, 112, 64, 128, 3, padding=1),
        _convolution(8, 28, 128, 256, 3, padding=1),
        _convolution(8, 14, 512, 512, 3, padding=1),
        _convolution(16, 7, 832, 256, 1),
        _layer("rnn", 50, 16, 1760, features=1760),
        _layer("gru", 25, 32, 1024, features=1024),
        _layer("lstm", 25, 16, 512, features=512),
        _layer("lstm", 50, 1, 1536, features=1536),
    ),
    "residual": (
        _residual(1, 56, 64, 64),
        _residual(8, 56, 64, 64),
        _residual(8, 56, 64, 128, stride=2),
        _residual(1, 28, 512, 512, inner=128),
        _residual(8, 28, 512, 512, inner=128),
    ),
    "mlp": tuple(_mlp(batch) for batch in (1, 4, 16, 64, 256, 1024)),
    "unrolled": tuple(
        _unrolled(cell, steps, library)
        for cell in ("lstm", "gru")
        for steps in UNROLLED_STEPS
        for library in (False, True)
    ),
}
"""Suite → its workloads, in the order of the tables."""


def cases() -> dict[str, Case]:
    """Every workload by name; one that stands in two suites comes once."""
    return {case.name: case for suite in SUITES.values() for case in suite}


def select(patterns: Sequence[str]) -> list[Case]:
    """The workloads that suites, names or patterns with ``*`` stand for.

    ``all`` is everything but ``unrolled``, which is about compiling and takes its time.

    Raises:
        ValueError: a pattern that means nothing.
    """
    known = cases()
    chosen: dict[str, Case] = {}
    for pattern in patterns:
        if pattern == "all":
            found = [case for name, suite in SUITES.items() if name != "unrolled" for case in suite]
        elif pattern in SUITES:
            found = list(SUITES[pattern])
        else:
            found = [case for name, case in known.items() if fnmatchcase(name, pattern)]
        if not found:
            raise ValueError(f"no workload or suite {pattern!r}; suites: {', '.join(SUITES)}, all")
        chosen |= {case.name: case for case in found}
    return list(chosen.values())
