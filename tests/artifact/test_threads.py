"""``threads=``: of a model, of an artifact, of a call; in C; with forks and threads of the caller's own."""

import multiprocessing
import os
import re
import subprocess
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.artifact.compiled import CompiledModel
from graphc.artifact.loader import load
from graphc.artifact.runtime.model import Model
from graphc.artifact.runtime.threads import available
from graphc.artifact.spec import NativeBuild
from graphc.errors import GraphcError, GraphcIndexError
from tests.artifact import samples

TEAMS = (1, 2, 3, 5)


@cache
def model() -> G.Model:
    """Words to classes: a lookup that can fail, and enough work for several threads."""
    words, labels = G.input("words", (64, 4), dtype="int64"), G.input("labels", (64,), dtype="int64")
    h = nn.Dense(256, activation="relu")(nn.Flatten()(nn.Embedding(50, 64)(words)))
    logits = nn.Dense(10)(h)
    loss = nn.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return G.Model(predict=logits, train=optim.SGD(0.1).minimize(loss))


@cache
def built() -> CompiledModel:
    return G.compile(model(), name="words")


def fresh(**options: object) -> CompiledModel:
    """The model with states of its own; compiled once."""
    made = built()
    return CompiledModel(made.module, made.build, checks={e.name: e.checks for e in made.spec.entries}, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 50, (64, 4))


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 10, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact ``words``, whose models have three threads unless told otherwise."""
    path = tmp_path_factory.mktemp("threads") / "words"
    fresh(threads=3).save(path)
    return path


def states(made: Model) -> list[bytes]:
    return [made.parameters[name].tobytes() for name in made.parameters]


# -- the number --------------------------------------------------------------------------------------------------------


def test_one_thread_unless_asked(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delenv("GRAPHC_THREADS", raising=False)
    assert fresh().threads == 1 and G.compile(model(), name="words", threads=2).threads == 2
    assert fresh(threads=0).threads == fresh(threads="auto").threads == available() >= 1
    assert load(folder).threads == 3
    monkeypatch.setenv("GRAPHC_THREADS", "5")
    assert fresh().threads == 5 and fresh(threads=2).threads == 2 and load(folder).threads == 5
    assert type(load(folder))(threads=4).threads == 4
    monkeypatch.setenv("GRAPHC_THREADS", "auto")
    assert fresh().threads == available()
    made = fresh()
    made.threads = 7
    assert made.threads == 7
    made.threads = np.int32(2)  # type: ignore[assignment]
    assert made.threads == 2


@pytest.mark.parametrize("wrong", [-1, 1025, 2.0, "two", None, True, [2]])
def test_a_wrong_number_is_refused(wrong: object, words: np.ndarray) -> None:
    made = fresh(threads=2)
    with pytest.raises(GraphcError, match="E455"):
        made.threads = wrong  # type: ignore[assignment]
    assert made.threads == 2
    if wrong is not None:
        with pytest.raises(GraphcError, match=r"predict: threads .*E455"):
            made.predict(words, threads=wrong)
        with pytest.raises(GraphcError, match="E455"):
            fresh(threads=wrong)


@pytest.mark.parametrize("text", ["-1", "many", "2.5"])
def test_a_wrong_number_in_the_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_THREADS", text)
    with pytest.raises(GraphcError, match=r"GRAPHC_THREADS .*E455"):
        fresh()
    assert fresh(threads=1).threads == 1


def test_an_artifact_for_all_processors_has_as_many_as_there_are_where_it_runs(tmp_path: Path) -> None:
    fresh(threads="auto").save(tmp_path / "words")
    assert '"threads": 0' in (tmp_path / "words" / "manifest.json").read_text()
    assert load(tmp_path / "words").threads == available()


@pytest.mark.parametrize("kind", samples.BACKENDS)
def test_models_without_the_work_take_any_number(kind: str, x: np.ndarray, y: np.ndarray) -> None:
    made, other = samples.compiled(kind), samples.compiled(kind)
    made.threads = 4
    for _ in range(3):
        assert made.train(x, y) == other.train(x, y)
    np.testing.assert_array_equal(made.predict(x, threads=2), other.predict(x, threads=None))
    build = made.build
    assert not isinstance(build, NativeBuild) or build.parallel is None


def test_an_input_may_be_called_threads() -> None:
    threads = G.input("threads", (3,))
    made = G.compile(G.Model(predict=threads * 2.0))
    np.testing.assert_array_equal(made.predict(threads=np.arange(3, dtype=np.float32)), [0, 2, 4])


def test_a_misspelt_keyword_is_guessed(words: np.ndarray) -> None:
    with pytest.raises(GraphcError, match=r"no input 'thread'.*did you mean threads"):
        fresh().predict(words, thread=2)


# -- the result --------------------------------------------------------------------------------------------------------


def test_the_result_does_not_depend_on_it(words: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    made = built().build
    assert isinstance(made, NativeBuild) and made.parallel is not None
    outcomes = []
    for threads in TEAMS:
        for candidate in (fresh(threads=threads), type(load(folder))(threads=threads)):
            losses = [candidate.train(words, labels).tobytes() for _ in range(3)]
            outcomes.append((losses, candidate.predict(words).tobytes(), states(candidate)))
    candidate = fresh()
    losses = [candidate.train(words, labels, threads=threads).tobytes() for threads in (4, 1, 2)]
    outcomes.append((losses, candidate.predict(words, threads=2).tobytes(), states(candidate)))
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize("threads", TEAMS)
def test_an_index_out_of_range_changes_nothing(threads: int, words: np.ndarray, labels: np.ndarray) -> None:
    made = fresh(threads=threads)
    before = states(made)
    wrong = words.copy()
    wrong[7, 2], wrong[9, 1] = 50, -3
    with pytest.raises(GraphcIndexError, match=r"index 50 at position 30 is outside \[0, 50\)"):
        made.train(wrong, labels)
    with pytest.raises(GraphcIndexError, match="index 50 at position 30"):
        made.predict(wrong)
    assert states(made) == before
    assert made.predict(words).tobytes() == fresh().predict(words).tobytes()


def test_callers_side_by_side(words: np.ndarray, labels: np.ndarray) -> None:
    made, reference = fresh(threads=3), fresh()
    seen = {reference.predict(words).tobytes()}
    for _ in range(30):
        reference.train(words, labels)
        seen.add(reference.predict(words).tobytes())
    found: set[bytes] = set()
    faults: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                found.add(made.predict(words).tobytes())
        except BaseException as fault:
            faults.append(fault)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        made.train(words, labels)
    stop.set()
    for reader in readers:
        reader.join(timeout=60)
        assert not reader.is_alive()
    assert not faults and found <= seen
    assert states(made) == states(reference)


# -- processes ---------------------------------------------------------------------------------------------------------


def _predicted(words: np.ndarray) -> bytes:
    return _shared.predict(words).tobytes()


_shared: CompiledModel


def test_workers_of_multiprocessing(words: np.ndarray) -> None:
    """The children inherit a model that has run on threads, and make threads of their own."""
    global _shared
    _shared = fresh(threads=2)
    expected = _shared.predict(words).tobytes()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        result = pool.map_async(_predicted, [words] * 12)
        assert result.get(timeout=60) == [expected] * 12
    assert _shared.predict(words).tobytes() == expected


_SCRIPT = """
import os, sys, threading, time
import numpy as np
sys.path.insert(0, sys.argv[1])
import words
x = np.zeros((64, 4), np.int64)
m = words.Model(threads=3)
m.predict(x)
assert len(os.listdir("/proc/self/task")) >= 3
"""

_ENDINGS = {
    "falls off": "",
    "exits": "sys.exit(0)",
    "asleep": "time.sleep(0.05)",
    "drops the model": "del m, words; import gc; gc.collect()",
    "busy daemon": """
