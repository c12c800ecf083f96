"""Callbacks, histories and the progress bar."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import optim
from graphc.frontends.nn.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from graphc.frontends.nn.training.progress import Progress
from graphc.nn import Dense, History, Sequential

X = np.random.default_rng(0).random((16, 3), dtype=np.float32)
Y = X @ np.array([1.0, -2.0, 0.5], dtype=np.float32)


def network(rate: Any = 0.1) -> Sequential:
    model = Sequential([Dense(1, input_shape=(3,))])
    model.compile(optim.SGD(rate), "mse", ["mae"], backend="numpy")
    return model


class Scripted(Callback):
    """Puts given values into the logs."""

    def __init__(self, name: str, values: list[float]) -> None:
        super().__init__()
        self.name, self.values = name, values

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        logs[self.name] = self.values[epoch]


def test_early_stopping_takes_the_best_weights_back() -> None:
    model = network()
    seen: list[Any] = []
    stopping = EarlyStopping("score", patience=2, mode="max", restore_best_weights=True)
    watch = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(model.get_weights()[0]))
    history = model.fit(X, Y, epochs=9, callbacks=[Scripted("score", [1, 3, 2, 2.5, 9, 9, 9, 9, 9]), watch, stopping])
    assert history.epoch == [0, 1, 2, 3]
    assert (stopping.best_epoch, stopping.stopped_epoch, stopping.best) == (1, 3, 3)
    np.testing.assert_array_equal(model.get_weights()[0], seen[1])
    assert not np.array_equal(seen[1], seen[3])


def test_training_ends_where_the_loss_is_no_number() -> None:
    model = network(1e30)
    history = model.fit(X, Y, epochs=50, batch_size=4, callbacks=[TerminateOnNaN()])
    assert len(history.epoch) < 50


def test_callbacks_say_what_they_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    callbacks = [
        Scripted("score", [1, 2, 3, 4]),
        ModelCheckpoint(tmp_path / "best", "score", save_best_only=True, save_weights_only=True, verbose=1),
        ReduceLROnPlateau("score", patience=1, factor=0.5, verbose=1),
        EarlyStopping("score", patience=3, verbose=1),
    ]
    network().fit(X, Y, epochs=4, callbacks=callbacks)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"Epoch 1: saved {tmp_path / 'best'}"
    assert said[1:4] == [f"Epoch {n}: learning rate {rate}" for n, rate in ((2, 0.05), (3, 0.025), (4, 0.0125))]
    assert said[4] == "Epoch 4: early stopping, score was best in epoch 1"


def test_a_figure_that_is_not_there_is_an_error() -> None:
    with pytest.raises(G.GraphcKeyError, match="there is no figure 'val_loss'"):
        network().fit(X, Y, callbacks=[EarlyStopping()])


def test_checkpoints_are_whole_files_of_all_states(tmp_path: Path) -> None:
    model = network()
    best = ModelCheckpoint(tmp_path / "best", monitor="score", save_best_only=True)
    model.fit(
        X,
        Y,
        epochs=3,
        callbacks=[Scripted("score", [2, 1, 3]), ModelCheckpoint(tmp_path / "{epoch:02d}-{score:.0f}"), best],
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01-2", "02-1", "03-3", "best"]
    assert (tmp_path / "best").read_bytes() == (tmp_path / "02-1").read_bytes()
    from safetensors.numpy import load_file

    assert {"sgd/iteration", "sgd/learning_rate"} <= load_file(tmp_path / "best").keys()
    with pytest.raises(G.GraphcValueError, match="cannot fill in"):
        model.fit(X, Y, callbacks=[ModelCheckpoint(tmp_path / "{nothing}")])


def test_the_csv_file_has_a_line_an_epoch(tmp_path: Path) -> None:
    model = network()
    first = model.fit(X, Y, epochs=2, callbacks=[CSVLogger(tmp_path / "log.csv")])
    model.fit(X, Y, epochs=3, initial_epoch=2, callbacks=[CSVLogger(tmp_path / "log.csv", append=True)])
    lines = list(csv.reader((tmp_path / "log.csv").open()))
    assert lines[0] == ["epoch", "loss", "mae"]
    assert [line[0] for line in lines[1:]] == ["0", "1", "2"]
    assert float(lines[1][1]) == first.history["loss"][0]


def test_the_learning_rate_is_a_variable_that_the_step_reads() -> None:
    model = network()
    rates = [0.1, 0.0, 0.05]
    weights: list[Any] = []
    history = model.fit(
        X,
        Y,
        epochs=3,
        callbacks=[
            LearningRateScheduler(lambda epoch: rates[epoch]),
            LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()[0])),
        ],
    )
    np.testing.assert_allclose(history.history["learning_rate"], rates, rtol=1e-6)
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])
    history = model.fit(X, Y, epochs=2, callbacks=[LearningRateScheduler(lambda epoch, rate: rate / 2)])
    np.testing.assert_allclose(history.history["learning_rate"], [0.025, 0.0125], rtol=1e-6)


def test_a_schedule_is_not_a_rate_to_be_set() -> None:
    model = network(optim.schedules.ExponentialDecay(0.1, 10, 0.9))
    with pytest.raises(G.GraphcValueError, match="no learning rate"):
        model.fit(X, Y, callbacks=[LearningRateScheduler(lambda epoch: 0.1)])


def test_the_rate_falls_on_a_plateau() -> None:
    model = network(0.08)
    callback = ReduceLROnPlateau("score", factor=0.5, patience=2, cooldown=1, min_lr=0.03)
    history = model.fit(X, Y, epochs=8, callbacks=[Scripted("score", [5, 5, 5, 5, 5, 5, 5, 5]), callback])
    expected = [0.08, 0.08, 0.08, 0.04, 0.04, 0.03, 0.03, 0.03]
    np.testing.assert_allclose(history.history["learning_rate"], expected, rtol=1e-6)


def test_callbacks_hear_everything_in_order() -> None:
    heard: list[str] = []
    names = [name for name in dir(Callback) if name.startswith("on_")]
    functions = {name: (lambda *arguments, name=name: heard.append(name)) for name in names}
    network().fit(X, Y, batch_size=8, callbacks=[LambdaCallback(**functions)])
    step = ["on_train_batch_begin", "on_train_batch_end"]
    assert heard == ["on_train_begin", "on_epoch_begin", *step, *step, "on_epoch_end", "on_train_end"]
    with pytest.raises(G.GraphcValueError, match="did you mean on_epoch_end"):
        LambdaCallback(on_epoch_ends=print)


def test_histories_are_drawn(tmp_path: Path) -> None:
    history = network().fit(X, Y, epochs=3, validation_data=(X, Y))
    figure = history.plot(path=tmp_path / "history.svg")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "mae"]
    [training, validation] = figure.axes[0].get_lines()
    assert list(training.get_ydata()) == history.history["loss"]
    assert list(validation.get_ydata()) == history.history["val_loss"]
    assert (tmp_path / "history.svg").read_text().startswith("<?xml")
    assert repr(History()) == "<History of 0 epochs>"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    network().fit(X, Y)
    assert capsys.readouterr().out == ""
    network().fit(X, Y, verbose=2, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 1/2"
    assert "samples/s - loss: " in lines[1]
    terminal = Terminal()
    progress = Progress("auto", 1, terminal)
    progress.begin(0, 4)
    progress.step(8, {"loss": 0.5})
    progress.end({"loss": 0.25, "val_loss": 0.0001})
    text = terminal.getvalue()
    assert "1/4 [#####...............]" in text
    assert " s left - loss: 0.5000" in text
    assert text.endswith("loss: 0.2500 - val_loss: 0.0001\n")
