"""``graphc train``."""

import json
import os
import signal

import numpy as np
import pytest

import graphc as G
from graphc.artifact.runtime.spec import TensorSpec
from graphc.cli.batches import make_batches
from graphc.errors import GraphcError

TRAIN = ["train", "classifier.py", "--data", "data.npz", "--backend", "numpy"]


def test_it_learns_and_keeps_what_it_learnt(graphc, folder):
    outcome = graphc(*TRAIN, "--validation", "data.npz", "--epochs", "30", "-o", "trained")
    assert outcome.code == 0
    assert outcome.out.startswith("trained, epochs: 30, 360 steps of 4 in ")
    assert "accuracy " in outcome.out
    assert "wrote trained" in outcome.out
    assert outcome.err == "graphc: each epoch leaves out 2 of 50 examples: batches are of 4\n"
    data = np.load(folder / "data.npz")
    scores = G.load("trained").predict(data["x"][:4].astype(np.float32))
    assert np.argmax(scores, axis=-1).tolist() == data["y"][:4].tolist()


def test_figures_as_json_are_the_same_for_the_same_seed(graphc):
    words = [*TRAIN, "--validation", "data.npz", "--epochs", "3", "--json"]
    first, again, other = (json.loads(graphc(*words, "--seed", seed).out) for seed in ("1", "1", "2"))
    assert (first["epochs"], first["steps"], first["batch_size"], first["left_out"]) == (3, 36, 4, 2)
    assert set(first["history"][0]) == {"loss", "validation_loss", "accuracy"}
    assert first["history"][2]["loss"] < first["history"][0]["loss"]
    assert first["history"] == again["history"]
    assert first["history"] != other["history"]


def test_the_batch_size_is_a_hyperparameter(graphc, refused):
    assert json.loads(graphc(*TRAIN, "--batch-size", "10", "--json").out)["steps"] == 5
    (line,) = [refused([*TRAIN[:1], "fixed.py", *TRAIN[2:], "--batch-size", "10"], 74, "E101")]
    assert "fixed.py" in line


def test_a_symbolic_dimension_takes_the_batch_size(graphc, folder):
    text = (folder / "classifier.py").read_text(encoding="utf-8").replace("batch=4, ", "").replace("batch", "'batch'")
    (folder / "classifier.py").write_text(text, encoding="utf-8")
    assert json.loads(graphc(*TRAIN, "--batch-size", "5", "--json").out)["steps"] == 10


def test_a_batch_size_that_the_model_does_not_take_is_refused(refused, folder):
    text = (folder / "classifier.py").read_text(encoding="utf-8").replace("batch=4, ", "").replace("batch", "4")
    (folder / "classifier.py").write_text(text, encoding="utf-8")
    assert "batches of 4" in refused([*TRAIN, "--batch-size", "10"], 2, "E106")


def test_ctrl_c_ends_after_the_step_and_keeps_the_model(graphc, monkeypatch, folder):
    steps = []
    from graphc.cli import progress

    def update(_self, done, _text):
        steps.append(done)
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress._Silent, "update", update)
    before = signal.getsignal(signal.SIGINT)
    outcome = graphc(*TRAIN, "--epochs", "1000", "-o", "trained")
    assert outcome.code == 130
    assert outcome.out.startswith("interrupted in epoch 1, 3 steps of 4")
    assert steps == [1, 2, 3]
    assert (folder / "trained" / "manifest.json").is_file()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_model_that_does_not_train_is_refused(refused):
    assert "only predict" in refused(["train", "recurrent.py", "--data", "data.npz"], 2, "E448")


@pytest.mark.parametrize(
    ("arrays", "code", "said"),
    [
        ({"x": np.zeros((50, 3))}, "E111", "has no array 'y'"),
        ({"x": np.zeros((50, 4)), "y": np.zeros(50, int)}, "E449", "'x' has shape (50, 4)"),
        ({"x": np.zeros((50, 3)), "y": np.zeros(40, int)}, "E449", "'y' 40"),
        ({"x": np.zeros((3, 3)), "y": np.zeros(3, int)}, "E449", "fewer than"),
        ({"x": np.zeros((50, 3)), "y": np.zeros(50)}, "E449", "float64"),
        ({"x": np.zeros((50, 3), complex), "y": np.zeros(50, int)}, "E449", "complex"),
        ({"x": np.array([["a"] * 3] * 50), "y": np.zeros(50, int)}, "E449", "'x'"),
    ],
)
def test_data_that_does_not_fit_is_refused(refused, folder, arrays, code, said):
    np.savez(folder / "other.npz", **arrays)
    assert said in refused(["train", "classifier.py", "--data", "other.npz", "--backend", "numpy"], 2, code)