def run():
    while True:
        m.predict(x)
threading.Thread(target=run, daemon=True).start()
time.sleep(0.05)
""",
    "at exit": "import atexit; atexit.register(m.predict, x)",
    "child": """
child = os.fork()
m.predict(x)
if child:
    assert os.waitpid(child, 0)[1] == 0
""",
}


@pytest.mark.parametrize("ending", _ENDINGS)
def test_a_process_ends_whatever_its_threads_do(
    ending: str, folder: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = python(_SCRIPT + _ENDINGS[ending], folder.parent)
    assert done.returncode == 0 and done.stderr == ""


def test_a_process_ends_that_compiled_its_model(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = python(
        "import numpy as np, graphc as G\n"
        "from graphc import nn\n"
        "m = G.compile(G.Model(predict=nn.Dense(512)(G.input('x', (64, 256)))), threads=3)\n"
        "m.predict(np.zeros((64, 256), np.float32))\n"
        "import os; assert len(os.listdir('/proc/self/task')) >= 3\n"
    )
    assert done.returncode == 0 and done.stderr == ""


# -- the shared object -------------------------------------------------------------------------------------------------


def test_it_needs_the_c_library_and_nothing_else(folder: Path) -> None:
    data = (folder / "words.so").read_bytes()
    names = {name.decode() for name in re.findall(rb"lib[a-z]+\.so\.[0-9]+", data)}
    assert names == {"libc.so.6", "libm.so.6"}


def test_the_header_names_what_the_object_exports(folder: Path) -> None:
    header, data = (folder / "words.h").read_text(), (folder / "words.so").read_bytes()
    for symbol in ("words_parallel", "words_end_threads"):
        assert symbol in header and symbol.encode() in data
    assert "static inline int32_t words_parallel" not in header
    assert os.path.getsize(folder / "words.so") < 60_000
