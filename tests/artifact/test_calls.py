"""What a call takes, copies and refuses; results are the caller's own."""

import re

import ml_dtypes
import numpy as np
import pytest

from graphc.artifact.compiled import CompiledModel
from graphc.artifact.runtime.arguments import as_array
from graphc.artifact.runtime.spec import TensorSpec
from graphc.errors import GraphcError, GraphcIndexError, GraphcTypeError, GraphcValueError
from tests.artifact import samples


def expected(x: np.ndarray) -> np.ndarray:
    return x @ np.arange(3, dtype=np.float32) + np.float32(0.5)


def test_positions_and_keywords(model: CompiledModel, x: np.ndarray, y: np.ndarray) -> None:
    np.testing.assert_allclose(model.predict(x), expected(x), rtol=1e-6)
    np.testing.assert_array_equal(model.predict(x=x), model.predict(x))
    loss = model.train(y=y, x=x)
    assert loss.shape == () and loss.dtype == np.float32
    np.testing.assert_allclose(loss, np.mean((expected(x) - y) ** 2), rtol=1e-6)
    assert model.parameters["steps"] == 1


def test_several_outputs_are_a_dict_in_order(model: CompiledModel, x: np.ndarray) -> None:
    result = model.stats(x)
    assert list(result) == ["total", "doubled"]
    np.testing.assert_allclose(result["total"], x.sum(), atol=1e-6)
    np.testing.assert_array_equal(result["doubled"], 2 * x)


@pytest.mark.parametrize(
    ("inputs", "named", "message"),
    [
        ((), {}, "takes 2 inputs, got 0: missing 'x', 'y'"),
        ((1, 2, 3), {}, "takes 2 inputs, got 3"),
        ((1,), {"z": 2}, "no input 'z'"),
        ((1,), {"x": 2}, "got input 'x' twice"),
        ((1,), {"outt": 2}, "did you mean out"),
    ],
)
def test_wrong_count_and_names(model: CompiledModel, inputs: tuple, named: dict, message: str) -> None:
    with pytest.raises(GraphcTypeError, match=message) as caught:
        model.train(*inputs, **named)
    assert caught.value.code == "E448" and isinstance(caught.value, TypeError)


def test_an_unknown_entry_point_names_the_nearest(model: CompiledModel) -> None:
    with pytest.raises(AttributeError, match="did you mean predict"):
        model.predcit(1)


@pytest.mark.parametrize(
    ("bad", "code", "message"),
    [
        (np.zeros((4, 4), np.float32), "E449", r"must be float32\[4,3\], got float32\[4,4\]"),
        (np.zeros((4, 3, 1), np.float32), "E449", r"got float32\[4,3,1\]"),
        (np.zeros(12, np.float32), "E449", r"got float32\[12\]"),
        (np.float32(1), "E449", r"got float32\[\]"),
        (np.zeros((4, 3)), "E449", r"got float64\[4,3\]"),
        (np.zeros((4, 3), np.int32), "E449", r"got int32\[4,3\]"),
        (np.zeros((4, 3), bool), "E449", r"got bool\[4,3\]"),
        (np.zeros((4, 3), np.complex64), "E455", r"got complex64\[4,3\]"),
        (np.zeros((4, 3), object), "E455", r"got object\[4,3\]"),
        (np.zeros((4, 3), [("a", "f4")]), "E449|E455", "got"),
        (np.ma.masked_array(np.zeros((4, 3), np.float32), True), "E455", "masked"),
        (None, "E455", "got NoneType"),
        ("text", "E455", "got str"),
        (object(), "E455", "got object"),
        ([[1, 2, 3], [4, 5]], "E455", "got list"),
        ([[None] * 3] * 4, "E455", "got list"),
        ([[1j] * 3] * 4, "E455", "complex128"),
        ([[True] * 3] * 4, "E455", "list of bool"),
        ([[2**24 + 1] * 3] * 4, "E449", "cannot hold"),
        ([[1e39] * 3] * 4, "E449", "cannot hold"),
        ([[1, 2, 3]], "E449", r"got float32\[1,3\]"),
    ],
)
def test_what_is_no_array_of_the_type_is_refused(model: CompiledModel, bad: object, code: str, message: str) -> None:
    with pytest.raises(GraphcError, match=message) as caught:
        model.predict(bad)
    assert caught.value.code in code.split("|")
    assert isinstance(caught.value, TypeError | ValueError)
    assert "input 'x'" in str(caught.value)


def test_numbers_and_lists_are_taken_where_they_fit(model: CompiledModel) -> None:
    rows = [[0.1, 0.2, 0.3], [1, 2, 3], [float("inf"), float("nan"), -0.0], (4, 5, 6)]
    np.testing.assert_array_equal(model.echo(rows), np.array(rows, dtype=np.float32))
    np.testing.assert_array_equal(model.lookup([2, 0]), [2, 0])


