"""Code that times itself: it computes the same, and counts every call."""

import itertools

import numpy as np
import pytest

import graphc as G
from graphc import driver
from graphc.backends.llvm import peaks, profile
from graphc.backends.llvm.host import host_target
from graphc.config import Options
from graphc.errors import GraphcIndexError, UnsupportedOp
from graphc.kernel.cost import calls_with_working_sets
from graphc.kernel.program import Call
from graphc.kernel.target import Target

STEPS = 12
X = np.random.default_rng(0).standard_normal((STEPS, 4, 8)).astype(np.float32)
Y = np.array([0, 1, 2, 1])


def model():
    x, y = G.input("x", (STEPS, 4, 8)), G.input("y", (4,), dtype="int64")
    w, u = G.parameter("w", shape=(8, 8)), G.parameter("u", shape=(8, 8))
    h = G.zeros((4, 8))
    for step in range(STEPS):
        h = G.tanh(x[step] @ w + h @ u)
    picked = G.take_along_axis(h, G.expand_dims(y, axis=1), axis=1)
    loss = G.mean(picked)
    dw, du = G.grad(loss, [w, u])
    return G.Model(predict=h, train=G.Step(loss, [(w, w - 0.1 * dw), (u, u - 0.1 * du)], training=True))


def profiled(entry="train", **options):
    return driver.profile(model().module, entry, Options(**options))


def runs_by_kernel(program, entry):
    """Kernel → how often a call runs it, from the program."""
    counts = {}
    for step, runs, _ in calls_with_working_sets(program, program.entries[entry]):
        name = program.kernels[step.kernel].name if isinstance(step, Call) else "copy"
        counts[name] = counts.get(name, 0) + runs
    return counts


@pytest.mark.parametrize("disable", [(), ("roll",)], ids=["loops", "straight line"])
def test_each_call_is_counted_and_the_result_is_the_same(disable, monkeypatch):
    if disable:  # a stretch of calls as a table
        monkeypatch.setattr("graphc.backends.llvm.entry._TABLE_LENGTH", 5)
    timed, counters = profiled(disable=disable)
    plain = G.compile(model(), disable=disable)
    for _ in range(3):
        np.testing.assert_array_equal(timed.train(X, Y), plain.train(X, Y))
    np.testing.assert_array_equal(timed.parameters["w"], plain.parameters["w"])
    counted = {}
    for site, (ticks, runs) in zip(counters.sites, counters.read(), strict=True):
        assert ticks > 0
        assert runs > 0
        step = site.steps[0]
        name = counters.program.kernels[step.kernel].name if isinstance(step, Call) else "copy"
        if site.kind == "pack":
            assert site.nbytes > 0
        else:
            counted[name] = counted.get(name, 0) + runs
    assert counted == {name: 3 * runs for name, runs in runs_by_kernel(counters.program, "train").items()}
    counters.reset()
    assert counters.read() == [(0, 0)] * len(counters.sites)


def test_a_site_knows_the_line_it_comes_from():
    _, counters = profiled("predict")
    lines = {step.location.line for site in counters.sites for step in site.steps if isinstance(step, Call)}
    source = model.__code__.co_firstlineno
    assert {line - source for line in lines} <= {3, 5}


def test_it_is_not_saved_and_keeps_what_it_counts_in(tmp_path):
    timed, counters = profiled("predict")
    with pytest.raises(UnsupportedOp, match="cannot be saved"):
        timed.save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []
    assert any(isinstance(part, np.ndarray) for part in counters.build.owner)


def test_a_failing_check_fails_as_ever():
    timed, counters = profiled()
    with pytest.raises(GraphcIndexError, match=r"index 8 at position 2 is outside \[0, 8\)"):
        timed.train(X, np.array([0, 1, 8, 1]))
    assert sum(runs for _, runs in counters.read()) >= 1


def test_calls_beyond_the_limit_run_without_being_counted(monkeypatch):
    monkeypatch.setattr(profile, "_MOST_SITES", 2)
    timed, counters = profiled("predict")
    np.testing.assert_array_equal(timed.predict(X), G.compile(model()).predict(X))
    assert len(counters.sites) == len(counters.read()) == 2


def test_the_tick_goes_forward_and_an_empty_function_costs_little():
    _, counters = profiled("predict")
    ticks = [counters.now() for _ in range(100)]
    assert all(before < after for before, after in itertools.pairwise(ticks))
    assert 0 <= counters.empty_ticks < 2000


def test_a_processor_without_a_counter_is_refused():
    target = Target("riscv64-unknown-linux-gnu", "generic", "", 128, 32, has_fma=True, has_half_conversion=True)
    with pytest.raises(UnsupportedOp, match="riscv64"):
        profile._counter(target)
    assert profile._counter(Target("aarch64-apple-darwin", "x", "", 128, 32, True, True)) == "readsteadycounter"


def test_a_backend_without_kernels_is_refused():
    with pytest.raises(UnsupportedOp, match="the backend numpy does not time kernels"):
        driver.profile(model().module, "predict", Options(backend="numpy"))


def test_the_machine_is_measured():
    machine = peaks.machine()
    assert machine.flops > 1e8
    assert machine.slots >= machine.flops / 2
    assert [level.nbytes for level in machine.levels] == [*peaks.cache_bytes(), float("inf")]
    assert all(level.read > 1e7 and level.write > 1e7 for level in machine.levels)
    assert machine.level(0) is machine.levels[0]


def test_instruction_counts_are_those_of_the_code():
    instructions, products = peaks.instruction_counts(host_target())
    for op in ("exp", "log", "tanh", "sigmoid", "erf", "sin"):
        assert 5 < products[op] < instructions[op] < 80, op
    assert "add" not in instructions


def test_the_caches_are_those_of_the_system_or_usual_ones(monkeypatch, tmp_path):
    def write(index, level, kind, size):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n", encoding="ascii")

    monkeypatch.setattr(peaks, "_CPU", str(tmp_path))
    sizes = peaks.cache_bytes.__wrapped__
    assert sizes() == (32 << 10, 1 << 20, 16 << 20)
    write(0, 1, "Data", "48K")
    write(1, 1, "Instruction", "32K")
    write(2, 2, "Unified", "2M")
    assert sizes() == (48 << 10, 2 << 20)
    write(3, 3, "Unified", "nonsense")
    assert sizes() == (32 << 10, 1 << 20, 16 << 20)
