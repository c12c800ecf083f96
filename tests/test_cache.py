"""The compile cache: a model from it differs from a compiled one in nothing but the time it took."""

import dataclasses
import functools
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import graphc as G
import graphc.cache
from graphc.artifact.profile import Profiler
from graphc.backends.llvm import backend as llvm_backend
from graphc.backends.llvm.record import decode, encode
from graphc.errors import GraphcError, GraphcIndexError
from graphc.ir.printer import print_module
from graphc.kernel.cost import Level, Machine

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a cache that is on."""
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GRAPHC_DEBUG")
    # Whoever edits graphc while the tests run shall not turn the cache off.
    monkeypatch.setattr(graphc.cache, "_LOADED", float("inf"))
    return tmp_path / "cache"


def classifier(hidden=6, rate=0.1):
    """A recurrent classifier with a training step, an index check and a formula of its own."""
    import sympy

    s = sympy.Symbol("s")
    x = G.input("x", (5, 4, 3))
    y = G.input("y", (4,), dtype="int64")
    w = G.parameter("w", shape=(3, hidden))
    u = G.parameter("u", shape=(hidden, hidden))
    v = G.parameter("v", shape=(hidden, 2))
    bend = G.pointwise("bend", s / (1 + sympy.Abs(s)))
    h = G.zeros((4, hidden))
    for step in range(5):
        h = bend(x[step] @ w + h @ u)
    scores = h @ v
    chosen = G.take_along_axis(G.log_softmax(scores, axis=-1), G.expand_dims(y, axis=1), axis=1)
    loss = -G.mean(chosen)
    gradients = G.grad(loss, [w, u, v])
    step = G.Step(loss, [(p, p - rate * g) for p, g in zip([w, u, v], gradients, strict=True)], training=True)
    return G.Model(predict=scores, loss=loss, train=step)


def small(factor=2.0):
    # In a graph of its own: in a shared one the factor may be there already, and then stands before the input.
    with G.graph():
        return G.Model(f=G.tanh(G.input("x", (3,)) * factor))


X = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
Y = np.array([0, 1, 1, 0])
ONES = np.ones(3, np.float32)


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def entries(folder):
    return sorted(folder.glob("*.entry"))


# -- a hit is like a miss ----------------------------------------------------------------------------------------------


def observed(compiled, folder):
    """All that can be seen of a compiled model, as values to compare."""
    with pytest.raises(GraphcIndexError) as refused:
        compiled.loss(X, np.array([0, 2, 1, 0]))
    seen = {
        "refused": str(refused.value),
        "source": compiled.source,
        "spec": compiled.spec,
        "module": print_module(compiled.module),
        "states": {name: (state.role, state.trainable) for name, state in compiled.module.states.items()},
        "passes": compiled.compilation.passes,
        "exports": dict(compiled.build.exports),
        "arena": compiled.build.arena_bytes,
        "target": compiled.build.target,
        "record": compiled.build.record(),
        "repr": repr(compiled),
        "parameters": {name: array.tobytes() for name, array in compiled.parameters.items()},
        "files": files(Path(compiled.save(folder / "saved", force=True))),
        "predict": compiled.predict(X).tobytes(),
        "train": [compiled.train(X, Y).tobytes() for _ in range(3)],
        "trained": {name: array.tobytes() for name, array in compiled.parameters.items()},
    }
    return seen


def test_everything_that_can_be_observed_is_the_same(folder, tmp_path, monkeypatch):
    missed = G.compile(classifier(), seed=3)
    hit = G.compile(classifier(), seed=3)
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    plain = G.compile(classifier(), seed=3)
    assert [one.compilation.cache for one in (missed, hit, plain)] == ["miss", "hit", "off: GRAPHC_CACHE"]
    expected = observed(plain, tmp_path)
    for what, found in (("miss", observed(missed, tmp_path)), ("hit", observed(hit, tmp_path))):
        for key, value in expected.items():
            assert found[key] == value, (what, key)


def test_a_hit_does_none_of_the_work(folder, monkeypatch):
    G.compile(small())
    monkeypatch.setattr("graphc.driver.run_pipeline", None)
    monkeypatch.setattr(llvm_backend, "compile_program", None)
    hit = G.compile(small())
    assert hit.compilation.cache == "hit"
    assert set(hit.compilation.seconds) == {"import", "bind", "cache", "load", "initial values", "other"}
    np.testing.assert_array_equal(hit.f(ONES), G.compile(small()).f(ONES))


def test_an_observer_is_told_of_every_pass_on_a_hit_too(folder):
    reports = [[], []]
    for told in reports:
        compiled = G.compile(classifier(), observer=told.append)
    assert compiled.compilation.cache == "hit"
    assert [(r.name, r.before, r.after, r.changed) for r in reports[0]] == [
        (r.name, r.before, r.after, r.changed) for r in reports[1]
    ]
    assert len(reports[0]) == len(compiled.compilation.passes)


def test_models_from_one_entry_have_states_of_their_own(folder):
    G.compile(classifier())
    one, other = G.compile(classifier(), seed=1), G.compile(classifier(), seed=2)
    assert one.compilation.cache == other.compilation.cache == "hit"
    assert not np.array_equal(one.parameters["w"], other.parameters["w"])
    before = other.parameters["w"].copy()
    one.train(X, Y)
    np.testing.assert_array_equal(other.parameters["w"], before)
    shared = G.compile(classifier(), states_of=one)
    assert shared.compilation.cache == "hit"
    np.testing.assert_array_equal(shared.parameters["w"], one.parameters["w"])


def test_a_record_holds_every_field_of_the_code():
    made = G.compile(classifier())
    native = decode(made.build.record())
    assert decode(encode(native)) == native
    # A field that JSON changed (a tuple, say) would make a model from the cache another one.
    for field in dataclasses.fields(native):
        value = getattr(native, field.name)
        assert not isinstance(value, list), field.name
    with pytest.raises(ValueError, match="no code"):
        decode(b"nothing of the kind")
    with pytest.raises(ValueError, match="no code"):
        decode(made.build.record()[:-10])


# -- what makes a difference -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"cpu": "x86-64"}, {"fast_math": True}, {"disable": ["fuse"]}, {"name": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_an_option_of_the_code_makes_a_difference(folder, change):
    G.compile(small())
    assert G.compile(small(), **change).compilation.cache == "miss"
    assert G.compile(small(), **change).compilation.cache == "hit"
    assert len(entries(folder)) == 2


def test_the_seed_of_initial_values_makes_none(folder):
    G.compile(small())
    assert G.compile(small(), seed=7).compilation.cache == "hit"


def test_the_model_makes_a_difference(folder):
    G.compile(small())
    other = G.compile(small(factor=3.0))
    assert other.compilation.cache == "miss"
    np.testing.assert_allclose(other.f(ONES), np.tanh(3.0), rtol=1e-6)


def test_a_dimension_makes_a_difference(folder):
    model = G.Model(f=G.input("x", ("n",)) * 2)
    for size in (3, 4):
        compiled = G.compile(model, dims={"n": size})
        assert compiled.compilation.cache == "miss"
        assert compiled.f(np.ones(size, np.float32)).shape == (size,)


def test_source_that_changed_while_it_ran_keeps_nothing(folder, monkeypatch):
    graphc.cache._source_digest.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(graphc.cache, "_LOADED", 0.0)
        assert "has changed since it was loaded" in G.compile(small()).compilation.cache
    graphc.cache._source_digest.cache_clear()
    assert entries(folder) == []


def test_the_source_makes_a_difference(folder, monkeypatch):
    G.compile(small())
    found = graphc.cache._source_digest("graphc.backends.llvm.backend")
    assert len(found) == 64
    monkeypatch.setattr(graphc.cache, "_source_digest", functools.partial(str))
    assert G.compile(small()).compilation.cache == "miss"


def test_an_unknown_option_is_refused_as_ever(folder):
    with pytest.raises(GraphcError, match="did you mean avx2"):
        G.compile(small(), cpu="avx3")
    with pytest.raises(GraphcError, match="no pass is called"):
        G.compile(small(), disable=["fuze"])
    assert entries(folder) == []


# -- what is in the way ------------------------------------------------------------------------------------------------


def rebuilt(folder, match):
    """Compile: the entry is not used, which is said, and a new one is made."""
    with pytest.warns(RuntimeWarning, match=match):
        compiled = G.compile(small())
    assert compiled.compilation.cache == "miss"
    np.testing.assert_allclose(compiled.f(ONES), np.tanh(2.0), rtol=1e-6)
    assert G.compile(small()).compilation.cache == "hit"
    assert len(entries(folder)) == 1


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "future", "other"])
def test_a_damaged_entry_is_told_of_and_rebuilt(folder, damage):
    G.compile(small())
    [path] = entries(folder)
    data = bytearray(path.read_bytes())
    if damage == "empty":
        data.clear()
    elif damage == "half":
        del data[len(data) // 2 :]
    elif damage == "flipped":
        data[len(data) // 2] ^= 4
    elif damage == "future":
        data[8] += 1
    else:
        data[:8] = b"\x7fELF\2\1\1\0"
    path.write_bytes(data)
    rebuilt(folder, "cache entry .* is not used")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 40,
        (2).to_bytes(8, "little") + b"{}code",
        (2).to_bytes(8, "little") + b"[]code",
        (28).to_bytes(8, "little") + b'{"passes": 1, "checks": {}}  code',
        (34).to_bytes(8, "little") + b'{"passes": [{"a": 1}], "checks": 1}code',
        (28).to_bytes(8, "little") + b'{"passes": [], "checks": {}} no code',
    ],
)
def test_an_entry_that_holds_something_else_is_told_of_and_rebuilt(folder, payload, monkeypatch):
    places = []
    write = graphc.cache.Place.write
    monkeypatch.setattr(
        graphc.cache.Place, "write", lambda place, record: (places.append(place), write(place, record))[1]
    )
    G.compile(small())
    [place] = places
    assert place.store.write(place.key, payload) is None
    rebuilt(folder, "is not used")


def quiet(expected):
    """Compile without a word, though the cache is not used."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = G.compile(small())
    assert expected in compiled.compilation.cache
    np.testing.assert_allclose(compiled.f(ONES), np.tanh(2.0), rtol=1e-6)