@pytest.mark.parametrize("bad", [[0.5, 1], [2**63, 0], [True, False], [2**70, 0]])
def test_lists_for_integers_hold_integers(model: CompiledModel, bad: list) -> None:
    with pytest.raises((GraphcTypeError, GraphcValueError), match="int64"):
        model.lookup(bad)


class Subclass(np.ndarray):
    """An array of another class."""


def layouts(x: np.ndarray) -> dict[str, np.ndarray]:
    """The same values, laid out in memory in every way."""
    wide = np.zeros((8, 6), dtype=x.dtype)
    wide[::2, ::2] = x
    raw = np.zeros(x.nbytes + 1, dtype=np.uint8)
    misaligned = raw[1:].view(x.dtype).reshape(x.shape)
    misaligned[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "strided": wide[::2, ::2],
        "reversed": np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
        "fortran": np.asfortranarray(x),
        "misaligned": misaligned,
        "swapped": x.astype(x.dtype.newbyteorder(">")),
        "read-only": read_only,
        "subclass": x.copy().view(Subclass),
        "broadcast": np.broadcast_to(x[:1], x.shape),
    }


@pytest.mark.parametrize("layout", list(layouts(np.zeros((4, 3), np.float32))))
def test_any_layout_gives_the_same_result(model: CompiledModel, x: np.ndarray, layout: str) -> None:
    value = layouts(x)[layout]
    plain = np.array(value, dtype=np.float32, order="C", subok=False)
    np.testing.assert_array_equal(model.predict(value), model.predict(plain))
    np.testing.assert_array_equal(model.echo(value), plain)
    assert type(model.echo(value)) is np.ndarray


def test_results_are_fresh(model: CompiledModel, x: np.ndarray) -> None:
    before = x.copy()
    first, second = model.echo(x), model.echo(x)
    first[...] = 7
    np.testing.assert_array_equal(second, before)
    np.testing.assert_array_equal(x, before)
    taken = model.lookup([0, 1])
    taken[...] = 9
    np.testing.assert_array_equal(model.parameters["layer/w"], [0, 1, 2])
    assert first.flags.owndata and first.flags.writeable


def test_out_is_filled_and_returned(model: CompiledModel, x: np.ndarray) -> None:
    out = np.full(4, np.nan, dtype=np.float32)
    assert model.predict(x, out=out) is out
    np.testing.assert_array_equal(out, model.predict(x))
    doubled = np.empty((4, 3), dtype=np.float32)
    result = model.stats(x, out={"doubled": doubled})
    assert result["doubled"] is doubled
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_allclose(result["total"], x.sum(), atol=1e-6)


def test_out_may_be_an_input(model: CompiledModel, x: np.ndarray) -> None:
    kept = x.copy()
    assert model.stats(x, out={"doubled": x})["doubled"] is x
    np.testing.assert_array_equal(x, 2 * kept)
    memory = np.arange(16, dtype=np.float32)
    x, out = memory[:12].reshape(4, 3), memory[10:14]
    np.testing.assert_array_equal(model.predict(x.copy()), model.predict(x, out=out))


@pytest.mark.parametrize("shift", [-1, 0, 1, 3, 4, 11, 12])
def test_an_input_may_overlap_out_anywhere(model: CompiledModel, shift: int) -> None:
    memory = np.arange(20, dtype=np.float32)
    x, out = memory[1:13].reshape(4, 3), memory[1 + shift : 5 + shift]
    right = model.predict(x.copy())
    assert model.predict(x, out=out) is out
    np.testing.assert_array_equal(out, right)


def test_inputs_may_be_parameters_that_the_call_writes(model: CompiledModel, x: np.ndarray) -> None:
    other = type(model)(model.module, model.build)
    whole = model._memory.block[: x.nbytes].view(np.float32)  # begins with the weight
    y = whole[:4]
    loss = other.train(x, y.copy())
    np.testing.assert_array_equal(model.train(x, y), loss)
    for name in model.parameters:
        np.testing.assert_array_equal(model.parameters[name], other.parameters[name])


def _read_only() -> np.ndarray:
    array = np.empty(4, np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (_read_only(), "read-only"),
        (np.empty(8, np.float32)[::2], "contiguous"),
        (np.broadcast_to(np.float32(0), (4,)), "read-only|contiguous"),
        (np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (4,), (0,)), "contiguous"),
        (np.empty(5, np.float32), r"must be float32\[4\], got float32\[5\]"),
        (np.empty(4, np.float64), r"got float64\[4\]"),
        (np.empty(4, ">f4"), "must be"),
        ([0.0] * 4, "must be an array"),
        ({"z": np.empty(4, np.float32)}, "no output 'z'"),
    ],
)
def test_out_that_cannot_be_written_is_refused(model: CompiledModel, x: np.ndarray, out: object, message: str) -> None:
    with pytest.raises(GraphcError, match=message) as caught:
        model.predict(x, out=out)
    assert caught.value.code == "E453"


