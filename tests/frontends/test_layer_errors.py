"""What users get wrong with any layer: the message names the layer, its line, what was expected and what was got."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.errors import Location
from tests.frontends.layers_in_use import USES, call

ABSTRACT = {"Cell", "GatedCell", "Layer", "Module"}


def line() -> int:
    return sys._getframe(1).f_lineno


def check(
    error: G.GraphcError, name: str, code: str, *words: str, at: int | None = None, made: int | None = None
) -> None:
    """The code, the layer's name, the user's line, and where the layer was made."""
    text = str(error)
    assert error.code.startswith(code), text
    for word in (name, *words):
        assert word in error.message + (error.hint or ""), text
    assert isinstance(error.location, Location), text
    assert error.location.file in (__file__, sys.modules[call.__module__].__file__), text


def test_every_layer_is_here() -> None:
    kinds = {nn_name for nn_name in nn.layers.__all__ if isinstance(getattr(nn, nn_name), type)}
    named = {getattr(nn, name) for name in (*USES, *ABSTRACT)}
    assert not [name for name in sorted(kinds) if getattr(nn, name) not in named]


@pytest.mark.parametrize("name", USES)
def test_it_works(name: str) -> None:
    use = USES[name]
    call(use.make(name), use.inputs())


@pytest.mark.parametrize("name", USES)
def test_no_tensor(name: str) -> None:
    layer = USES[name].make(name)
    with pytest.raises(G.GraphcTypeError) as caught:
        layer(np.ones((2, 4)))
    check(caught.value, layer.name, "E213", "ndarray")


RANKS = [(name, use.ranks[0] - 1) for name, use in USES.items() if use.ranks[0] > 1]
RANKS += [(name, use.ranks[1] + 1) for name, use in USES.items() if use.ranks[1] < 99]


@pytest.mark.parametrize(("name", "axes"), RANKS)
def test_wrong_rank(name: str, axes: int) -> None:
    use = USES[name]
    layer = use.make(name)
    inputs = [G.input(f"x{place}", (2,) + (4,) * (axes - 1), use.dtype) for place in range(len(use.shapes))]
    with pytest.raises(G.GraphcError) as caught:
        call(layer, inputs)
    check(caught.value, layer.name, "E2")
    assert any(part in caught.value.message for part in ("shape", "axis", "axes", "dimension")), caught.value


@pytest.mark.parametrize("name", [name for name, use in USES.items() if use.kind == "float"])
@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_wrong_dtype(name: str, dtype: str) -> None:
    use = USES[name]
    layer = use.make(name)
    with pytest.raises(G.GraphcTypeError) as caught:
        call(layer, [G.input(f"x{place}", shape, dtype) for place, shape in enumerate(use.shapes)])
    check(caught.value, layer.name, "E21", dtype)


@pytest.mark.parametrize("name", [name for name, use in USES.items() if use.fixed_size is not None])
def test_another_size_than_at_the_first_call(name: str) -> None:
    use = USES[name]
    layer = use.make(name)
    call(layer, use.inputs())
    wider = []
    for place, shape in enumerate(use.shapes):
        sizes = list(shape)
        sizes[use.fixed_size or 0] += 1
        wider.append(G.input(f"y{place}", tuple(sizes), use.dtype))
    with pytest.raises(G.GraphcValueError) as caught:
        call(layer, wider)
    check(caught.value, layer.name, "E21")
    # What was expected: the sizes of the weights, and where the layer that has them (maybe inside this one) was made.
    assert re.search(r"weights are for inputs of shape|float32\[\d", str(caught.value)), caught.value
    assert "was made at" in str(caught.value) or isinstance(layer, nn.MultiHeadAttention)


def test_the_lines_of_the_layer_and_of_its_use() -> None:
    x = G.input("x", (2, 5, 3))
    layer, made = nn.Conv2D(4, 3), line()
    with pytest.raises(G.GraphcValueError) as caught:
        layer(x)
        used = line() - 1
    used = caught.value.location.line if caught.value.location else 0
    assert used == made + 2
    assert f"conv2d was made at {__file__}:{made}" in str(caught.value)


# -- arguments ---------------------------------------------------------------------------------------------------------

_COUNTS = """
    units filters kernel_size pool_size num_heads key_dim output_dim n in_features out_features in_channels out_channels
    num_features num_groups num_channels output_size strides stride dilation_rate dilation depth_multiplier size
    normalized_shape input_dim
