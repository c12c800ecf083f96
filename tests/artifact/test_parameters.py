"""Live parameters; saving, loading and resetting them; copies of models."""

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import safetensors.numpy

from graphc.artifact.compiled import CompiledModel
from graphc.artifact.loader import load
from graphc.errors import GraphcKeyError, GraphcOSError, GraphcTypeError, GraphcValueError
from tests.artifact import samples


def test_parameters_are_live(model: CompiledModel, x: np.ndarray, y: np.ndarray) -> None:
    weight, steps = model.parameters["layer/w"], model.parameters["steps"]
    np.testing.assert_array_equal(weight, [0, 1, 2])
    model.train(x, y)
    assert steps == 1 and not np.array_equal(weight, [0, 1, 2])
    weight[...] = 0
    model.parameters["b"][...] = 3
    np.testing.assert_array_equal(model.predict(x), [3, 3, 3, 3])
    assert model.parameters["layer/w"] is weight


def test_parameters_are_a_mapping(model: CompiledModel) -> None:
    assert list(model.parameters) == ["layer/w", "b", "steps"] and len(model.parameters) == 3
    assert "b" in model.parameters and "c" not in model.parameters
    assert {name: array.dtype.name for name, array in model.parameters.items()} == {
        "layer/w": "float32",
        "b": "float32",
        "steps": "int64",
    }
    with pytest.raises(GraphcKeyError, match="did you mean 'layer/w'") as caught:
        model.parameters["layer/ww"]
    assert caught.value.code == "E448" and isinstance(caught.value, KeyError)
    with pytest.raises(GraphcKeyError):
        model.parameters["new"] = 1
    with pytest.raises(GraphcTypeError, match="cannot be deleted"):
        del model.parameters["b"]


def test_assignment_copies_and_checks(model: CompiledModel) -> None:
    weight, given = model.parameters["layer/w"], np.array([1, 2, 3], np.float32)
    model.parameters["layer/w"] = given
    given[...] = 0
    np.testing.assert_array_equal(weight, [1, 2, 3])
    model.parameters["layer/w"] = [4, 5, 6]
    model.parameters["layer/w"] += 1
    np.testing.assert_array_equal(weight, [5, 6, 7])
    model.parameters["layer/w"] = weight[::-1]
    np.testing.assert_array_equal(weight, [7, 6, 5])
    with pytest.raises(GraphcValueError, match=r"parameter 'layer/w' must be float32\[3\], got float32\[2\]"):
        model.parameters["layer/w"] = np.zeros(2, np.float32)
    with pytest.raises(GraphcTypeError, match="got float64"):
        model.parameters["layer/w"] = np.zeros(3)


def test_models_do_not_share_state(x: np.ndarray, y: np.ndarray) -> None:
    one, other = samples.compiled("native"), samples.compiled("native")
    one.train(x, y)
    assert one.parameters["steps"] == 1 and other.parameters["steps"] == 0


def test_weights_round_trip(model: CompiledModel, x: np.ndarray, y: np.ndarray, tmp_path: Path) -> None:
    model.train(x, y)
    trained = {name: array.copy() for name, array in model.parameters.items()}
    path = tmp_path / "w.safetensors"
    model.save_weights(path)
    model.reset()
    assert model.parameters["steps"] == 0
    model.load_weights(path)
    for name, array in trained.items():
        np.testing.assert_array_equal(model.parameters[name], array)
    first = path.read_bytes()
    model.save_weights(path)
    assert path.read_bytes() == first
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_reset_with_a_seed(model: CompiledModel) -> None:
    model.reset(seed=5)
    np.testing.assert_array_equal(model.parameters["layer/w"], [5, 6, 7])
    model.reset()
    np.testing.assert_array_equal(model.parameters["layer/w"], [0, 1, 2])


def test_weights_of_other_names_or_shapes_are_refused(model: CompiledModel, tmp_path: Path) -> None:
    right = {"layer/w": np.ones(3, np.float32), "b": np.ones((), np.float32), "steps": np.ones((), np.int64)}
    path = tmp_path / "w.safetensors"
    wrong = [
        ({k: v for k, v in right.items() if k != "b"}, "lacks 'b'"),
        (right | {"c": np.ones(1)}, "has 'c'"),
        (right | {"layer/w": np.ones(4, np.float32)}, r"'layer/w' must be float32\[3\], got float32\[4\]"),
        (right | {"layer/w": np.ones(3)}, r"'layer/w' must be float32\[3\], got float64\[3\]"),
    ]
    for tensors, message in wrong:
        safetensors.numpy.save_file(tensors, path)
        with pytest.raises(GraphcValueError, match=message) as caught:
            model.load_weights(path)
        assert caught.value.code == "E566"
        np.testing.assert_array_equal(model.parameters["layer/w"], [0, 1, 2])
    safetensors.numpy.save_file(right, path)
    model.load_weights(path)
    np.testing.assert_array_equal(model.parameters["layer/w"], [1, 1, 1])


def test_files_that_cannot_be_read_or_written(model: CompiledModel, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "none", tmp_path, tmp_path / "fifo", "nul\0"):
        with pytest.raises(GraphcOSError) as caught:
            model.load_weights(path)
        assert caught.value.code == "E570"
    for path in (tmp_path / "none" / "w", tmp_path, "nul\0"):
        with pytest.raises(GraphcOSError) as caught:
            model.save_weights(path)
        assert caught.value.code == "E570"
    assert os.listdir(tmp_path) == ["fifo"]


def test_a_model_in_memory_is_not_pickled(model: CompiledModel) -> None:
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(GraphcTypeError, match="save"):
            attempt(model)


@pytest.mark.parametrize("kind", ["native", "source"])
def test_a_loaded_model_is_pickled_with_its_state(kind: str, saved: Path, x: np.ndarray, y: np.ndarray) -> None:
    model = load(saved / kind)
    model.train(x, y)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
        other.train(x, y)
        assert other.parameters["steps"] == 2 and model.parameters["steps"] == 1


_PICKLE = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import native
m = native.Model()
m.parameters["b"] = 42
other = pickle.loads(pickle.dumps(m))
assert type(other) is native.Model and other.parameters["b"] == 42
native.Model = None
try:
    pickle.dumps(m)
except TypeError as fault:
    print(fault.code)
"""


def test_an_imported_model_is_pickled_by_name(saved: Path, python: Callable[..., CompletedProcess[str]]) -> None:
    done = python(_PICKLE, saved)
    assert done.stdout.strip() == "E455", done.stderr