def test_overlapping_outs_are_refused(model: CompiledModel, x: np.ndarray) -> None:
    memory = np.empty(13, dtype=np.float32)
    with pytest.raises(GraphcValueError, match="overlaps") as caught:
        model.stats(x, out={"total": memory[:1].reshape(()), "doubled": memory[:12].reshape(4, 3)})
    assert caught.value.code == "E453"
    with pytest.raises(GraphcValueError, match="overlaps"):
        model.train(x, np.zeros(4, np.float32), out=model.parameters["b"])
    with pytest.raises(GraphcTypeError, match="must be a dict by name"):
        model.stats(x, out=memory[:1])


def test_inputs_may_alias_each_other_and_the_parameters(model: CompiledModel) -> None:
    memory = np.arange(12, dtype=np.float32)
    x, y = memory.reshape(4, 3), memory[:4]
    other = type(model)(model.module, model.build)
    np.testing.assert_array_equal(model.train(x, y), other.train(x.copy(), y.copy()))
    for name in model.parameters:
        np.testing.assert_array_equal(model.parameters[name], other.parameters[name])


@pytest.mark.parametrize("bad", [[0, 3], [-1, 0], [0, 2**40], [0, -(2**63)]])
def test_an_index_out_of_range_is_an_index_error(model: CompiledModel, bad: list[int]) -> None:
    with pytest.raises(GraphcIndexError, match=r"lookup: take.* \[0, 3\)") as caught:
        model.lookup(np.array(bad))
    assert caught.value.code == "E456" and isinstance(caught.value, IndexError)
    wrong = next(value for value in bad if not 0 <= value < 3)
    assert re.search(rf"index {wrong} at position \(?{bad.index(wrong)}", str(caught.value))
    np.testing.assert_array_equal(model.lookup(np.array([1, 1])), [1, 1])


def test_no_memory_is_a_memory_error() -> None:
    from graphc.artifact.runtime.memory import StateMemory

    with pytest.raises(MemoryError) as caught:
        StateMemory([TensorSpec("huge", "float64", (2**44,))])
    assert isinstance(caught.value, GraphcError) and caught.value.code == "E460"


def test_signature_and_documentation(model: CompiledModel) -> None:
    assert model.train.__doc__.startswith("train(x: float32[4,3], y: float32[4]) -> float32[]")
    assert model.train.__name__ == "train"
    assert "predict(x: float32[4,3]) -> float32[4]" in repr(model)


BFLOAT16 = TensorSpec("x", "bfloat16", (3,))


def test_bfloat16_crosses_as_bits_or_typed() -> None:
    values = np.array([1.5, -2, 3], dtype=np.float32)
    typed = values.astype(ml_dtypes.bfloat16)
    bits = typed.view(np.uint16)
    for given in (typed, bits, typed[::-1].copy()[::-1], [1.5, -2, 3]):
        taken = as_array(given, BFLOAT16, "x")
        assert taken.dtype == np.uint16
        np.testing.assert_array_equal(taken, bits)
    with pytest.raises(GraphcTypeError, match="got float32"):
        as_array(values, BFLOAT16, "x")


def test_python_floats_round_to_bfloat16_like_everybody_else() -> None:
    values = np.random.default_rng(1).standard_normal(1000).astype(np.float32).tolist()
    values += [float("nan"), float("inf"), -0.0, 1.00390625, 1.01171875]
    made = as_array(values, TensorSpec("x", "bfloat16", (len(values),)), "x")
    right = np.array(values, np.float32).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(made.view(ml_dtypes.bfloat16).astype(np.float32), right.astype(np.float32))


def test_empty_arrays() -> None:
    spec = TensorSpec("x", "float32", (0, 3))
    assert as_array(np.zeros((0, 3), np.float32), spec, "x").shape == (0, 3)
    assert as_array(np.zeros((0, 3), np.float32)[::-1], spec, "x").shape == (0, 3)
    assert as_array([], TensorSpec("x", "int64", (0,)), "x").dtype == np.int64


def test_names_that_cannot_be_methods_are_refused() -> None:
    from graphc.artifact.spec import check_entry_name

    for name in ("parameters", "save", "_hidden", "class", "é", "a b", "Model", "", "x" * 101, "open"):
        with pytest.raises(GraphcValueError) as caught:
            check_entry_name(name)
        assert caught.value.code == "E108"
    for graph in samples.regression().entries:
        check_entry_name(graph)
