"""What one core can do at best, measured, and what that makes of a workload.

The limit of a workload is the sum over its products (matrix products and convolutions) of

    max(flops / peak, bytes / bandwidth(working set)) / threads

where ``peak`` is the measured rate of fused multiply-adds on registers, ``bytes`` are the product's weight, read once
each time it runs, and ``bandwidth`` is the measured rate at which one core reads a buffer of the working set's size
over and over: the weights of a loop over time, which its next step reads again, or all weights of the workload, which
the next call reads again.  With many rows the arithmetic decides, with one row the bytes.

Training runs a product up to three times: forward; for the gradient of its input, with the same flops and bytes; and
for the gradient of its weight, with the same flops for all steps of a loop taken together, and the weight read and
written once by the update (outside a loop one reading serves the input's gradient and the update).

Elementwise work, embeddings, normalization and activations are not counted, so no one quite reaches 100%, and
workloads with much of them stay further away.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from benchmarks.processes import cores, environment
from benchmarks.spec import TRAIN, Workload

_SIZES = tuple(1 << power for power in range(14, 28))
"""Bytes of the buffers whose reading is timed: first-level cache to main memory."""


@dataclass(frozen=True)
class Rates:
    """What one core can do.

    Attributes:
        peak: float32 operations a second, two for a fused multiply-add.
        bandwidth: (buffer bytes, bytes a second), by rising size.
    """

    peak: float
    bandwidth: tuple[tuple[int, float], ...]

    def bandwidth_at(self, size: float) -> float:
        """Bytes a second for a buffer of ``size`` bytes, between the measured ones by the logarithm of the size."""
        points = self.bandwidth
        if size <= points[0][0]:
            return points[0][1]
        for (low, slow), (high, fast) in pairwise(points):
            if size <= high:
                share = math.log(size / low) / math.log(high / low)
                return slow + share * (fast - slow)
        return points[-1][1]

    def better(self, other: Rates) -> Rates:
        """The higher figure of two measurements each."""
        pairs = zip(self.bandwidth, other.bandwidth, strict=True)
        return Rates(max(self.peak, other.peak), tuple((size, max(a, b)) for (size, a), (_, b) in pairs))


@dataclass(frozen=True)
class Phase:
    """Work that is bound by arithmetic or by reading.

    Attributes:
        flops: operations.
        bytes: that must be read or written.
        working_set: bytes that must stay in a cache for them to be there when they are needed again.
    """

    flops: float
    bytes: float
    working_set: float

    def seconds(self, rates: Rates) -> float:
        """The larger of the two times."""
        return max(self.flops / rates.peak, self.bytes / rates.bandwidth_at(self.working_set))


def phases(workload: Workload, mode: str) -> Iterator[Phase]:
    """The phases of a call."""
    everything = sum(product.weight_bytes for product in workload.products)
    for product in workload.products:
        weight = product.weight_bytes
        together = [other for other in workload.products if product.loop and other.loop == product.loop]
        reused = sum(other.weight_bytes for other in together) if together else weight
        reused = reused if product.count > 1 else everything
        yield Phase(product.flops, weight * product.count, reused)
        if mode != TRAIN:
            continue
        if product.input_gradient:
            yield Phase(product.flops, weight * product.count, reused)
        if not product.weight_gradient:
            continue
        # The update reads and writes; outside a loop the input's gradient has just read what it reads.
        touched = 1 if product.input_gradient and product.count == 1 else 2
        yield Phase(product.flops, touched * weight, everything)


def limit(workload: Workload, mode: str, rates: Rates, threads: int = 1) -> float:
    """Seconds that no implementation of these products can beat on this machine."""
    return sum(phase.seconds(rates) for phase in phases(workload, mode)) / threads


def flops(workload: Workload, mode: str) -> float:
    """Operations of a call, in its products alone."""
    return sum(phase.flops for phase in phases(workload, mode))


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure() -> Rates:
    """Measure on one core, in a process of its own."""
    command = [sys.executable, "-P", "-m", "benchmarks.limits"]
    text = subprocess.run(command, env=environment(1), check=True, capture_output=True, text=True).stdout
    found = json.loads(text)
    return Rates(found["peak"], tuple((size, rate) for size, rate in found["bandwidth"]))


def _module(lanes: int, accumulators: int) -> str:
    """Two loops in LLVM IR: multiply-adds on registers, and multiply-adds of everything in a buffer."""
    vector = f"<{lanes} x float>"
    each = range(accumulators)
    fma = f"@llvm.fma.v{lanes}f32"
    start = "\n".join(f"  %a{i} = phi {vector} [ zeroinitializer, %again ], [ %b{i}, %loop ]" for i in each)
    registers = "\n".join(f"  %b{i} = call {vector} {fma}({vector} %a{i}, {vector} %x, {vector} %x)" for i in each)
    loads = "\n".join(
        f"  %o{i} = add i64 %n, {i}\n  %p{i} = getelementptr {vector}, ptr %data, i64 %o{i}\n"
        f"  %v{i} = load {vector}, ptr %p{i}, align 4\n"
        f"  %b{i} = call {vector} {fma}({vector} %v{i}, {vector} %x, {vector} %a{i})"
        for i in each
    )
    total = "\n".join(f"  %s{i} = fadd {vector} {f'%s{i - 1}' if i else 'zeroinitializer'}, %b{i}" for i in each)
    body = """