"""
_AMOUNTS = "epsilon eps stddev max_value negative_slope threshold alpha l1 l2"
_CHOICES = "reset keep merge_mode score_mode interpolation approximate"
_WEIGHTS = "kernel bias recurrent depthwise pointwise embeddings alpha beta gamma peephole"
_ASPECTS: dict[str, tuple[Any, ...]] = {
    "initializer": ("glorott", {}),
    "regularizer": ("l3", 3),
    "constraint": ("norm", 3),
}
BAD: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(_COUNTS.split(), (-1, 0, 2.5, "3")),
    **dict.fromkeys(("cropping", "padding", "output_padding"), (-1, 2.5, "a")),
    **dict.fromkeys(("rate", "p", "dropout", "recurrent_dropout", "momentum"), (-0.1, 1.5, "a")),
    **dict.fromkeys(_AMOUNTS.split(), (-1, "a")),
    **dict.fromkeys(("activation", "recurrent_activation"), ("rellu", 3)),
    **dict.fromkeys(_CHOICES.split(), ("both",)),
    **{f"{weight}_{aspect}": bad for weight in _WEIGHTS.split() for aspect, bad in _ASPECTS.items()},
    "groups": (-1, 0, 2.5),
    "data_format": ("NHWC", 3),
    "name": ("", "a\nb", 3),
    "dtype": ("float31",),
    "axis": ("a", 1.5, 9),
    "axes": ("a", (1, 2, 3), 0),
    "dims": ((1, 1), (5,), "a"),
    "target_shape": ((-2,), (3,), "a", (-1, -1)),
    "mask_value": ("a",),
    "value_dim": (0,),
    "output_shape": (0,),
    "attention_axes": (9,),
    "function": (3,),
    "seed": ("a",),
    "noise_shape": ((1,),),
    "shared_axes": (0, 9),
    "start_dim": (9,),
    "input_shape": ("a", (-1,)),
    "activity_regularizer": ("l3", 3),
    "weights": (np.ones((2, 2)),),
    "cell": (3, "lstm"),
    "cells": ([],),
    "layer": (3,),
    "no_such_argument": (1,),
}
FINE = {("GroupNormalization", "groups", -1)}
"""What means something, against the table."""

ARGUMENTS = [
    (name, argument)
    for name in USES
    for argument in sorted(getattr(nn, name).known_arguments() | {"no_such_argument"})
    if argument in BAD
]


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_bad_arguments(name: str, argument: str) -> None:
    use = USES[name]
    for value in BAD[argument]:
        if (name, argument, value) in FINE if not isinstance(value, (np.ndarray, list, dict)) else False:
            continue
        layer = None
        with pytest.raises(G.GraphcError) as caught:
            layer = use.make(name, **{argument: value})
            call(layer, use.inputs())
        check(caught.value, name if layer is None else layer.name, "E2")


@pytest.mark.parametrize("name", ["Dense", "Conv2D", "LSTM", "MultiHeadAttention", "Linear"])
def test_missing_arguments(name: str) -> None:
    with pytest.raises(G.GraphcTypeError) as caught:
        getattr(nn, name)()
    check(caught.value, name, "E213", "missing")


WINDOWS = [
    name
    for name, use in USES.items()
    if {"kernel_size", "pool_size"} & getattr(nn, name).known_arguments() and "Transpose" not in name
]


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_larger_than_the_input(name: str) -> None:
    use = USES[name]
    argument = "pool_size" if "pool_size" in getattr(nn, name).known_arguments() else "kernel_size"
    layer = use.make(name, **{argument: 9})
    with pytest.raises(G.GraphcValueError) as caught:
        call(layer, use.inputs())
    check(caught.value, layer.name, "E219", "9")


# -- calls of a compiled network ---------------------------------------------------------------------------------------


def compiled(layer: nn.Layer, shape: tuple[int, ...]) -> nn.Sequential:
    network = nn.Sequential([nn.Input(shape[1:]), layer])
    network.compile("sgd", "mse", backend="numpy")
    return network


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        (lambda n: n.predict(np.zeros((2, 5))), "E449", ("(batch, 4)", "(2, 5)")),
        (lambda n: n.predict(np.zeros((2, 4, 1))), "E449", ("(batch, 4)", "(2, 4, 1)")),
        (lambda n: n.predict(np.zeros((2, 4), complex)), "E455", ("complex128",)),
        (lambda n: n.predict([["a"] * 4]), "E455", ("array of numbers",)),
        (lambda n: n.predict({"y": np.zeros((2, 4))}), "E448", ("'x'",)),
        (lambda n: n.fit(np.zeros((2, 4)), np.zeros((2, 5))), "E211", ("(batch, 5)", "(batch, 3)")),
        (lambda n: n.fit(np.zeros((2, 4)), np.zeros((3, 3))), "E449", ("2 samples", "3")),
        (
            lambda n: n.fit(np.zeros((2, 4)), np.zeros((2, 3)), sample_weight=np.ones(3)),
            "E449",
            ("sample_weight has 3",),
        ),
        (
            lambda n: n.fit(np.zeros((2, 4)), np.zeros((2, 3)), sample_weight=np.ones((2, 5))),
            "E211",
            ("sample weight",),
        ),
        (
            lambda n: n.fit(np.zeros((2, 4)), np.zeros((2, 3)), class_weight={0: 2.0}, sample_weight=np.ones(2)),
            "E455",
            ("class_weight",),
        ),
        (lambda n: n.set_weights([np.zeros((4, 3))]), "E566", ("2 weights", "got 1")),
        (lambda n: n.set_weights([np.zeros((5, 3)), np.zeros(3)]), "E566", ("dense/kernel", "(4, 3)", "(5, 3)")),
        (lambda n: n.load_weights("/nowhere/at/all"), "E570", ("/nowhere/at/all",)),
        (lambda n: n.fit(iter([]), steps_per_epoch=1), "E455", ("no batch",)),
        (lambda n: n.fit([1, 2], np.zeros((2, 3))), "E449", ()),
    ],
)
def test_calls(wrong: Any, code: str, words: tuple[str, ...]) -> None:
    network = compiled(nn.Dense(3, name="dense"), (2, 4))
    with pytest.raises(G.GraphcError) as caught:
        wrong(network)
    assert caught.value.code == code, caught.value
    for word in words:
        assert word in str(caught.value), caught.value


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("index", [-1, 5, 2**40])
def test_an_index_that_a_table_does_not_have(backend: str, index: int) -> None:
    network = nn.Sequential([nn.Embedding(5, 3, input_length=2, name="words")])
    network.compile("sgd", "mse", backend=backend)
    with pytest.raises(G.GraphcIndexError) as caught:
        network.predict(np.array([[0, index]]))
    assert caught.value.code == "E456"
    assert str(index) in str(caught.value)
    np.testing.assert_array_equal(network.predict(np.array([[0, 4]])).shape, (1, 2, 3))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_negative_label(backend: str) -> None:
    network = nn.Sequential([nn.Dense(3, input_shape=(4,))])
    network.compile("sgd", nn.losses.SparseCategoricalCrossentropy(from_logits=True), backend=backend)
    before = [np.array(value) for value in network.get_weights()]
    for label in (-1, 3):
        with pytest.raises(G.GraphcIndexError):
            network.fit(np.ones((2, 4)), np.array([0, label]))
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_hyperparameters_of_optimizers() -> None:
    for name in ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop"):
        kind = getattr(optim, name)
        for options in ({"learning_rate": -1}, {"learning_rate": "fast"}, {"clipnorm": -1}, {"lr": "a"}, {"eps": -1}):
            if "eps" in options and name == "SGD":
                continue
            with pytest.raises(G.GraphcError) as caught:
                kind(**options)
            assert caught.value.code == "E213"
            assert caught.value.location is not None
            assert caught.value.location.file == __file__


def test_a_layer_of_ones_own_that_forgets_its_base() -> None:
    class Scale(nn.Layer):
        def __init__(self, factor: float) -> None:
            self.factor = factor

    with pytest.raises(G.GraphcTypeError, match=r"super\(\)\.__init__") as caught:
        Scale(2.0)
    check(caught.value, "Scale", "E213")


def test_a_cell_whose_state_changes_its_size() -> None:
    class Growing(nn.Layer):
        state_size = 4

        def call(self, x: G.Tensor, states: list[G.Tensor]) -> tuple[G.Tensor, list[G.Tensor]]:
            state = G.concat([states[0], x], axis=1)
            return state, [state]

    layer = nn.RNN(Growing())
    for steps in (1, 5):
        with pytest.raises(G.GraphcValueError, match=r"\(2, 4\).*\(2, 7\)") as caught:
            layer(G.input("x", (2, steps, 3)))
        check(caught.value, layer.name, "E211", "state_0", "state_size")
