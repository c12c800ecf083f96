"""What one core of this machine can do at most, measured with code that graphc makes: the roofs of a profile.

Arithmetic on registers; reading and writing in each level of the memory.  Each is the best of several tries, since
whatever else the machine does can only make it slower.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from graphc.backends.llvm.compile import generator_version
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.host import host_target
from graphc.backends.llvm.math.functions import LIMITED_FUNCTIONS, VECTOR_FUNCTIONS, math_function
from graphc.backends.llvm.probe import load_probes, probe
from graphc.backends.llvm.values import Type, Value, integer
from graphc.kernel.cost import Level, Machine
from graphc.kernel.target import Target

_ACCUMULATORS = 12
"""Independent sums: more than the latency times the throughput of any core's multiply-add, and room for operands."""

_UNROLLED = 8
_TRY_S = 0.002
_TRIES = 25
_MOST_BYTES = 1 << 28
_DIVISION = 8.0
"""Instructions that a division or a square root stands for; cores differ by a factor of two."""

_RANDOM = 60.0
"""Instructions of ten rounds of Philox for one number."""

_CPU = "/sys/devices/system/cpu/cpu0/cache"


def machine() -> Machine:
    """Measure this machine; takes about a second, of one core."""
    target = host_target()
    lanes = Type("float", target.lanes(32))
    probes = [
        _arithmetic("multiply_adds", lanes, target.has_fma, every=1),
        _arithmetic("half_adds", lanes, target.has_fma, every=2),
        _reading(lanes),
        _writing(lanes),
    ]
    functions = load_probes([], probes, target)
    data = np.ones(2 * lanes.lanes * _ACCUMULATORS + 16, np.float32)
    trips = 1 << 16
    work = trips * _UNROLLED * _ACCUMULATORS * lanes.lanes

    def rate(name: str) -> float:
        return work / _best(lambda: functions[name](data.ctypes.data, trips, 0, None, None))

    products, slots = rate("multiply_adds"), rate("half_adds")
    sizes = cache_bytes()
    block = _UNROLLED * lanes.lanes * 4
    room = np.ones(_largest(sizes) // 4 + 16, np.float32)  # written, so that every page is memory of its own
    start = room.ctypes.data + -room.ctypes.data % 64
    levels = []
    for size, nbytes in zip((*sizes, math.inf), _working_sets(sizes), strict=True):
        blocks = nbytes // block
        repeats = max(1, (1 << 22) // nbytes)

        def run(name: str, blocks: int = blocks, repeats: int = repeats) -> float:
            return repeats * blocks * block / _best(lambda: functions[name](start, blocks, repeats, None, None))

        levels.append(Level(size, run("reading"), run("writing")))
    return Machine(2.0 * products, max(products, slots), tuple(levels), *instruction_counts(target))


def machine_identity() -> str:
    """What the result depends on."""
    return repr((generator_version(), host_target(), platform.node(), cache_bytes(), _processor()))


def instruction_counts(target: Target) -> tuple[dict[str, float], dict[str, float]]:
    """Op → instructions of its code for a vector of float32, where there are more than one; and those that multiply.

    What is computed in float64 lanes takes two for each.
    """
    instructions = {**dict.fromkeys(("divide", "sqrt", "reciprocal"), _DIVISION), "random_uniform": _RANDOM}
    products = {**instructions, "random_uniform": _RANDOM / 3}
    for op in (*VECTOR_FUNCTIONS, *LIMITED_FUNCTIONS):
        text = math_function(op, "float32", 4, fma=target.has_fma).text.rpartition("define ")[2]
        lines = [line for line in text.splitlines() if " = " in line and " bitcast " not in line]
        lines += [line for line in lines if " double>" in line or " i64>" in line]
        slow = sum(" fdiv " in line or "sqrt" in line for line in lines)
        multiplying = sum(" fmul " in line or "llvm.fma" in line for line in lines)
        instructions[op] = len(lines) + slow * (_DIVISION - 1)
        products[op] = multiplying + slow * _DIVISION
    return instructions, products


@cache
def cache_bytes() -> tuple[int, ...]:
    """Sizes of the data caches that a core sees, the smallest first; usual ones where the system does not say."""
    found: dict[int, int] = {}
    try:
        for index in sorted(os.listdir(_CPU)):
            if not index.startswith("index") or _word(index, "type") == "Instruction":
                continue
            size = _word(index, "size")
            factor = {"K": 1 << 10, "M": 1 << 20}.get(size[-1:], 1)
            found[int(_word(index, "level"))] = int(size.rstrip("KM")) * factor
    except (OSError, ValueError):
        found = {}
    sizes = tuple(found[level] for level in sorted(found))
    return sizes if sizes and list(sizes) == sorted(set(sizes)) and sizes[0] > 0 else (32 << 10, 1 << 20, 16 << 20)


def _word(index: str, name: str) -> str:
    with open(os.path.join(_CPU, index, name), encoding="ascii") as file:
        return file.read().strip()


def _processor() -> str:
    """The processor's name, which tells two machines of one kind of core apart."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line.strip() for line in file if line.startswith("model name")), platform.processor())
    except OSError:
        return platform.processor()


def _working_sets(sizes: Sequence[int]) -> list[int]:
    """For each level a number of bytes that it holds easily, and the level below does not."""
    sets = [sizes[0] // 2]
    sets += [min((below + size) // 2, _MOST_BYTES // 4) for below, size in pairwise(sizes)]
    return [*sets, _largest(sizes)]


def _largest(sizes: Sequence[int]) -> int:
    """Bytes for the main memory: more than the caches hold."""
    return max(min(4 * sizes[-1], _MOST_BYTES), 1 << 26)


def _best(run: Callable[[], object]) -> float:
    """Seconds of one run, the least of several tries of some milliseconds each."""
    start = time.perf_counter()
    run()
    count = max(1, int(_TRY_S / max(time.perf_counter() - start, 1e-9)))
    least = math.inf
    for _ in range(_TRIES):
        start = time.perf_counter()
        for _ in range(count):
            run()
        least = min(least, (time.perf_counter() - start) / count)
    return least


# -- code --------------------------------------------------------------------------------------------------------------


def _arithmetic(name: str, lanes: Type, fused: bool, every: int) -> Function:
    """``trips`` times an instruction on each of many registers, whose values are stored lest nothing be left to do.

    Args:
        fused: the processor has multiply-add.
        every: each so-manieth instruction multiplies and adds, the others add.
    """
    fn = probe(name)
    data, trips = fn.arguments[:2]
    places = [fn.element(data, Type("float"), integer(n * lanes.lanes)) for n in range(_ACCUMULATORS)]
    factor = fn.load(lanes, data, 4)

    def step(number: int, value: Value) -> Value:
        if number % every:
            return fn.binary("fadd", value, factor)
        if fused:
            return fn.elementwise("fma", factor, factor, value)
        return fn.binary("fadd", fn.binary("fmul", factor, value), factor)

    loop = fn.begin_loop(trips, [fn.load(lanes, place, 4) for place in places])
    carried = list(loop.carried)
    for _ in range(_UNROLLED):
        carried = [step(number, value) for number, value in enumerate(carried)]
    for value, place in zip(fn.end_loop(loop, carried), places, strict=True):
        fn.store(value, place, 4)
    return fn


def _over_blocks(fn: Function, lanes: Type, carried: Sequence[Value], visit: Visit) -> list[Value]:
    """``visit`` (addresses, carried) → carried, for every block of memory, again and again."""
    start, blocks, repeats = fn.arguments[:3]
    again = fn.begin_loop(repeats, carried)
    walk = fn.begin_loop(blocks, again.carried)
    offset = fn.multiply(walk.index, _UNROLLED * lanes.lanes)
    block = fn.element(start, Type("float"), offset)
    places = [fn.element(block, Type("float"), integer(n * lanes.lanes)) for n in range(_UNROLLED)]
    return fn.end_loop(again, fn.end_loop(walk, visit(places, walk.carried)))


Visit = Callable[[Sequence[Value], Sequence[Value]], list[Value]]


def _reading(lanes: Type) -> Function:
    """Sums of blocks of memory."""
    fn = probe("reading")
    zero = Value("zeroinitializer", lanes)

    def visit(places: Sequence[Value], sums: Sequence[Value]) -> list[Value]:
        return [fn.binary("fadd", value, fn.load(lanes, place, 4)) for value, place in zip(sums, places, strict=True)]

    sums = _over_blocks(fn, lanes, [zero] * _UNROLLED, visit)
    for value in sums[1:]:
        sums[0] = fn.binary("fadd", sums[0], value)
    # The memory that was read takes the sum, lest the loop be thought useless.
    fn.store(sums[0], fn.arguments[0], 4)
    return fn


def _writing(lanes: Type) -> Function:
    """Ones into blocks of memory."""
    fn = probe("writing")
    one = fn.load(lanes, fn.arguments[0], 4)

    def visit(places: Sequence[Value], carried: Sequence[Value]) -> list[Value]:
        for place in places:
            fn.store(one, place, 4)
        return list(carried)

    _over_blocks(fn, lanes, [], visit)
    return fn
