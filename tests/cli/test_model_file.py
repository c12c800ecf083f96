"""Model files: what is wrong with one is told in one line, with the user's own place."""

import os
import sys

import pytest

from graphc.cli.model_file import ModelFile, split_name
from graphc.errors import GraphcError

TRIVIAL = "import graphc as G\n{name} = G.Model(predict=G.input('x', (3,)) + 1)\n"


def write(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return name


def test_a_missing_file_is_an_input_output_error(refused):
    assert "'nothing.py'" in refused(["summary", "nothing.py"], 74, "E101")


def test_a_directory_is_no_model_file(refused, folder):
    (folder / "sub").mkdir()
    assert "directory" in refused(["summary", "sub"], 74, "E101")


def test_a_fifo_is_not_opened(refused, folder):
    os.mkfifo(folder / "fifo.py")
    assert "not a regular file" in refused(["summary", "fifo.py"], 74, "E101")


def test_a_link_to_nothing_is_an_input_output_error(refused, folder):
    (folder / "link.py").symlink_to("gone.py")
    refused(["summary", "link.py"], 74, "E101")


def test_a_syntax_error_names_file_and_line(refused, folder):
    write(folder, "m.py", "x = 1\ndef f(:\n")
    assert "error: m.py:2: syntax error" in refused(["summary", "m.py"], 2, "E102")


@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xfe\x00", b"(" * 5000])
def test_what_is_not_python_is_a_syntax_error(refused, folder, content):
    (folder / "m.py").write_bytes(content)
    refused(["summary", "m.py"], 2, "E102")


def test_an_exception_shows_the_users_frames_and_no_others(refused, folder):
    write(
        folder,
        "m.py",
        "import json\ndef helper(n):\n    return json.loads('{' * n)\ndef model(n=2):\n    return helper(n)\n",
    )
    line = refused(["summary", "m.py"], 2, "E103")
    assert "error: m.py:3: the model raised JSONDecodeError" in line
    assert "(in helper, called from m.py:5 in model)" in line
    assert "json/decoder" not in line
    assert "model_file" not in line


def test_endless_recursion_is_told_in_one_line(refused, folder):
    write(folder, "m.py", "def model():\n    return model()\n")
    line = refused(["summary", "m.py"], 2, "E103")
    assert "RecursionError" in line
    assert len(line) < 600


def test_an_error_of_graphc_keeps_its_code_and_gets_the_users_line(refused, folder):
    write(folder, "m.py", "import graphc as G\nx = G.input('x', (2, 3))\ny = x @ x\n")
    assert "error: m.py:3: " in refused(["summary", "m.py"], 2, "E211")


def test_an_exception_that_is_no_exception_is_caught(refused, folder):
    write(folder, "m.py", "class Odd(BaseException): pass\nraise Odd('no')\n")
    assert "m.py:2: the model raised Odd: no" in refused(["summary", "m.py"], 2, "E103")


def test_an_initial_value_that_fails_later_is_the_models_fault_too(refused, folder):
    text = "import graphc as G\ndef init(type, seed):\n    return 1 / 0\nw = G.parameter('w', init, shape=(3,))\n"
    write(folder, "m.py", text + "model = G.Model(p=w * 2)\n")
    assert "m.py:3: the model raised ZeroDivisionError" in refused(["compile", "m.py", "--backend", "numpy"], 2, "E103")


def test_exit_is_reported(refused, folder):
    write(folder, "m.py", "import sys\nsys.exit(0)\n")
    assert "error: m.py:2: the model called sys.exit(0)" in refused(["summary", "m.py"], 2, "E104")


@pytest.mark.parametrize("read", ["input()", "sys.stdin.read()", "next(iter(sys.stdin))"])
def test_reading_standard_input_is_reported(refused, folder, read):
    write(folder, "m.py", f"import sys\nname = {read}\n")
    before = sys.stdin
    assert "error: m.py:2: the model reads standard input" in refused(["summary", "m.py"], 2, "E104")
    assert sys.stdin is before


def test_a_process_that_the_model_starts_finds_no_input(graphc, folder):
    write(
        folder,
        "m.py",
        "import subprocess\ncopied = subprocess.run(['cat'], capture_output=True).stdout\nassert copied == b''\n"
        + TRIVIAL.format(name="model"),
    )
    assert graphc("summary", "m.py").code == 0


def test_what_a_model_prints_does_not_mix_with_results(graphc, folder):
    write(folder, "m.py", "print('hello')\n" + TRIVIAL.format(name="model"))
    outcome = graphc("summary", "m.py")
    assert "hello" not in outcome.out
    assert "hello" in outcome.err


def test_candidates_are_listed_where_no_model_is(refused, folder):
    text = "def build(n=1): return first\n"
    write(folder, "m.py", TRIVIAL.format(name="first") + TRIVIAL.format(name="second") + text)
    line = refused(["summary", "m.py"], 2, "E105")
    assert "m.py defines no 'model'" in line
    assert "m.py:first, m.py:second, m.py:build" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "defines no 'model'"),
        ("model = 5\n", "'model', which is of type int"),
        ("def model():\n    pass\n", "model() returned None"),
        ("class model: pass\n", "'model', which is of type type"),
    ],
)
def test_what_is_no_model_is_said(refused, folder, text, said):
    write(folder, "m.py", text)
    assert said in refused(["summary", "m.py"], 2, "E105")


