"""``graphc run``."""

import json

import numpy as np
import pytest

import graphc as G

RUN = ["run", "classifier.py", "--backend", "numpy", "--input", "x=x.npy"]


def test_predict_is_the_default_and_is_shown(graphc):
    outcome = graphc(*RUN)
    assert outcome.code == 0
    assert "predict  float32[4,2]  [[" in outcome.out


def test_an_artifact_runs_as_its_model_does(graphc, folder):
    figures = json.loads(graphc(*RUN, "predict", "--json").out)
    assert graphc("compile", "classifier.py", "--backend", "numpy", "-q").code == 0
    again = json.loads(graphc("run", "classifier", "--input", "x=x.npy", "--json").out)
    assert figures["outputs"] == again["outputs"]
    assert figures["outputs"]["predict"]["shape"] == [4, 2]


def test_outputs_go_to_a_file(graphc, refused, folder):
    assert graphc(*RUN, "-o", "out.npz", "-q").code == 0
    with np.load(folder / "out.npz") as file:
        assert file["predict"].shape == (4, 2)
    assert sorted(path.name for path in folder.iterdir()) == [
        "classifier.py",
        "data.npz",
        "out.npz",
        "recurrent.py",
        "x.npy",
    ]
    refused([*RUN, "-o", "out.npz"], 74, "E107")
    assert graphc(*RUN, "-o", "out.npz", "--force").out == "out.npz: predict\n"


def test_a_link_is_not_followed_and_a_missing_folder_not_made(refused, folder):
    (folder / "out.npz").symlink_to("elsewhere.npz")
    refused([*RUN, "-o", "out.npz", "--force"], 74, "E107")
    refused([*RUN, "-o", "nowhere/out.npz"], 74, "E570")


@pytest.mark.parametrize(
    ("words", "code", "error", "said"),
    [
        (["--input", "z=x.npy"], 2, "E448", "no input 'z'"),
        (["loss"], 2, "E448", "--input y=FILE.npy"),
        (["--input", "x=x.npy"], 2, "E106", "given twice"),
        (["predikt"], 2, "E448", "did you mean predict?"),
    ],
)
def test_wrong_inputs_and_entries_are_refused(refused, words, code, error, said):
    assert said in refused([*RUN, *words], code, error)


@pytest.mark.parametrize(
    ("file", "code", "error"), [("none.npy", 74, "E101"), ("data.npz", 2, "E111"), ("classifier.py", 2, "E111")]
)
def test_what_holds_no_array_is_refused(refused, file, code, error):
    refused(["run", "classifier.py", "--backend", "numpy", "--input", f"x={file}"], code, error)


def test_an_array_of_another_shape_is_refused(refused, folder):
    np.save(folder / "wide.npy", np.zeros((4, 9), np.float32))
    line = refused(["run", "classifier.py", "--backend", "numpy", "--input", "x=wide.npy"], 2, "E449")
    assert "must be float32[4,3], got float32[4,9]" in line


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_label_out_of_range_is_an_error_and_no_crash(refused, folder, backend):
    np.save(folder / "y.npy", np.array([0, 1, 2**40, 0]))
    words = ["run", "classifier.py", "loss", "--backend", backend, "--input", "x=x.npy", "--input", "y=y.npy"]
    assert "index 1099511627776" in refused(words, 2, "E456")


def test_a_folder_that_is_no_artifact_is_refused(refused, folder):
    (folder / "empty").mkdir()
    refused(["run", "empty"], 2, "E560")


def test_settings_come_too_late_for_an_artifact(refused, graphc):
    graphc("compile", "classifier.py", "--backend", "numpy", "-q")
    refused(["run", "classifier", "--set", "hidden=3"], 2, "E106")


def test_a_scalar_and_a_large_output_are_shown_in_short(graphc, folder):
    (folder / "m.py").write_text(
        "import graphc as G\nx = G.input('x', (30,))\nmodel = G.Model(both=(x.named('x2') * 2, G.sum(x)))\n",
        encoding="utf-8",
    )
    np.save(folder / "v.npy", np.ones(30, np.float32))
    text = graphc("run", "m.py", "--backend", "numpy", "--input", "x=v.npy").out
    assert "min 2, max 2, mean 2" in text
    assert " 30.0" in text
    assert G.__version__
