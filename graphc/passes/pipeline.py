"""The pipeline: one list, in order, with the reason beside each entry."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from graphc.errors import GraphcValueError, nearest
from graphc.ir.graph import Graph
from graphc.ir.verify import verify
from graphc.passes.accumulate import Accumulate
from graphc.passes.base import Pass, node_count
from graphc.passes.block import Block
from graphc.passes.checkpoint import Checkpoint
from graphc.passes.decompose import Decompose
from graphc.passes.fold import Fold
from graphc.passes.fuse import Fuse
from graphc.passes.gather import Gather
from graphc.passes.hoist import Hoist
from graphc.passes.merge import Merge
from graphc.passes.narrow import Narrow
from graphc.passes.recompute import Recompute
from graphc.passes.roll import Roll
from graphc.passes.scatter import Scatter
from graphc.passes.share import Share
from graphc.passes.simplify import Simplify
from graphc.passes.sink import Sink
from graphc.passes.split import Split
from graphc.passes.winograd import Winograd

PIPELINE: tuple[tuple[Pass, str], ...] = (
    (Decompose(), "later passes and kernels know only the small vocabulary"),
    (Share(), "before anything tells two equal loops apart"),
    (Simplify(movement_only=True), "x[t] of a stack becomes the step's own value, which roll needs to see"),
    (Roll(), "as early as can be: from here on a pass sees one step instead of T"),
    (Narrow(), "before anything counts what loops stack"),
    (Checkpoint(), "loops are cut into segments before anything is taken out of them"),
    (Split(), "a product of which a part can leave its loop is two products"),
    (Merge(), "products that stay in a loop, or leave it, do so together"),
    (Split(), "of merged products some columns may be wanted by nobody, or only behind the loop"),
    (Block(), "what leaves a loop is of one block of steps at a time, where it would outgrow the cache"),
    (Accumulate(), "before hoist: a sum of products inside a loop is one product outside"),
    (Sink(), "after accumulate, whose stacks it shares: what no carry needs is one batched op behind the loop"),
    (Hoist(), "what does not depend on a carry leaves the loop as one batched op"),
    (Winograd(), "loops have their final bodies, and what it makes is for simplify and fuse to finish"),
    (Hoist(), "the transformation of a kernel is the same in every step"),
    (Fold(), "constants first: simplify reads them"),
    (Simplify(), "everything has its final neighbours now"),
    (Gather(), "before scatter and fuse, which then see what is left of what was picked from"),
    (Scatter(), "sums have their final form"),
    (Fuse(), "it draws the borders of kernels"),
    (Recompute(), "last: it asks what kernels hand to each other"),
)


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did: node counts before and after, seconds taken, and the graph after it."""

    name: str
    before: int
    after: int
    seconds: float
    graph: Graph
    changed: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.before} → {self.after} nodes in {self.seconds * 1e3:.1f} ms"


Observer = Callable[[PassReport], None]


def pass_names() -> tuple[str, ...]:
    """The passes that can be switched off, in pipeline order."""
    return tuple(dict.fromkeys(step.name for step, _ in PIPELINE))


def run_pipeline(
    graph: Graph,
    *,
    disable: Collection[str] = (),
    only: Sequence[str] | None = None,
    until: str | None = None,
    observer: Observer | None = None,
    check: bool = False,
    segment: int = 0,
) -> Graph:
    """Run the passes on one graph.

    Args:
        disable: names of passes to leave out.  ``decompose`` cannot be: kernels exist only for the small vocabulary.
        only: run just these (and ``decompose``).
        until: stop before the first pass of this name.
        observer: told of every pass.
        check: run the verifier before the first pass and after each.
        segment: steps that backward loops compute again at a time; 0 keeps what they read.

    Raises:
        GraphcValueError: a name that is no pass (E106).
    """
    for name in (*disable, *(only or ()), *([until] if until else ())):
        if name not in pass_names():
            close = nearest(name, pass_names())
            raise GraphcValueError(
                "E106",
                f"no pass is called {name!r}",
                hint=f"did you mean {close}?" if close else f"there are {', '.join(pass_names())}",
            )
    if check:
        verify(graph)
    for step, _reason in PIPELINE:
        if step.name == until:
            break
        if step.name != "decompose" and (step.name in disable or (only is not None and step.name not in only)):
            continue
        if isinstance(step, Checkpoint):
            step = replace(step, segment=segment)
        start = time.perf_counter()
        changed = step.run(graph)
        seconds = time.perf_counter() - start
        if check and changed is not graph:
            verify(changed)
        if observer is not None:
            observer(
                PassReport(step.name, node_count(graph), node_count(changed), seconds, changed, changed is not graph)
            )
        graph = changed
    return graph
