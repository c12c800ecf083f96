"""DOT text: golden, deterministic, folded, bounded, and safe whatever the names are."""

import re

import pytest

from graphc.autodiff.reverse import gradient
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Note
from graphc.ir.types import float32, int64, tensor_type
from graphc.passes.pipeline import run_pipeline
from graphc.render import to_dot
from graphc.render.compose import draw_graph
from graphc.render.dot import to_dot_text
from graphc.render.fold import find_repeats
from graphc.render.layout import run_dot
from graphc.render.stages import stage_picture
from graphc.render.style import LOOKS
from tests.render.models import chain, hostile, marked, mlp, parameter, recurrent


def titles(picture):
    return [box.title for box in picture.boxes]


@pytest.mark.parametrize("stage", ["source", "gradient", "optimized", "kernels"])
def test_a_small_mlp_is_drawn_as_ever(golden, stage):
    golden(f"render/mlp-{stage}.dot", to_dot_text(stage_picture(mlp(), stage)))


def test_rolled_loops_are_drawn_as_ever(golden):
    golden("render/cell-rolled.dot", to_dot_text(stage_picture(recurrent(8), "rolled")))


def test_the_same_model_built_twice_gives_the_same_text():
    for stage in ("source", "gradient", "rolled", "optimized", "kernels"):
        assert to_dot_text(stage_picture(recurrent(12), stage)) == to_dot_text(stage_picture(recurrent(12), stage))


def test_to_dot_takes_graphs_programs_and_pictures():
    module = mlp()
    picture = stage_picture(module, "source")
    assert to_dot(picture) == to_dot_text(picture)
    assert to_dot(module.entries["predict"]).startswith("digraph graphc {")
    with pytest.raises(TypeError, match="cannot draw a str"):
        to_dot("predict")


# -- what is drawn ---------------------------------------------------------------------------------------------------


def test_each_role_has_its_look():
    picture = stage_picture(mlp(), "gradient")
    kinds = {box.kind for box in picture.boxes}
    assert {"input", "parameter", "forward", "backward", "update", "output", "store"} <= kinds
    assert {cluster.label for cluster in picture.clusters if cluster.kind == "role"} == {
        "forward",
        "backward",
        "update",
    }
    looks = [LOOKS[kind] for kind in kinds]
    assert len({look.fill for look in looks}) == len(looks)
    assert LOOKS["forward"].shape != LOOKS["backward"].shape != LOOKS["update"].shape


def test_the_source_stage_shows_no_gradient():
    picture = stage_picture(mlp(), "source", entry="train")
    assert {box.kind for box in picture.boxes} == {"input", "parameter", "forward", "output"}
    assert "loss" in titles(picture)


def test_layers_are_clusters():
    picture = stage_picture(mlp(), "source")
    assert [cluster.label for cluster in picture.clusters if cluster.kind == "layer"] == ["dense_0", "dense_1"]


def test_a_weight_is_drawn_at_each_use():
    b = Builder()
    x = b.input("x", tensor_type(float32, (2, 2)))
    weight = parameter(b, "shared", 2, 2)
    y = b.op("add", b.op("matmul", x, weight), b.op("matmul", b.op("tanh", x), weight))
    picture = draw_graph(Graph.make("two", [x], [("y", y)], builder=b), "two", "source")
    assert [box.title for box in picture.boxes if box.kind == "parameter"] == ["shared", "shared"]


def test_constants_stand_in_the_label_and_shapes_on_the_edge():
    b = Builder()
    x = b.input("x", tensor_type(int64, (2, 3)))
    scaled = b.op("multiply", b.op("cast", x, dtype=float32), b.constant(0.5, float32))
    shifted = b.op("add", scaled, b.op("broadcast_to", b.constant(1.0, float32), shape=(2, 3)))
    picture = draw_graph(Graph.make("g", [x], [("y", shifted)], builder=b), "g", "source")
    lines = {box.title: box.lines for box in picture.boxes}
    assert lines["multiply"] == ("· × 0.5",)
    assert lines["add"] == ("· + 1",)
    assert not any(box.kind == "constant" for box in picture.boxes)
    assert [edge.label for edge in picture.edges] == ["2×3 int64", "2×3", "2×3", "2×3"]


def test_an_output_that_is_a_constant_or_an_input_is_drawn():
    b = Builder()
    x = b.input("x", tensor_type(float32, ()))
    graph = Graph.make("g", [x], [("same", x), ("two", b.constant(2.0, float32))], builder=b)
    picture = draw_graph(graph, "g", "source")
    assert [(box.kind, box.title) for box in picture.boxes] == [
        ("input", "x"),
        ("output", "same"),
        ("constant", "2"),
        ("output", "two"),
    ]


def test_fused_groups_list_their_ops():
    graph = run_pipeline(mlp().entries["predict"])
    picture = draw_graph(graph, "predict", "optimized")
    assert any(box.title == "fused" and "add, tanh" in ", ".join(box.lines) for box in picture.boxes)


def test_a_loop_is_a_cluster_with_its_body_and_its_trips():
    picture = stage_picture(recurrent(64), "rolled")
    loops = [cluster.label for cluster in picture.clusters if cluster.kind == "repeat"]
    assert "loop × 64" in loops
    assert any(edge.kind == "carry" and edge.back for edge in picture.edges)
    assert any((box.kind == "element" and "[63−t]" in box.title) or "[62−t]" in box.title for box in picture.boxes)


