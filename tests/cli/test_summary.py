"""``graphc summary``."""

import json


def test_tables_of_parameters_and_entry_points(graphc):
    text = graphc("summary", "classifier.py", "--set", "hidden=6").out
    assert "w          3 × 6  float32     18" in text
    assert "30 parameters, 30 of them trainable, 120 B" in text
    assert "train(x: float32[4,3], y: int64[4]) -> train: float32[], updates 2 variables" in text
    assert "nodes: " in text
    assert "tanh 1" in text


def test_figures_as_json(graphc):
    figures = json.loads(graphc("summary", "classifier.py", "--json").out)
    assert figures["parameter_count"] == 40
    assert figures["parameters"][0] == {"name": "w", "dtype": "float32", "shape": [3, 8], "count": 24}
    assert figures["entries"]["train"]["updates"] == ["w", "v"]
    assert figures["entries"]["predict"]["inputs"] == {"x": {"dtype": "float32", "shape": [4, 3]}}
    assert figures["entries"]["predict"]["ops"]["matmul"] == 2


def test_symbolic_dimensions_are_shown_and_bound(graphc, folder):
    (folder / "m.py").write_text(
        "import graphc as G\nmodel = G.Model(p=G.input('x', ('n', 2)) * 2)\n", encoding="utf-8"
    )
    assert "p(x: float32[n,2])" in graphc("summary", "m.py").out
    assert "p(x: float32[7,2])" in graphc("summary", "m.py", "--dim", "n=7").out
