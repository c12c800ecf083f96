"""``graphc bench``, and how it times a call."""

import json
import re

import numpy as np
import pytest

import graphc as G
from graphc.artifact.runtime.spec import TensorSpec
from graphc.cli import timing
from graphc.cli.common import readable_time
from graphc.cli.subject import inputs_by_trial
from graphc.cli.timing import Timing, time_call

BENCH = ["bench", "classifier.py", "--seconds", "0.02"]


def test_every_entry_point_is_timed(graphc):
    outcome = graphc(*BENCH)
    assert outcome.code == 0
    header, _, *rows = outcome.out.splitlines()
    assert re.split(r"  +", header.strip()) == ["entry point", "median", "10%", "90%", "calls/s", "GFLOP/s", "calls"]
    assert [row.split()[0] for row in rows] == ["predict", "loss", "train"]


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_figures_as_json_belong_together(graphc, backend):
    figures = json.loads(graphc(*BENCH, "--entry", "train", "--backend", backend, "--json").out)
    assert (figures["model"], figures["backend"]) == ("classifier", backend)
    [(name, entry)] = figures["entries"].items()
    assert name == "train"
    assert 0 < entry["p10_seconds"] <= entry["median_seconds"] <= entry["p90_seconds"]
    assert entry["calls_per_second"] == pytest.approx(1 / entry["median_seconds"])
    assert entry["gflops"] == pytest.approx(entry["flops"] / entry["median_seconds"] / 1e9)
    assert entry["calls"] >= 5
    # Two products forward, and for each its two gradients but for that of the data; the rest is small.
    products = 2 * 4 * 3 * 8 * 2 + 2 * 4 * 8 * 2 * 3
    assert products < entry["flops"] < 3 * products


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_an_artifact_is_timed_too(graphc, backend):
    assert graphc("compile", "classifier.py", "--backend", backend, "-q").code == 0
    figures = json.loads(graphc("bench", "classifier", "--seconds", "0.02", "--json").out)
    assert set(figures["entries"]) == {"predict", "loss", "train"}
    assert figures["backend"] is figures["entries"]["train"]["gflops"] is None


def test_what_cannot_be_timed_is_refused(refused, graphc):
    assert "did you mean train?" in refused([*BENCH, "--entry", "trian"], 2, "E448")
    refused([*BENCH, "--seed", "-1"], 2, "E106")
    assert graphc("compile", "classifier.py", "--backend", "numpy", "-q").code == 0
    assert "too late" in refused(["bench", "classifier", "--set", "hidden=3"], 2, "E106")


# -- inputs of an artifact ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_the_limits_of_indices_are_found_by_trial(backend):
    table = G.parameter("table", shape=(7, 2))
    words, label = G.input("words", (50,), dtype="int64"), G.input("label", (50,), dtype="int8")
    scale, flags = G.input("scale", (50,)), G.input("flags", (50, 2), dtype="bool")
    count = G.input("count", (50,), dtype="int32")
    looked = G.take(table, words, axis=0) * G.expand_dims(scale, axis=1)
    picked = G.take_along_axis(looked, G.expand_dims(label, axis=1), axis=1)
    model = G.Model(f=G.sum(G.where(flags, picked, 0.0)) + G.sum(G.astype(count, "float32")))
    compiled = G.compile(model, backend=backend)
    made = inputs_by_trial(compiled.f, compiled.spec.entries[0].inputs, np.random.default_rng(0))
    assert set(made["words"]) == set(range(7))
    assert set(made["label"]) == set(made["count"]) == {0, 1}
    assert made["flags"].dtype == np.bool_
    assert abs(made["scale"]).max() > 1
    assert {name: array.dtype.name for name, array in made.items()} == {
        "words": "int64",
        "label": "int8",
        "scale": "float32",
        "flags": "bool",
        "count": "int32",
    }
    compiled.f(**made)


def test_the_halves_of_bfloat16_are_numbers():
    [made] = inputs_by_trial(
        lambda **_: None, (TensorSpec("x", "bfloat16", (100,)),), np.random.default_rng(0)
    ).values()
    values = (made.astype(np.uint32) << np.uint32(16)).view(np.float32)
    assert made.dtype == np.uint16
    assert 0.5 < values.std() < 2


# -- timing ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """A time that only passes when it is told to."""
    time = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: time[0])

    def spend(seconds):
        time[0] += seconds

    return spend


def test_a_call_is_timed_until_the_time_is_up(clock):
    found = time_call(lambda: clock(0.01), 1.0)
    assert found.calls == 80  # after two tenths of a second to warm up
    assert found.median == pytest.approx(0.01)


def test_a_slow_call_is_timed_five_times(clock):
    assert time_call(lambda: clock(10.0), 1.0).calls == 5


def test_fast_calls_are_timed_several_at_once(clock):
    found = time_call(lambda: clock(1e-7), 0.01)
    assert found.calls == 100 * len(found.samples)
    assert found.median == pytest.approx(1e-7)


def test_resets_stand_between_samples_and_are_not_timed(clock):
    told = []

    def reset():
        clock(0.5)
        told.append("reset")

    def call():
        clock(0.01)
        told.append("call")

    found = time_call(call, 3.0, reset)
    assert found.quantile(1.0) == pytest.approx(0.01)
    assert told.count("reset") == -(-found.calls // 32)
    assert told.count("call") == found.calls + told.count("reset") + 60


def test_quantiles():
    found = Timing((1.0, 2.0, 3.0, 4.0, 5.0), 5)
    assert [found.quantile(share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)] == pytest.approx([1.0, 1.4, 3.0, 4.6, 5.0])
    assert Timing((7.0,), 1).quantile(0.9) == 7.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(123.4, "123 s"), (1.5, "1.50 s"), (0.0123456, "12.3 ms"), (1e-6, "1.00 µs"), (2.5e-7, "0.25 µs")],
)
def test_times_are_readable(seconds, text):
    assert readable_time(seconds) == text