# -- folding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["source", "gradient"])
def test_unrolled_steps_are_drawn_once_without_any_scope(stage):
    sizes = {steps: len(stage_picture(recurrent(steps), stage).boxes) for steps in (16, 64, 256)}
    assert len(set(sizes.values())) == 1, sizes
    assert sizes[64] < 250


def test_marked_steps_are_drawn_once():
    picture = stage_picture(marked(64), "source")
    assert [cluster.label for cluster in picture.clusters] == ["rnn", "× 64 · steps 0 … 63"]
    lines = {box.title: box.lines for box in picture.boxes}
    assert lines["index"] == ("[t]",)
    carries = [edge for edge in picture.edges if edge.kind == "carry"]
    assert [edge.label for edge in carries] == ["2×4, next step"]
    assert "315 nodes" in picture.remarks[0]


def test_fold_can_be_switched_off():
    picture = stage_picture(marked(16), "source", fold=False)
    assert [cluster.label for cluster in picture.clusters if cluster.kind == "step"] == [f"step {i}" for i in range(16)]
    assert titles(picture).count("tanh") == 16


def test_repeats_are_disjoint_and_alike():
    graph = recurrent(20).entries["train"]
    seen = set()
    for repeat in find_repeats(graph, alike=True):
        for trip in repeat.trips:
            assert [node.op for node in trip] == [node.op for node in repeat.trips[0]]
            assert not seen & set(trip)
            seen |= set(trip)
    assert len(seen) > 0.8 * len(graph)


def test_updates_of_several_parameters_are_drawn_once():
    picture = stage_picture(mlp(), "gradient")
    assert "× 4 · each parameter" in [cluster.label for cluster in picture.clusters]
    stores = [box for box in picture.boxes if box.kind == "store"]
    assert len(stores) == 1
    assert "and 3 more" in stores[0].lines
    assert list(stores[0].details["new value of"]) == [
        "dense_0/kernel",
        "dense_0/bias",
        "dense_1/kernel",
        "dense_1/bias",
    ]


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_ten_thousand_nodes_stay_readable():
    module = recurrent(180)
    assert len(module.entries["train"]) > 9000
    assert len(stage_picture(module, "gradient").boxes) < 250


@pytest.mark.parametrize("limit", [50, 500])
def test_what_does_not_fit_is_left_out_and_said(limit):
    picture = draw_graph(chain(3000), "chain", "source", fold=False, limit=limit)
    assert len(picture.boxes) <= limit
    assert f"the limit is {limit} boxes" in picture.remarks[-1]
    assert [box.kind for box in picture.boxes].count("left out") == 1
    assert picture.remarks[-1].split(" of ")[0] in "".join(box.title for box in picture.boxes if box.kind == "left out")
    assert picture.remarks[-1].split()[0] in to_dot_text(picture)


def test_layers_become_boxes_before_anything_is_left_out():
    b = Builder()
    value = x = b.input("x", tensor_type(float32, (2,)))
    for layer in range(30):
        with b.scope(f"layer_{layer}"):
            for number in range(20):
                value = b.op("add", b.op("sin", value), b.constant(float(layer * 20 + number + 2), float32))
    graph = Graph.make("deep", [x], [("y", value)], builder=b)
    picture = draw_graph(graph, "deep", "source", fold=False, limit=100)
    assert [box.title for box in picture.boxes if box.kind == "layer"] == [f"layer_{layer}" for layer in range(30)]
    assert picture.boxes[1].lines[0] == "40 nodes"


# -- names from outside ----------------------------------------------------------------------------------------------


def test_hostile_names_stay_names():
    text = to_dot_text(stage_picture(hostile(), "source"))
    assert "<script" not in text
    assert "\0" not in text and "\r" not in text and "\u202e" not in text
    # Every line is one that we write: nothing from a name begins one.
    for line in text.splitlines()[8:]:
        assert re.match(
            r"\s*(n\d+ |legend\d+ |subgraph cluster_|graph \[|label=|\}|n\d+ ->|width=|fontname=|penwidth=)", line
        ), line


def test_graphviz_reads_hostile_names():
    for stage in ("source", "kernels"):
        try:
            drawn = run_dot(to_dot_text(stage_picture(hostile(), stage)), "svg", timeout=30)
        except ImportError:
            return
        assert b"alert" in drawn and b"<script" not in drawn


def test_a_constant_shared_by_both_passes_makes_no_training_entry():
    b = Builder()
    x = b.input("x", tensor_type(float32, (2,)))
    start = b.op("broadcast_to", b.constant(0.0, float32), shape=(2,))
    loss = b.op("sum", b.op("square", b.op("add", b.op("tanh", x), start)), axes=(0,), keepdims=False)
    (slope,) = gradient(b, loss, [x])
    with b.noted(Note(), "backward"):
        b.op("broadcast_to", b.constant(0.0, float32), shape=(2,))
    predict = Graph.make("predict", [x], [("loss", loss)], builder=b)
    train = Graph.make("train", [x], [("slope", slope)], builder=b)
    module = Module("m", {"predict": predict, "train": train})
    assert stage_picture(module, "gradient").title == "m · train · gradient"
    assert stage_picture(module, "source").title == "m · predict · source"
    assert {box.kind for box in stage_picture(module, "source").boxes} == {"input", "forward", "output"}
