"""Updates of state: behind all checks, in place where that is safe; variables that are updated from each other."""

import numpy as np
import pytest

from graphc.errors import GraphcIndexError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.types import float32, int64
from graphc.kernel.lower import lower_module
from graphc.kernel.program import Call, Program
from graphc.kernel.run import run_entry
from tests.kernel.checks import check_graph, graph_of, state, typed

F = float32


def setting(*names: str, shape: tuple[int, ...] = (4,)) -> tuple[Builder, list[Node]]:
    """A builder and one state node a name."""
    b = Builder()
    return b, [b.state(state(name, *shape)) for name in names]


def temporaries(program: Program) -> int:
    return sum(buffer.kind == "temporary" for buffer in program.entries["f"].buffers)


def test_a_pointwise_update_is_in_place() -> None:
    b, (p,) = setting("p")
    g = b.input("g", typed(F, 4))
    program = check_graph(graph_of(b, [g], updates=[(p, b.op("subtract", p, g))]))
    assert temporaries(program) == 0
    assert len(program.entries["f"].steps) == 1


def test_the_output_shows_the_old_value() -> None:
    b, (p,) = setting("p")
    check_graph(graph_of(b, [], p, b.op("exp", p), updates=[(p, b.op("negative", p))]))


def test_the_output_shows_the_new_value() -> None:
    b, (p,) = setting("p")
    new = b.op("negative", p)
    check_graph(graph_of(b, [], new, p, updates=[(p, new)]))


def test_two_variables_updated_from_each_other() -> None:
    b, (p, q) = setting("p", "q")
    check_graph(graph_of(b, [], updates=[(p, b.op("add", p, q)), (q, b.op("subtract", q, p))]))


def test_a_chain_of_updates_needs_no_temporaries() -> None:
    b, (p, q, r) = setting("p", "q", "r")
    updates = [(r, b.op("exp", r)), (q, b.op("add", q, r)), (p, b.op("add", p, q))]
    assert temporaries(check_graph(graph_of(b, [], updates=updates))) == 0


@pytest.mark.parametrize("order", [(1, 0), (1, 2, 0), (1, 1, 0), (0, 2, 1)])
def test_variables_that_change_places(order: tuple[int, ...]) -> None:
    b, states = setting(*"pqr"[: len(order)])
    check_graph(graph_of(b, [], updates=[(states[i], states[j]) for i, j in enumerate(order)]))


def test_a_variable_takes_the_old_value_of_one_that_is_overwritten() -> None:
    b, (p, q) = setting("p", "q", shape=(2, 2))
    turned = b.op("transpose", q, permutation=(1, 0))
    check_graph(graph_of(b, [], updates=[(p, turned), (q, b.op("exp", q))]))


def test_a_variable_turned_in_itself() -> None:
    b, (p,) = setting("p", shape=(3, 3))
    turned = b.op("transpose", p, permutation=(1, 0))
    check_graph(graph_of(b, [], updates=[(p, turned)]))
    check_graph(graph_of(b, [], updates=[(p, b.op("add", p, turned))]))
    check_graph(graph_of(b, [], updates=[(p, b.op("matmul", p, p))]))
    check_graph(graph_of(b, [], updates=[(p, b.op("subtract", p, b.op("sum", p, axes=(0,), keepdims=True)))]))


def test_one_new_value_for_two_variables_and_a_constant_one() -> None:
    b, (p, q, r) = setting("p", "q", "r")
    new = b.op("exp", p)
    zero = b.op("broadcast_to", b.constant(0, F), shape=(4,))
    check_graph(graph_of(b, [], updates=[(p, new), (q, new), (r, zero)]))


def test_a_new_value_that_is_read_again() -> None:
    b, (p, q) = setting("p", "q")
    new = b.op("add", p, q)
    check_graph(graph_of(b, [], b.op("sum", new, axes=(0,), keepdims=False), updates=[(p, new), (q, b.op("exp", new))]))


def _adam(b: Builder, p: Node, m: Node, v: Node, g: Node) -> Graph:
    inner = Builder()
    inputs = [inner.input(name, typed(F, 4)) for name in ("p", "m", "v", "g")]
    ip, im, iv, ig = inputs
    half = inner.constant(0.5, F)
    new_m = inner.op("add", inner.op("multiply", im, half), ig)
    new_v = inner.op("add", inner.op("multiply", iv, half), inner.op("square", ig))
    new_p = inner.op("subtract", ip, inner.op("divide", new_m, inner.op("sqrt", inner.op("add", new_v, half))))
    body = graph_of(inner, inputs, new_p, new_m, new_v)
    node = b.op("fused", p, m, v, g, body=body)
    results = [b.op("result", node, index=i) for i in range(3)]
    return graph_of(b, [g], updates=list(zip((p, m, v), results, strict=True)))


def test_a_fused_optimizer_step_is_one_kernel_in_place() -> None:
    b = Builder()
    states = [State(name, typed(F, 4), np.full(4, 2.0, np.float32)) for name in ("p", "m", "v")]
    g = b.input("g", typed(F, 4))
    program = check_graph(_adam(b, *(b.state(s) for s in states), g))
    assert len(program.entries["f"].steps) == 1
    assert [param.mode for param in program.kernels[0].params] == ["in", "inout", "inout", "inout"]


