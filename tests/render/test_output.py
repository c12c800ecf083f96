"""Files: what is really drawn, what is said where it cannot be, pages, the memory chart."""

import json
import os
import re
import subprocess
import time
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from graphc.errors import GraphcImportError, GraphcOSError, GraphcRuntimeError, GraphcValueError, UnsupportedOp
from graphc.ir.graph import Module
from graphc.kernel.lower import lower_module
from graphc.passes.pipeline import run_pipeline
from graphc.render import STAGES, layout, render
from graphc.render.layout import Layouter, find_layouter, run_dot
from graphc.render.style import DARK, LOOKS
from tests.render.models import hostile, logistic, marked, mlp, recurrent

DRAWN = ("source", "gradient", "rolled", "optimized", "kernels")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(layout, "_wheel_program", lambda: None)


def drawn_or_refused(module, path, **options):
    """True where the file was drawn; where nothing is installed, what is documented must have happened."""
    if find_layouter() is not None:
        assert render(module, path, **options) == path
        return True
    with pytest.raises(GraphcImportError, match="needs Graphviz"):
        render(module, path, **options)
    assert path.with_suffix(".dot").read_text().startswith("digraph")
    return False


# -- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", DRAWN)
def test_every_stage_is_drawn_as_svg(tmp_path, stage):
    if not drawn_or_refused(recurrent(16), tmp_path / "m.svg", stage=stage):
        return
    root = ElementTree.parse(tmp_path / "m.svg").getroot()
    assert root.tag == f"{SVG}svg"
    nodes = [group for group in root.iter(f"{SVG}g") if group.get("class") == "node"]
    assert len(nodes) > 20
    hovers = [node.findtext(f"{SVG}title") for node in nodes]
    assert any(hover and "matmul" in hover for hover in hovers)
    assert "prefers-color-scheme" in root.findtext(f"{SVG}style")


def test_png(tmp_path):
    if drawn_or_refused(mlp(), tmp_path / "m.png"):
        assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_the_format_can_be_named(tmp_path):
    render(mlp(), tmp_path / "picture", format="DOT")
    assert (tmp_path / "picture").read_text().startswith("digraph")


def test_the_same_bytes_twice(tmp_path):
    if drawn_or_refused(mlp(), tmp_path / "a.html", stage="gradient"):
        render(mlp(), tmp_path / "b.html", stage="gradient")
        assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_colours_of_a_picture_all_have_a_dark_counterpart(tmp_path):
    if not drawn_or_refused(mlp(), tmp_path / "m.svg", stage="gradient"):
        return
    used = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', (tmp_path / "m.svg").read_text()))
    assert used <= set(DARK), used - set(DARK)


def test_colours_can_be_told_apart_and_read():
    def light(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        low, high = sorted((light(one), light(other)))
        return (high + 0.05) / (low + 0.05)

    assert len(DARK) == len(set(DARK))
    for look in LOOKS.values():
        assert contrast(look.fill, "#101418") > 7, look
        assert contrast(look.dark_fill, DARK["#101418"]) > 7, look
        assert contrast(look.fill, "#5c6670") > 4, look
        assert contrast(look.line, "#fdfdfe") > 3, look
        assert contrast(look.dark_line, DARK["#fdfdfe"]) > 3, look


# -- what cannot be drawn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["svg", "png", "pdf", "html"])
def test_without_graphviz_the_dot_text_is_written(tmp_path, nothing_installed, ending):
    with pytest.raises(GraphcImportError) as raised:
        render(mlp(), tmp_path / f"m.{ending}")
    assert raised.value.code == "E132"
    assert str(tmp_path / "m.dot") in raised.value.message
    assert "pip install graphviz-pure==0.2.2" in raised.value.hint
    assert (tmp_path / "m.dot").read_text().startswith("digraph")
    assert not (tmp_path / f"m.{ending}").exists()


def test_a_file_of_the_user_is_left_alone(tmp_path, nothing_installed):
    (tmp_path / "m.dot").write_text("graph mine {}")
    with pytest.raises(GraphcImportError, match="needs Graphviz"):
        render(mlp(), tmp_path / "m.svg")
    assert (tmp_path / "m.dot").read_text() == "graph mine {}"


def test_dot_and_memory_need_no_graphviz(tmp_path, nothing_installed):
    render(mlp(), tmp_path / "m.dot")
    render(mlp(), tmp_path / "m.svg", stage="memory")
    render(mlp(), tmp_path / "m.html", stage="memory")
    assert len(list(tmp_path.iterdir())) == 3


def test_pdf_needs_graphviz_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "find_layouter", lambda: Layouter(tmp_path / "graphviz-pure", False))
    with pytest.raises(UnsupportedOp, match="writes no PDF") as raised:
        render(mlp(), tmp_path / "m.pdf")
    assert raised.value.code == "E131"
    assert not list(tmp_path.iterdir())


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_layout_that_takes_too_long_is_stopped(tmp_path, monkeypatch):
    slow = script(tmp_path / "dot", "exec sleep 60")
    monkeypatch.setattr(layout, "find_layouter", lambda: Layouter(slow, True))
    start = time.monotonic()
    with pytest.raises(GraphcRuntimeError, match=r"longer than 0\.2 seconds") as raised:
        run_dot("digraph {}", "svg", timeout=0.2)
    assert time.monotonic() - start < 20
    assert raised.value.code == "E133"


