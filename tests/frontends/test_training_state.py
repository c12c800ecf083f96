"""Weights, optimizer state and data: resuming, sharing, files, streams, memory maps, Ctrl-C."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.frontends.dsl.session import graph
from graphc.frontends.nn.callbacks import LambdaCallback
from graphc.frontends.nn.normalization import BatchNormalization
from graphc.nn import Dense, Dropout, Sequential

RANDOM = np.random.default_rng(0)
X = RANDOM.random((26, 6), dtype=np.float32)
Y = (X.sum(1) > 3).astype(np.int64)


def network(optimizer: Any = None, backend: str = "numpy") -> Sequential:
    """A network whose layers are called the same every time: initial weights depend on the names."""
    with graph():
        return network_in_the_present_graph(optimizer, backend)


def network_in_the_present_graph(optimizer: Any = None, backend: str = "numpy") -> Sequential:
    layers = [Dense(8, activation="relu", input_shape=(6,)), BatchNormalization(), Dropout(0.3), Dense(2)]
    model = Sequential(layers)
    model.compile(
        optimizer or optim.Adam(0.01),
        lambda t, p: nn.losses.sparse_categorical_crossentropy(t, p, from_logits=True),
        ["accuracy"],
        backend=backend,
    )
    return model


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, backend: str) -> None:
    whole = network(backend=backend)
    expected = whole.fit(X, Y, batch_size=8, epochs=4)
    first = network(backend=backend)
    first.fit(X, Y, batch_size=8, epochs=2)
    first.save_weights(tmp_path / "half.safetensors")
    # Layers that are numbered on, in a process with other networks, take the weights all the same.
    older = network_in_the_present_graph()
    second = network_in_the_present_graph(backend=backend)
    assert older.states[0].name != second.states[0].name
    second.load_weights(tmp_path / "half.safetensors")
    resumed = second.fit(X, Y, batch_size=8, epochs=4, initial_epoch=2)
    assert resumed.epoch == [2, 3]
    for name, values in expected.history.items():
        assert resumed.history[name] == values[2:]
    for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()
    # The optimizer's state, too: not only the weights are as they would have been.
    whole.fit(X, Y, epochs=1)
    second.fit(X, Y, epochs=1)
    assert whole.get_weights()[0].tobytes() == second.get_weights()[0].tobytes()


OPTIMIZERS = {
    "sgd": lambda: optim.SGD(0.05),
    "momentum": lambda: optim.SGD(optim.schedules.CosineDecay(0.05, 10), momentum=0.9, nesterov=True),
    "adam": lambda: optim.Adam(optim.schedules.ExponentialDecay(0.01, 2, 0.8), clipnorm=0.5),
    "adamw": lambda: optim.AdamW(0.01, weight_decay=0.1),
    "adagrad": lambda: optim.Adagrad(0.05, global_clipnorm=1.0),
    "rmsprop": lambda: optim.RMSprop(0.01, momentum=0.5, centered=True, clipvalue=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_resumes_with_random_numbers_and_statistics(tmp_path: Path, name: str) -> None:
    """Dropout of inputs, states and channels, noise, statistics, constraints: all that a step reads and writes."""
    x, y = RANDOM.random((22, 4, 3)).astype(np.float32), RANDOM.integers(0, 2, 22)

    def recurrent() -> Sequential:
        with graph():
            layers = [
                nn.GaussianNoise(0.1, input_shape=(4, 3)),
                nn.GRU(4, dropout=0.2, recurrent_dropout=0.2, return_sequences=True, kernel_constraint="max_norm"),
                nn.SpatialDropout1D(0.2),
                nn.BatchNormalization(),
                nn.GlobalAveragePooling1D(),
                nn.AlphaDropout(0.1),
                Dense(1, "sigmoid", kernel_regularizer="l2"),
            ]
            model = Sequential(layers, seed=3)
            model.compile(OPTIMIZERS[name](), "binary_crossentropy", backend="numpy")
            return model

    whole, first, second = recurrent(), recurrent(), recurrent()
    expected = whole.fit(x, y, batch_size=8, epochs=4, seed=5, class_weight={1: 2.0})
    first.fit(x, y, batch_size=8, epochs=2, seed=5, class_weight={1: 2.0})
    first.save_weights(tmp_path / "half.safetensors")
    second.load_weights(tmp_path / "half.safetensors")
    resumed = second.fit(x, y, batch_size=8, epochs=4, initial_epoch=2, seed=5, class_weight={1: 2.0})
    assert resumed.history["loss"] == expected.history["loss"][2:]
    whole.save_weights(tmp_path / "whole.safetensors")
    second.save_weights(tmp_path / "second.safetensors")
    # Every variable, slots and counters included.
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


def test_all_batch_sizes_share_one_state() -> None:
    model = network("sgd")
    model.fit(X, Y, batch_size=8)  # batches of 8 and of 2
    before = model.predict(X, batch_size=5)
    np.testing.assert_array_equal(before, model.predict(X, batch_size=5))
    model.train_on_batch(X[:3], Y[:3])
    after = model.predict(X, batch_size=26)
    assert not np.allclose(before, after, atol=1e-7)
    np.testing.assert_allclose(after, model.predict(X, batch_size=7), atol=1e-6)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    model = network()
    model.fit(X, Y)
    path = tmp_path / "w.safetensors"
    model.save_weights(path)
    wider = Sequential([Dense(9, input_shape=(6,)), BatchNormalization(), Dense(2)])
    with pytest.raises(G.GraphcValueError) as caught:
        wider.load_weights(path)
    assert caught.value.code == "E566"
    other = network("sgd")
    other.load_weights(path)
    with pytest.raises(G.GraphcValueError, match="adam/"):
        other.fit(X, Y)
    other = network("sgd")
    other.load_weights(path, optimizer=False)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    other.fit(X, Y)


def test_compiling_again_keeps_the_weights_and_forgets_the_optimizer() -> None:
    model = network()
    model.fit(X, Y, epochs=2)
    weights = model.get_weights()
    model.compile("sgd", "sparse_categorical_crossentropy", backend="numpy")
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer is not None
    assert model.optimizer.name == "sgd"


def test_an_exported_network_runs_as_the_network_does(tmp_path: Path) -> None:
    model = network()
    model.fit(X, Y, batch_size=13)
    folder = model.export(tmp_path / "exported")
    loaded = G.load(folder)
    np.testing.assert_array_equal(loaded.predict(X[:13]), model.predict(X[:13]))
    figures = loaded.train(X[:13], Y[:13])
    assert figures["loss"] == np.float32(model.train_on_batch(X[:13], Y[:13], return_dict=True)["loss"])


def batches() -> Iterator[tuple[Any, Any]]:
    for start in range(0, 24, 8):
        yield X[start : start + 8], Y[start : start + 8]


def test_batches_from_iterables_and_iterators() -> None:
    plain, lists, generator = network(), network(), network()
    expected = plain.fit(X[:24], Y[:24], batch_size=8, epochs=2, shuffle=False)

    class Loader:
        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            return batches()

    assert lists.fit(Loader(), epochs=2).history == expected.history

    def endless() -> Iterator[tuple[Any, Any]]:
        while True:
            yield from batches()

    assert generator.fit(endless(), epochs=2, steps_per_epoch=3).history == expected.history
    assert lists.evaluate(Loader()) == plain.evaluate(X[:24], Y[:24], batch_size=8)
    with pytest.raises(G.GraphcValueError, match="the data ended before epoch 2"):
        generator.fit(batches(), epochs=2)


def test_memory_mapped_arrays_are_read_batch_by_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", X.astype(np.float64))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    read: list[int] = []

    from graphc.frontends.nn.training import data

    converted = data.converted

    def counting(array: Any, dtype: Any, owner: str) -> Any:
        read.append(len(array))
        return converted(array, dtype, owner)

    monkeypatch.setattr("graphc.frontends.nn.training.engine.converted", counting)
    plain, other = network(), network()
    history = other.fit(mapped, Y, batch_size=4, validation_split=0.2)
    assert max(read) == 4
    assert history.history == plain.fit(X, Y, batch_size=4, validation_split=0.2).history
    # The arrays that batches are cut from are views of the file.
    source = data.make_source(mapped, Y, data.Names(("x",), ("y",), ("w",)))
    assert np.shares_memory(source._arrays.inputs[0], mapped)  # type: ignore[union-attr]


def test_data_larger_than_memory(tmp_path: Path) -> None:
    """A file with holes, as long as twice the memory: what no batch needs is never read."""
    import resource

    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    sample = 256 * 1024
    count = 2 * pages * size // (4 * sample)
    path = tmp_path / "large.dat"
    with path.open("wb") as file:
        file.truncate(count * sample * 4)
    mapped = np.memmap(path, np.float32, "r", shape=(count, 256, 1024))
    with graph():
        model = Sequential([nn.GlobalAveragePooling1D(input_shape=(256, 1024)), Dense(1)])
        model.compile("sgd", "mse", backend="numpy")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    history = model.fit(
        mapped, np.ones(count), batch_size=4, epochs=2, steps_per_epoch=5, validation_split=0.5, validation_steps=2
    )
    assert model.evaluate(mapped, np.ones(count), batch_size=4, steps=2) < history.history["loss"][0]
    assert model.predict(mapped, batch_size=4, steps=3).shape == (12, 1)
    assert history.params["steps"] == 5
    # Kilobytes: the numbers of the samples, and some batches of four megabytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_whole_numbers_only_where_integers_are_wanted() -> None:
    model = Sequential([nn.Embedding(5, 3, input_length=2), nn.Flatten()])
    np.testing.assert_array_equal(model.predict([[1.0, 2.0]]), model.predict([[1, 2]]))
    with pytest.raises(G.GraphcTypeError, match="whole numbers"):
        model.predict([[1.5, 2.0]])


def test_interrupting_ends_after_the_step_and_keeps_what_was_learned() -> None:
    model = network()
    steps: list[int] = []

    def interrupt(batch: int, logs: dict[str, float]) -> None:
        steps.append(batch)
        if batch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    start = model.get_weights()
    history = model.fit(X, Y, batch_size=8, epochs=5, callbacks=[LambdaCallback(on_train_batch_begin=interrupt)])
    assert history.interrupted
    assert steps == [0, 1]
    assert signal.getsignal(signal.SIGINT) is before
    assert not np.array_equal(start[0], model.get_weights()[0])
    reference = network()
    reference.fit(X, Y, batch_size=8, epochs=1, callbacks=[LambdaCallback(on_train_batch_begin=interrupt)])
    np.testing.assert_array_equal(reference.get_weights()[0], model.get_weights()[0])


class _Twins:
    """Two variables that every step writes, a kilometre apart in the source."""

    def __init__(self, backend: str) -> None:
        with graph():
            one = G.state("one", np.float32(0))
            rest = [G.state(f"rest_{number}", np.zeros(2000, np.float32)) for number in range(40)]
            last = G.state("two", np.float32(0))
            updates = [(one, one + 1), *((other, other + one) for other in rest), (last, last + 1)]
            self.model = G.compile(G.Model(count=G.Step(one, updates)), backend=backend)

    def values(self) -> tuple[float, float]:
        return float(self.model.parameters["one"]), float(self.model.parameters["two"])


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_ctrl_c_does_not_leave_half_a_step(backend: str) -> None:
    twins = _Twins(backend)
    interrupted = 0
    random = np.random.default_rng(0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _ in range(60):
            timer = threading.Timer(float(random.uniform(0, 0.004)), os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                deadline = time.monotonic() + 5
                while time.monotonic() < deadline:
                    twins.model.count()
            except KeyboardInterrupt:
                interrupted += 1
            timer.join()
            assert len(set(twins.values())) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupted == 60
    assert twins.values()[0] > 60


def test_seeds_decide_weights_and_order() -> None:
    made = [Sequential([Dense(3, input_shape=(6,), name=f"d{seed}")], seed=seed).get_weights()[0] for seed in (0, 1)]
    assert not np.array_equal(*made)
    runs = []
    for seed in (0, 0, 1):
        model = network("sgd")
        model.fit(X, Y, batch_size=8, seed=seed)
        runs.append(model.get_weights()[0])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