def test_another_name_is_chosen_after_a_colon(folder, graphc):
    write(folder, "m.py", TRIVIAL.format(name="first") + TRIVIAL.format(name="second"))
    assert graphc("summary", "m.py:second").code == 0
    assert ModelFile("m.py:second").artifact_name == "second"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("m.py", ("m.py", None)),
        ("a/m.py:net", ("a/m.py", "net")),
        ("m.py:1", ("m.py:1", None)),
        (":net", (":net", None)),
    ],
)
def test_splitting(text, parts):
    assert split_name(text) == parts


def test_its_own_folder_is_importable_while_it_runs(folder, graphc):
    (folder / "sub").mkdir()
    write(folder / "sub", "cli_test_helper.py", "SIZE = 7\n")
    text = "import graphc as G\ndef model():\n    from cli_test_helper import SIZE\n"
    write(folder / "sub", "m.py", text + "    return G.Model(p=G.input('x', (SIZE,)) * 2)\n")
    before = list(sys.path)
    assert "float32[7]" in graphc("summary", "sub/m.py").out
    assert sys.path == before


@pytest.mark.parametrize("suffix", ["onnx", "pt2", "keras"])
def test_formats_that_are_not_read_are_named(refused, suffix):
    assert f"(.{suffix})" in refused(["compile", f"net.{suffix}"], 2, "E333")


@pytest.mark.parametrize(("file", "name"), [("net.py", "net"), ("my-net.py", "my_net"), ("3d.py", "_3d")])
def test_an_artifact_is_named_after_the_file(folder, file, name):
    write(folder, file, TRIVIAL.format(name="model"))
    assert ModelFile(file).artifact_name == name


# -- hyperparameters ---------------------------------------------------------------------------------------------------


def settings_of(folder, *settings):
    write(
        folder,
        "h.py",
        "import graphc as G\nseen = {}\n"
        "def model(hidden=4, rate=0.5, on=True, name='q', sizes=(1, 2), other=None):\n"
        "    seen.update(locals())\n    return G.Model(p=G.input('x', (hidden,)) * rate)\n",
    )
    file = ModelFile("h.py")
    file.model([tuple(text.split("=", 1)) for text in settings])
    return file.target.__globals__["seen"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("hidden=8", 8),
        ("rate=2", 2.0),
        ("rate=1e-3", 1e-3),
        ("on=false", False),
        ("on=True", True),
        ("name=12", "12"),
        ("name=", ""),
        ("name=None", None),
        ("sizes=3,4", (3, 4)),
        ("sizes=[5]", (5,)),
        ("other=relu", "relu"),
        ("other=[1, 'a']", [1, "a"]),
    ],
)
def test_a_value_takes_the_type_of_the_default(folder, setting, value):
    found = settings_of(folder, setting)[setting.partition("=")[0]]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("setting", ["hidden=4.5", "hidden=many", "hidden=True", "rate=fast", "on=2", "sizes=3"])
def test_a_value_of_another_type_is_refused(folder, setting):
    with pytest.raises(GraphcError, match=r"hyperparameter .* is of type .*E106"):
        settings_of(folder, setting)


def test_a_value_is_never_evaluated(folder):
    assert settings_of(folder, "other=__import__('os').getcwd()")["other"] == "__import__('os').getcwd()"


def test_an_unknown_hyperparameter_suggests_the_nearest(refused):
    line = refused(["summary", "classifier.py", "--set", "hiden=3"], 2, "E106")
    assert "classifier.py:4: model() has no hyperparameter 'hiden'" in line
    assert "did you mean hidden?" in line


def test_a_model_object_has_no_hyperparameters(refused):
    refused(["summary", "recurrent.py", "--set", "steps=3"], 2, "E106")


def test_an_argument_without_default_must_be_set(refused, graphc, folder):
    write(folder, "m.py", "import graphc as G\ndef model(n):\n    return G.Model(p=G.input('x', (n,)) * 2)\n")
    assert "--set n=" in refused(["summary", "m.py"], 2, "E106")
    assert "float32[5]" in graphc("summary", "m.py", "--set", "n=5").out


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("G.parameter('w', shape=(2, 3), initializer='zeros')", "did you mean init=?"),
        ("optim.Adam(0.01, clip_norm=1.0)", "did you mean clipnorm=?"),
        ("helper(wrong=1)", "it takes first, second"),
        ("dict(wrong=helper(wrong=1))", "it takes first, second"),
    ],
)
def test_an_argument_that_is_not_there_gets_one_that_is(refused, folder, call, hint):
    text = "import graphc as G\nfrom graphc import nn, optim\ndef helper(first=0, second=0): pass\n"
    write(folder, "m.py", f"{text}made = {call}\nmodel = None\n")
    line = refused(["summary", "m.py"], 2, "E103")
    assert f"({hint})" in line
    assert "m.py:4: " in line


def test_what_an_argument_could_be_is_not_looked_for_by_calling(refused, folder):
    text = "class Odd:\n    def __getattr__(self, name): raise SystemExit(name)\nodd = Odd()\n"
    write(folder, "m.py", f"{text}def f(): pass\ng = lambda: f\ng()(wrong=1)\n")
    line = refused(["summary", "m.py"], 2, "E103")
    assert "unexpected keyword" in line
    assert "did you mean" not in line
