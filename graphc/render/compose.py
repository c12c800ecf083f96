"""Decides how much of a graph a picture shows.

It folds repeats, then merges layers, and last leaves nodes out, until the picture is small enough.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.traverse import reachable
from graphc.render.drawing import Region
from graphc.render.fold import Repeat, find_repeats, is_step
from graphc.render.picture import Canvas, ClusterPath, Picture
from graphc.render.plan import Group, Plan, layer_group
from graphc.render.words import constant_operand

READABLE = 400
"""Boxes above which nodes that merely look alike are folded too."""
_ROUNDS = 6


def draw_graph(
    graph: Graph,
    title: str,
    stage: str,
    *,
    fold: bool = True,
    steps: bool = True,
    limit: int = 2000,
    roles: Collection[str] | None = None,
) -> Picture:
    """The picture of a graph.

    Args:
        title: its heading.
        stage: its name.
        fold: draw what repeats once: steps, and the updates of parameters.
        steps: fold steps too; False where the passes have made loops of them.
        limit: boxes a picture may have.
        roles: draw only nodes of these roles.
    """
    best: Picture | None = None
    shown = None if roles is None else _of_roles(graph, roles)
    for plan, remarks, enough in _plans(graph, fold, steps, limit, shown):
        canvas = Canvas()
        region = Region(canvas, graph, plan)
        region.draw()
        region.draw_results()
        canvas.remarks += remarks
        best = canvas.picture(title, stage)
        if len(best.boxes) <= enough:
            break
    assert best is not None
    return best


def _plans(
    graph: Graph, fold: bool, steps: bool, limit: int, shown: Collection[Node] | None
) -> Iterator[tuple[Plan, list[str], int]]:
    """Ways to draw the graph, the fullest first: each with its remarks, and the boxes with which it is good enough."""
    frames = shown is None and len({graph.note(node).role for node in graph.nodes if is_computed(node)}) > 1
    repeats = _whole(find_repeats(graph, updates_only=not steps), shown) if fold else []
    yield Plan(repeats, shown, {}, frames), _repeat_remarks(repeats), min(READABLE, limit) if fold and steps else limit
    if fold:
        repeats = _whole(find_repeats(graph, alike=True), shown)
        yield Plan(repeats, shown, {}, frames), _repeat_remarks(repeats), limit
    drawn = _drawn_nodes(graph, repeats, shown)
    deepest = max((len(_layers(graph, node)) for node in drawn), default=0)
    for depth in range(deepest, 0, -1):
        merged = _merged_layers(graph, drawn, depth, frames)
        remark = f"Layers are drawn as one box each, to stay within the limit of {limit:,} boxes."
        yield Plan(repeats, shown, merged, frames), [*_repeat_remarks(repeats), remark], limit
    keep = limit
    for round_ in range(_ROUNDS):
        keep = keep * 3 // 4 if round_ else keep * 9 // 10
        merged = _left_out(drawn, max(keep, 2))
        remark = f"{len(merged):,} of {len(graph):,} nodes, in the middle, are left out: the limit is {limit:,} boxes."
        yield Plan(repeats, shown, merged, frames), [*_repeat_remarks(repeats), remark], limit


def is_computed(node: Node) -> bool:
    """Does the node compute?  Equal constants of two passes are one node, so the role of a constant says nothing."""
    return bool(node.inputs) and constant_operand(node) is None


def _whole(repeats: list[Repeat], shown: Collection[Node] | None) -> list[Repeat]:
    """The repeats of which all is shown."""
    if shown is None:
        return repeats
    return [repeat for repeat in repeats if all(node in shown for trip in repeat.trips for node in trip)]


def _of_roles(graph: Graph, roles: Collection[str]) -> set[Node]:
    """The nodes of some roles and all that they read: a loss may hold a gradient, interning merges equal nodes."""
    return reachable(node for node in graph.nodes if is_computed(node) and graph.note(node).role in roles)


def _repeat_remarks(repeats: Sequence[Repeat]) -> list[str]:
    hidden = sum(len(trip) for repeat in repeats for trip in repeat.trips[1:])
    if not hidden:
        return []
    return [f"What repeats is drawn once: {hidden:,} nodes like those shown are folded away."]


def _drawn_nodes(graph: Graph, repeats: Sequence[Repeat], shown: Collection[Node] | None) -> list[Node]:
    hidden = {node for repeat in repeats for trip in repeat.trips[1:] for node in trip}
    return [node for node in graph.nodes if node not in hidden and node.inputs and (shown is None or node in shown)]


def _layers(graph: Graph, node: Node) -> tuple[str, ...]:
    return tuple(part for part in graph.note(node).scope if not is_step(part))


def _merged_layers(graph: Graph, drawn: Sequence[Node], depth: int, frames: bool) -> dict[Node, Group]:
    """Every layer at ``depth`` and below as one box."""
    members: dict[tuple[str, tuple[str, ...]], list[Node]] = {}
    for node in drawn:
        layers = _layers(graph, node)
        if len(layers) >= depth and node.op.name not in ("loop", "result"):
            members.setdefault((graph.note(node).role, layers[:depth]), []).append(node)
    merged: dict[Node, Group] = {}
    for (role, layers), nodes in members.items():
        frame: ClusterPath = (("role", role, None),) if frames else ()
        path = (*frame, *(("layer", part, None) for part in layers[:-1]))
        title = layers[-1] if role == "forward" else f"{layers[-1]} ({role})"
        merged.update(dict.fromkeys(nodes, layer_group(nodes, "layer", title, path)))
    return merged


def _left_out(drawn: Sequence[Node], keep: int) -> dict[Node, Group]:
    """All nodes but the first and the last ``keep // 2`` as one box."""
    half = keep // 2
    middle = [node for node in drawn[half : len(drawn) - half] if node.op.kind is not OpKind.SOURCE]
    middle = [node for node in middle if node.op.name not in ("loop", "result")]
    return (
        dict.fromkeys(middle, layer_group(middle, "left out", f"{len(middle):,} nodes left out", ())) if middle else {}
    )