def test_a_folder_that_others_may_write_is_not_used(folder):
    folder.mkdir()
    folder.chmod(0o777)
    quiet("off: others than you may write")
    assert entries(folder) == []


def test_a_link_is_not_used(folder, tmp_path):
    (tmp_path / "target").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "target")
    quiet("is a link")
    assert not list((tmp_path / "target").iterdir())


def test_a_file_in_the_place_of_the_folder_is_not_used(folder):
    folder.touch()
    quiet("off: ")


def test_a_folder_that_cannot_be_written_is_only_read(folder, monkeypatch):
    G.compile(small())

    def refuse(*_arguments, **_named):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    monkeypatch.setattr("os.utime", refuse)
    quiet("hit")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "not kept: " in G.compile(small(3.0)).compilation.cache


def test_a_note_says_so_where_it_is_asked_for(folder, monkeypatch, capsys):
    folder.touch()
    monkeypatch.setenv("GRAPHC_DEBUG", "time")
    G.compile(small())
    assert "cache: off: " in capsys.readouterr().err


def test_whoever_wants_to_see_the_work_sees_it(folder, monkeypatch, tmp_path):
    G.compile(small())
    monkeypatch.setenv("GRAPHC_DEBUG_DIR", str(tmp_path / "dump"))
    for word in ("verify", "dump"):
        monkeypatch.setenv("GRAPHC_DEBUG", word)
        assert G.compile(small()).compilation.cache == "off: GRAPHC_DEBUG"
    assert (tmp_path / "dump" / "module" / "09-emit.ll").is_file()


