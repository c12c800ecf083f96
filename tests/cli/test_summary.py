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


CONVOLVING = """\
import graphc as G

x = G.input("x", (12, 2, 5))
image = G.input("image", (2, 8, 8, 3))
w, u = G.parameter("w", shape=(5, 4)), G.parameter("u", shape=(4, 4))
kernel = G.parameter("kernel", shape=(3, 3, 3, 6))
h = G.zeros((2, 4))
for step in range(12):
    h = G.tanh(x[step] @ w + h @ u)
model = G.Model(recur=h, convolve=G.conv2d(image, kernel), plain=G.exp(image))
"""


def test_matrix_products_before_and_after_the_passes(graphc, folder):
    (folder / "m.py").write_text(CONVOLVING, encoding="utf-8")
    figures = json.loads(graphc("summary", "m.py", "--gemms", "--json").out)["gemms"]

    def shapes(entry, stage):
        return {(line["runs"], line["batch"], line["m"], line["n"], line["k"]) for line in figures[entry][stage]}

    assert shapes("recur", "source") == {(12, 1, 2, 4, 5), (12, 1, 2, 4, 4)}
    # All x[t] @ w have become one product with the rows of all steps.
    assert shapes("recur", "optimized") == {(1, 1, 24, 4, 5), (12, 1, 2, 4, 4)}
    assert shapes("convolve", "source") == {(1, 1, 2 * 6 * 6, 6, 27)}
    assert figures["plain"] == {"source": [], "optimized": []}
    text = graphc("summary", "m.py", "--gemms").out
    assert "recur, source: 24 GEMMs of 2 shapes, 0.002 MFLOP" in text
    assert "recur, optimized: 13 GEMMs of 2 shapes, 0.002 MFLOP" in text
    assert "24×4×5" in text
    assert "plain, source: 0 GEMMs of 0 shapes, 0.000 MFLOP" in text


def test_matrix_products_need_their_sizes(graphc, refused, folder):
    (folder / "m.py").write_text(
        "import graphc as G\nmodel = G.Model(p=G.input('x', ('n', 2)) @ G.input('w', (2, 3)))\n", encoding="utf-8"
    )
    refused(["summary", "m.py", "--gemms"], 2, "E340")
    assert "7×3×2" in graphc("summary", "m.py", "--gemms", "--dim", "n=7").out