define void @NAME(ptr %data, i64 %count, i64 %repeats, ptr %out) {
entry:
  %x = load VECTOR, ptr %out, align 4
  br label %again
again:
  %r = phi i64 [ 0, %entry ], [ %following, %end ]
  br label %loop
loop:
  %n = phi i64 [ 0, %again ], [ %next, %loop ]
START
WORK
  %next = add i64 %n, STEP
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %end
end:
TOTAL
  store VECTOR %sLAST, ptr %out, align 4
  %following = add i64 %r, 1
  %another = icmp ult i64 %following, %repeats
  br i1 %another, label %again, label %done
done:
  ret void
}
"""
    texts = [f"declare {vector} {fma}({vector}, {vector}, {vector})"]
    for name, work, step in (("arithmetic", registers, 1), ("reading", loads, accumulators)):
        text = body.replace("NAME", name).replace("VECTOR", vector).replace("START", start).replace("WORK", work)
        texts.append(text.replace("STEP", str(step)).replace("TOTAL", total).replace("LAST", str(accumulators - 1)))
    return "\n".join(texts)


def _measure_here() -> dict[str, object]:
    """The best of several measurements, on the core this process is pinned to."""
    import ctypes

    import llvmlite.binding as llvm
    import numpy as np

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    lanes, accumulators = (16, 24) if features.get("avx512f") else (8, 12) if features.get("fma") else (4, 12)
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_module(lanes, accumulators)), machine)
    engine.finalize_object()
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    arithmetic, reading = (kernel(engine.get_function_address(name)) for name in ("arithmetic", "reading"))
    out = np.zeros(lanes, np.float32)
    pointer = out.ctypes.data

    def best(call: Callable[[], object], seconds: float) -> float:
        until, found = time.perf_counter() + seconds, math.inf
        while time.perf_counter() < until:
            start = time.perf_counter()
            call()
            found = min(found, time.perf_counter() - start)
        return found

    rounds = 100_000
    peak = 2.0 * lanes * accumulators * rounds / best(lambda: arithmetic(0, rounds, 1, pointer), 0.3)
    bandwidth = []
    buffer = np.ones(_SIZES[-1] // 4 + 64, np.float32)  # ones, so that every page is one of its own
    data = buffer.ctypes.data + -buffer.ctypes.data % 64
    block = 4 * lanes * accumulators
    for size in _SIZES:
        vectors = size // block * accumulators
        repeats = max(1, (1 << 22) // size)
        seconds = best(partial(reading, data, vectors, repeats, pointer), 0.1)
        bandwidth.append((size, repeats * vectors * 4.0 * lanes / seconds))
    return {"peak": peak, "bandwidth": bandwidth}


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores(1))
    print(json.dumps(_measure_here()))