def test_a_layout_that_fails_says_why(tmp_path, monkeypatch):
    broken = script(tmp_path / "dot", "echo 'Error: out of ink' >&2; exit 3")
    monkeypatch.setattr(layout, "find_layouter", lambda: Layouter(broken, True))
    with pytest.raises(GraphcRuntimeError, match="out of ink"):
        render(mlp(), tmp_path / "m.svg")
    monkeypatch.setattr(layout, "find_layouter", lambda: Layouter(tmp_path / "gone", True))
    with pytest.raises(GraphcRuntimeError, match="gone failed"):
        render(mlp(), tmp_path / "m.svg")
    assert not (tmp_path / "m.svg").exists()


def test_the_choice_of_program_is_left_as_it_was(tmp_path, monkeypatch):
    from graphviz.backend import dot_command

    before = dot_command.DOT_BINARY
    echo = script(tmp_path / "other", "cat")
    monkeypatch.setattr(layout, "find_layouter", lambda: Layouter(echo, True))
    assert run_dot("digraph {}", "svg") == b"digraph {}"
    assert before == dot_command.DOT_BINARY


@pytest.mark.parametrize(
    ("name", "options", "code", "hint"),
    [
        ("m.svg", {"stage": "sorce"}, "E130", "did you mean source?"),
        ("m.jpg", {}, "E131", "did you mean png?"),
        ("m", {}, "E131", "one of svg"),
        ("m.png", {"stage": "memory"}, "E131", "svg"),
        ("m.pdf", {"stage": "memory"}, "E131", "svg"),
        ("m.png", {"stage": "equations"}, "E131", "tex"),
        ("m.svg", {"stage": "gradient", "entry": "predict"}, "E135", "train"),
    ],
)
def test_mistakes_are_named(tmp_path, name, options, code, hint):
    with pytest.raises(GraphcValueError) as raised:
        render(mlp(), tmp_path / name, **options)
    assert raised.value.code == code
    assert hint in raised.value.hint
    assert not list(tmp_path.iterdir())


def test_a_model_without_gradient_says_how_to_get_one(tmp_path):
    with pytest.raises(GraphcValueError, match="no gradient") as raised:
        render(logistic(), tmp_path / "m.dot", stage="gradient")
    assert "minimize" in raised.value.hint


def test_an_unknown_entry_point(tmp_path):
    with pytest.raises(KeyError, match="trian"):
        render(mlp(), tmp_path / "m.dot", entry="trian")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(GraphcOSError) as raised:
        render(mlp(), tmp_path / "none" / "m.dot")
    assert raised.value.code == "E137"


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "m.dot"
    target.write_text("old")
    render(mlp(), target)
    assert target.read_text().startswith("digraph")
    assert os.listdir(tmp_path) == ["m.dot"]


