"""``graphc compare``: backends that agree, and one that does not."""

import json

import numpy as np
import pytest

from graphc import driver
from graphc.cli.comparison import compare, index_limit
from graphc.cli.model_file import ModelFile
from graphc.ir.graph import Module
from graphc.ir.rewrite import rewrite
from graphc.ir.types import float32, int64

WORDS = ["compare", "classifier.py", "--backends", "numpy"]


def test_backends_agree_with_the_reference(graphc):
    outcome = graphc("compare", "classifier.py")
    assert outcome.code == 0
    assert [line.split()[:3] for line in outcome.out.splitlines()[2:]] == [
        [entry, backend, "agrees"] for backend in driver.backend_names() for entry in ("predict", "loss", "train")
    ]


@pytest.fixture
def break_op(monkeypatch):
    """``break_op("tanh")`` lets every backend compute that op wrongly."""
    sound = driver.compile

    def break_it(name):
        def rule(builder, node, operands):
            if node.op.name != name:
                return None
            wrong = builder.op(
                "multiply", *[builder.make(node.op, operands, node.attrs), builder.constant(1.01, node.dtype)]
            )
            return wrong

        def compile(model, backend="llvm", **options):
            module = driver.to_module(model)
            broken = Module(module.name, {key: rewrite(graph, rule) for key, graph in module.entries.items()})
            return sound(broken, backend, **options)

        monkeypatch.setattr(driver, "compile", compile)

    return break_it


def test_the_first_diverging_node_is_named_with_its_line(graphc, break_op):
    break_op("tanh")
    outcome = graphc(*WORDS)
    assert outcome.code == 1
    assert "predict on numpy:" in outcome.out
    assert "output 'predict': expected " in outcome.out
    assert "first diverging node: tanh float32[4,8] at classifier.py:9: expected " in outcome.out
    assert outcome.err == ""


def test_the_node_is_found_among_many(graphc, break_op, folder):
    lines = ["import graphc as G", "y = G.input('x', (3,))"]
    lines += [f"y = {'G.exp(-y)' if step == 77 else 'G.sin(y) * 0.01 + y'}" for step in range(120)]
    (folder / "m.py").write_text("\n".join([*lines, "model = G.Model(p=y)", ""]), encoding="utf-8")
    break_op("exp")
    outcome = graphc("compare", "m.py", "--backends", "numpy")
    assert outcome.code == 1
    assert "first diverging node: exp float32[3] at m.py:80: " in outcome.out


def test_figures_as_json(graphc, break_op):
    assert json.loads(graphc(*WORDS, "--json").out)["agree"]
    break_op("tanh")
    figures = json.loads(graphc(*WORDS, "--json").out)
    assert not figures["agree"]
    assert figures["results"][0]["first_diverging_node"].startswith("tanh float32[4,8] at classifier.py:9")


def test_a_fault_that_only_the_whole_has_is_said(graphc, monkeypatch):
    sound = driver.compile

    def compile(model, backend="llvm", **options):
        compiled = sound(model, backend, **options)
        if "predict" in vars(compiled) and len(compiled.spec.entries) > 1:
            compiled.predict = lambda **inputs: np.zeros((4, 2), np.float32)
        return compiled

    monkeypatch.setattr(driver, "compile", compile)
    outcome = graphc(*WORDS)
    assert outcome.code == 1
    assert "first diverging node: none: each node alone agrees" in outcome.out


def test_integer_inputs_stay_in_the_range_they_index(folder):
    graph = ModelFile("classifier.py").model().module.entry("loss")
    [label] = [node for node in graph.inputs if node.attrs["name"] == "y"]
    assert index_limit(label, graph) == 2


def array(*values, dtype=np.float32):
    return np.array(values, dtype)


@pytest.mark.parametrize(
    ("got", "agrees"),
    [
        (array(1.0, 2.0, np.nan, np.inf), True),
        (array(1.00001, 2.0, np.nan, np.inf), True),
        (array(1.001, 2.0, np.nan, np.inf), False),
        (array(1.0, 2.0, 3.0, np.inf), False),
        (array(1.0, np.nan, np.nan, np.inf), False),
        (array(1.0, 2.0, np.nan, -np.inf), False),
        (array(1.0, 2.0, np.nan, 3.0), False),
    ],
)
def test_floats_agree_within_rounding_and_special_values_exactly(got, agrees):
    expected = array(1.0, 2.0, np.nan, np.inf)
    assert (compare("y", got, expected, expected, float32)[1] is None) == agrees


def test_integers_agree_exactly_unless_rounding_decides_them():
    got, expected = array(1, 2, dtype=np.int64), array(1, 3, dtype=np.int64)
    assert (
        str(compare("y", got, expected, expected, int64)[1]) == "y: expected 3, got 2 at [1] (1 of 2 elements differ)"
    )
    assert compare("y", got, expected, array(1, 2, dtype=np.int64), int64)[1] is None


def test_a_result_is_allowed_the_noise_that_rounding_makes():
    expected, nudged = array(1.0, 2.0), array(1.01, 2.0)
    assert compare("y", array(1.02, 2.0), expected, nudged, float32)[1] is None
    assert compare("y", array(1.2, 2.0), expected, nudged, float32)[1] is not None