def test_a_backend_without_need_of_it_does_not_use_it(folder):
    assert "no need of it" in G.compile(small(), backend="numpy").compilation.cache
    assert not folder.exists()


COMPILES = """
import sys, warnings
import numpy as np
warnings.simplefilter("error")
import graphc as G
from graphc.cli import main
ones = np.ones(3, "float32")
outcomes = []
for turn in range(8):
    for factor in (1.0, 2.0, 3.0):
        compiled = G.compile(G.Model(f=G.tanh(G.input("x", (3,)) * factor)))
        np.testing.assert_allclose(compiled.f(ones), np.tanh(factor), rtol=1e-6)
        outcomes.append(compiled.compilation.cache)
    if turn % 3 == int(sys.argv[1]):
        assert main(["cache", "--clear", "-q"]) == 0
assert set(outcomes) <= {"hit", "miss"}, outcomes
"""


def test_processes_that_compile_and_clear_at_once_do_not_meet(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([sys.executable, "-c", COMPILES, turn], env=environment, stderr=subprocess.PIPE, text=True)
        for turn in "012"
    ]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")


# -- the machine's limits ----------------------------------------------------------------------------------------------


def test_the_machine_is_measured_once(folder):
    machine = Machine(1e9, 2e9, (Level(1024, 3.0, 2.0), Level(float("inf"), 1.0, 0.5)), {"exp": 20.0}, {"exp": 11.0})
    measured = []

    def measure():
        measured.append(1)
        return machine

    measure.__module__ = "graphc.backends.llvm.peaks"
    profiler = Profiler(lambda: None, measure, lambda: "this one")
    assert graphc.cache.machine_of(profiler) == machine
    assert graphc.cache.machine_of(profiler) == machine
    assert len(measured) == 1
    assert graphc.cache.machine_of(profiler, again=True) == machine
    assert len(measured) == 2
    [path] = entries(folder)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match="cut off"):
        assert graphc.cache.machine_of(profiler) == machine
    assert len(measured) == 3