def test_pickled_objects_are_not_loaded(refused, folder):
    np.savez(folder / "other.npz", x=np.array([{"a": 1}], dtype=object), y=np.zeros(4, int))
    assert "pickled" in refused(["train", "classifier.py", "--data", "other.npz"], 2, "E111")


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 broken", b"\x93NUMPY\x01\x00"])
def test_what_is_no_array_file_is_refused(refused, folder, content):
    (folder / "other.npz").write_bytes(content)
    refused(["train", "classifier.py", "--data", "other.npz"], 2, "E111")


def test_missing_data_is_an_input_output_error(refused, folder):
    os.mkfifo(folder / "fifo.npz")
    refused(["train", "classifier.py", "--data", "none.npz"], 74, "E101")
    refused(["train", "classifier.py", "--data", "fifo.npz"], 74, "E101")


def test_a_destination_that_is_there_is_refused_before_training(refused, folder):
    (folder / "trained").mkdir()
    refused([*TRAIN, "-o", "trained"], 74, "E107")


# -- batches -----------------------------------------------------------------------------------------------------------

INPUTS = {"x": TensorSpec("x", "float32", (5, 4, 2)), "y": TensorSpec("y", "int32", (4,))}


@pytest.mark.parametrize("shape", [(5, 11, 2), (11, 5, 2)])
def test_examples_lie_where_the_batch_is_or_in_front(shape):
    x = np.arange(110).reshape(shape)
    batches = make_batches("d", {"x": x, "y": np.arange(11)}, INPUTS)
    assert (batches.examples, batches.size, batches.count, batches.left_over) == (11, 4, 2, 3)
    [first, second] = batches.full()
    assert first["x"].shape == (5, 4, 2)
    assert first["x"].dtype == np.float32
    assert second["y"].tolist() == [4, 5, 6, 7]
    example = x[:, 6] if shape[1] == 11 else x[6]
    assert (second["x"][:, 2] == example).all()


def test_the_last_batch_is_filled_up_where_every_example_counts():
    batches = make_batches("d", {"x": np.zeros((5, 11, 2)), "y": np.arange(11)}, INPUTS)
    seen = [batch["y"][:counted].tolist() for batch, counted in batches.all()]
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_arrays_of_the_inputs_own_shapes_are_one_batch():
    batches = make_batches("d", {"x": np.zeros((5, 4, 2)), "y": np.arange(4)}, INPUTS)
    assert (batches.size, batches.count, batches.left_over) == (4, 1, 0)
    assert [batch["y"].tolist() for batch in batches.full(np.array([3, 1, 2, 0]))] == [[0, 1, 2, 3]]
    assert [counted for _, counted in batches.all()] == [4]


def test_integers_that_do_not_fit_are_refused():
    with pytest.raises(GraphcError, match="cannot hold"):
        make_batches("d", {"x": np.zeros((5, 11, 2)), "y": np.full(11, 2**40)}, INPUTS)


NETWORKS = {
    "keras.py": """\
from graphc.nn import Dense, Sequential

model = Sequential([Dense(8, activation="relu", input_shape=(3,)), Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
""",
    "torch.py": """\
from graphc import nn, optim


def model(hidden=8):
    network = nn.Sequential(nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, 2))
    network.compile(optim.Adam(lr=0.05), nn.CrossEntropyLoss())
    return network
""",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_layers_is_a_model(graphc, folder, name):
    (folder / name).write_text(NETWORKS[name], encoding="utf-8")
    words = ["train", name, "--data", "data.npz", "--dim", "batch=10", "--epochs", "2", "--backend", "numpy"]
    outcome = graphc(*words, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["steps"] == 10
    assert graphc("summary", name).out.startswith("parameter")


def test_a_network_that_lacks_its_shape_says_so(refused, folder):
    (folder / "open.py").write_text("from graphc.nn import Dense, Sequential\nmodel = Sequential([Dense(2)])\n")
    assert "does not know the shape of its input" in refused(["summary", "open.py"], 2, "E214")