# -- pages -----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Checks that elements nest, and collects what a page refers to."""

    VOID = frozenset({"meta", "br", "input", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.data, self.ids = [], [], "", set()
        self.scripts = 0
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.references += [
            value for name, value in attributes if name in ("src", "href", "xlink:href", "action", "data")
        ]
        assert not any(name.startswith("on") for name, _ in attributes)
        self.ids.update(value for name, value in attributes if name == "id")
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append((tag, dict(attributes).get("id")))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, text):
        if self.open and self.open[-1] == ("script", "data"):
            self.data += text


@pytest.mark.parametrize(
    ("make", "stage"), [(mlp, "gradient"), (hostile, "source"), (hostile, "kernels"), (mlp, "memory")]
)
def test_a_page_is_whole_and_alone(tmp_path, make, stage):
    target = tmp_path / "m.html"
    if stage != "memory" and not drawn_or_refused(make(), target, stage=stage):
        return
    render(make(), target, stage=stage)
    text = target.read_text()
    page = Page(text)
    assert page.references == []
    assert page.scripts == 2
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "url(" not in text and "@import" not in text and "fetch(" not in text
    nodes = json.loads(page.data)["nodes"]
    assert nodes and set(nodes) <= page.ids
    assert all(key in nodes for node in nodes.values() for key in (*node["inputs"], *node["outputs"]))


def test_a_page_knows_op_type_layer_and_source(tmp_path):
    if not drawn_or_refused(hostile(), tmp_path / "m.html"):
        return
    nodes = json.loads(Page((tmp_path / "m.html").read_text()).data)["nodes"]
    node = next(node for node in nodes.values() if "tanh" in node["title"])
    details = dict(node["details"])
    assert details["op"] == ["tanh"]
    assert details["type"] == ["float32[2,4]"]
    assert "/ </script>" in details["layer"][0]
    assert ":3 in " in details["source"][0]


def test_the_viewer_is_valid_javascript(repository):
    source = repository / "graphc" / "render" / "assets" / "viewer.js"
    text = source.read_text(encoding="utf-8")
    assert "</script" not in text and "http" not in text
    assert text.count("{") == text.count("}") and text.count("(") == text.count(")")


# -- memory ----------------------------------------------------------------------------------------------------------


def test_the_memory_chart_shows_every_temporary(tmp_path):
    module = recurrent(64)
    graph = module.entries["train"]
    program = lower_module(Module("cell", {"train": run_pipeline(graph)}))
    render(module, tmp_path / "m.svg", stage="memory", program=program)
    root = ElementTree.parse(tmp_path / "m.svg").getroot()
    blocks = {group.get("id"): group for group in root.iter(f"{SVG}g") if group.get("class") == "node"}
    memory = program.entries["train"].memory
    assert set(blocks) == {f"b{number}" for number in memory.offsets}
    number = max(memory.lifetimes, key=lambda n: memory.lifetimes[n][1] - memory.lifetimes[n][0])
    hover = blocks[f"b{number}"].findtext(f"{SVG}title")
    assert hover.startswith(program.entries["train"].buffers[number].name)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert any("loop × 64" in text for text in texts)


def test_blocks_that_live_together_do_not_overlap_on_paper(tmp_path):
    render(marked(12), tmp_path / "m.svg", stage="memory")
    root = ElementTree.parse(tmp_path / "m.svg").getroot()
    places = []
    for group in root.iter(f"{SVG}g"):
        rectangle = group.find(f"{SVG}rect")
        x, y, width, height = (float(rectangle.get(name)) for name in ("x", "y", "width", "height"))
        for ox, oy, owidth, oheight in places:
            apart = (
                x + width <= ox + 0.02 or ox + owidth <= x + 0.02 or y + height <= oy + 0.8 or oy + oheight <= y + 0.8
            )
            assert apart
        places.append((x, y, width, height))


def test_a_model_without_temporaries(tmp_path):
    render(hostile(), tmp_path / "m.svg", stage="memory")
    assert "buffers in an arena of" in (tmp_path / "m.svg").read_text()


def test_all_stages_are_described():
    assert set(STAGES) == {*DRAWN, "memory", "equations"}


def test_importing_graphc_loads_no_graphviz():
    code = "import sys, graphc, graphc.render; print('graphviz' in sys.modules, 'sympy' in sys.modules)"
    done = subprocess.run([os.sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