def test_an_embedding_is_updated_in_place_after_its_check() -> None:
    b, (p, q) = setting("p", "q", shape=(5, 3))
    i, u = b.input("i", typed(int64, 4)), b.input("u", typed(F, 4, 3))
    graph = graph_of(b, [i, u], updates=[(q, b.op("exp", q)), (p, b.op("scatter_add", p, i, u, axis=0))])
    updates = np.ones((4, 3), np.float32)
    program = check_graph(graph, [np.array([0, 4, 4, 2]), updates])
    assert temporaries(program) == 0
    held = {name: np.ones((5, 3), np.float32) for name in ("p", "q")}
    with pytest.raises(GraphcIndexError):
        run_entry(program, "f", [np.array([0, 5, 4, 2]), updates], held)


def test_an_embedding_that_is_its_own_update() -> None:
    b, (p,) = setting("p", shape=(4, 3))
    i = b.input("i", typed(int64, 4))
    check_graph(graph_of(b, [i], updates=[(p, b.op("scatter_add", p, i, p, axis=0))]), [np.array([0, 3, 3, 1])])


def written(program: Program) -> list[str]:
    """What each step of the entry writes, in order: names of states, "" for anything else."""
    entry = program.entries["f"]
    names = []
    for step in entry.steps:
        if isinstance(step, Call):
            params = program.kernels[step.kernel].params
            refs = [ref for ref, param in zip(step.args, params, strict=True) if param.mode != "in"]
        else:
            refs = [step.target]
        buffers = [entry.buffers[ref.buffer] for ref in refs]
        names.append(" ".join(buffer.name for buffer in buffers if buffer.kind == "state"))
    return names


def step_of(b: Builder, variable: Node, gradient: Node) -> tuple[Node, Node]:
    return variable, b.op("subtract", variable, gradient)


def long_work(b: Builder, x: Node) -> Node:
    return b.op("cumsum", b.op("cumsum", x, axis=0, reverse=False), axis=0, reverse=True)


def test_an_update_runs_where_it_stands() -> None:
    b, (p,) = setting("p")
    x = b.input("x", typed(F, 4))
    update = step_of(b, p, b.op("exp", x))
    program = check_graph(graph_of(b, [x], long_work(b, x), updates=[update]))
    assert written(program).index("p") < len(written(program)) - 1


def test_an_update_waits_for_those_who_read_the_old_value_through_a_view() -> None:
    b, (p,) = setting("p")
    x = b.input("x", typed(F, 4))
    update = step_of(b, p, b.op("exp", x))
    later = b.op("multiply", long_work(b, x), b.op("flip", p, axes=(0,)))
    program = check_graph(graph_of(b, [x], later, updates=[update]))
    assert written(program).index("p") == len(written(program)) - 1
    assert "copy" not in {type(step).__name__.lower() for step in program.entries["f"].steps}


def test_an_update_waits_for_one_that_reads_the_old_value_and_waits_itself() -> None:
    """q's update stands first, but q is shown at the end; p's new value may not be there when it reads p."""
    b, (p, q) = setting("p", "q")
    x = b.input("x", typed(F, 4))
    first = step_of(b, q, p)
    second = step_of(b, p, b.op("exp", x))
    program = check_graph(graph_of(b, [x], b.op("flip", q, axes=(0,)), updates=[first, second]))
    order = [name for name in written(program) if name]
    assert order.index("q") < order.index("p")


def test_no_update_runs_before_the_last_check_of_an_index() -> None:
    b, (p,) = setting("p")
    x, i = b.input("x", typed(F, 4)), b.input("i", typed(int64, 3))
    update = step_of(b, p, b.op("exp", x))
    taken = b.op("take", long_work(b, x), i, axis=0)
    graph = graph_of(b, [x, i], taken, updates=[update])
    program = check_graph(graph, [np.ones(4, np.float32), np.array([0, 3, 1])])
    held = {"p": np.ones(4, np.float32)}
    with pytest.raises(GraphcIndexError):
        run_entry(program, "f", [np.ones(4, np.float32), np.array([0, 4, 1])], held)
    assert (held["p"] == 1).all()


def test_a_check_that_was_made_before_holds_no_update_back() -> None:
    b, (p,) = setting("p")
    x, i = b.input("x", typed(F, 4)), b.input("i", typed(int64, 3))
    first = b.op("take", x, i, axis=0)
    update = step_of(b, p, b.op("exp", x))
    again = b.op("take", long_work(b, x), i, axis=0)
    graph = graph_of(b, [x, i], first, again, updates=[update])
    names = written(check_graph(graph, [np.ones(4, np.float32), np.array([0, 3, 1])]))
    assert names.index("p") < len(names) - 2


def test_entries_share_states_constants_and_kernels() -> None:
    b, (p, q) = setting("p", "q")
    x = b.input("x", typed(F, 4))
    table = b.constant([1.0, 2.0, 3.0, 4.0], F)
    predict = Graph.make("predict", [x], [("y", b.op("add", b.op("multiply", x, q), table))], builder=b)
    train = Graph.make(
        "train", [x], [("y", b.op("multiply", x, p))], [(p, b.op("add", p, b.op("multiply", x, table)))], builder=b
    )
    program = lower_module(Module("m", {"predict": predict, "train": train}))
    assert len(program.constants) == 1
    assert len(program.kernels) == 3
    inputs = [np.ones(4, np.float32)]
    held = {"p": np.arange(4.0, dtype=np.float32), "q": np.full(4, 2.0, np.float32)}
    outputs, updates = run_entry(program, "train", inputs, held)
    assert outputs["y"].tolist() == [0, 1, 2, 3]
    assert updates["p"].tolist() == [1, 3, 5, 7]
    assert run_entry(program, "predict", inputs, held)[0]["y"].tolist() == [3, 4, 5, 6]
