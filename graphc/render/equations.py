"""The model and its derivatives as formulas, for graphs small enough to read.

Elementwise functions are named, ``⊙`` is the elementwise product, and broadcasting is implied.  A value that
is used more than once gets a line of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from graphc.autodiff.reverse import ones, vjp
from graphc.errors import GraphcValueError
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.op import OpKind
from graphc.ir.rewrite import inline
from graphc.ir.traverse import reachable
from graphc.ir.types import TensorType
from graphc.passes.fold import Fold
from graphc.passes.simplify import Simplify
from graphc.render.formulas import Formulas
from graphc.render.label import clipped, type_text
from graphc.render.stages import choose_entry, is_training
from graphc.render.terms import latex_name, mathml_text

if TYPE_CHECKING:
    import sympy

LIMIT = 60
"""Nodes up to which formulas can be read."""


@dataclass(frozen=True)
class Equations:
    """Formulas in order.

    Attributes:
        title: model and entry point.
        symbols: name → type of each input and state variable.
        model, gradient: (left-hand side, right-hand side).
        names: symbol → LaTeX.
    """

    title: str
    symbols: tuple[tuple[str, str], ...]
    model: tuple[tuple[sympy.Expr, sympy.Expr], ...]
    gradient: tuple[tuple[sympy.Expr, sympy.Expr], ...]
    names: dict[Any, str]


def equations(model: Module | Graph, entry: str | None = None, *, limit: int = LIMIT) -> Equations:
    """The formulas of an entry point, and of its gradient.

    A graph that differentiates already is shown as it is.  Otherwise the first floating-point scalar among the outputs
    is differentiated with respect to the trainable parameters (the floating-point inputs where there are none); without
    a scalar, every floating-point output gets a cotangent, written with a bar.

    Raises:
        GraphcValueError: E136, the graph is too large, or it has loops.
    """
    graph, title = _chosen(model, entry)
    _check_size(graph, limit)
    with_gradient, names, cotangents = _differentiated(graph)
    simple = Simplify().run(Fold().run(with_gradient))
    _check_size(simple, 3 * limit)
    formulas = Formulas(simple, names, cotangents)
    derived = set(names)
    forward = reachable([node for name, node in simple.outputs if name not in derived])
    split = [(left, right) for node, left, right in formulas.lines if node in forward]
    rest = [(left, right) for node, left, right in formulas.lines if node not in forward]
    given = [node for node in simple.nodes if node.op.name in ("input", "state") and node not in formulas.bars]
    symbols = tuple((formulas.plain_name(node), type_text(node.type)) for node in given)
    return Equations(title, symbols, tuple(split), tuple(rest), formulas.latex_names)


def to_latex(model: Module | Graph, entry: str | None = None, *, limit: int = LIMIT) -> str:
    """The formulas as LaTeX ``align*`` environments (needs ``amsmath`` and ``amssymb``).  See :func:`equations`."""
    made = equations(model, entry, limit=limit)
    parts = [_align(made.model, made.names)]
    if made.gradient:
        parts.append(_align(made.gradient, made.names))
    return "\n".join(parts) + "\n"


def latex_document(made: Equations) -> str:
    """A document that LaTeX typesets."""
    where = ", ".join(f"${latex_name(name)}$ ({_latex_text(size)})" for name, size in made.symbols)
    lines = [
        r"\documentclass{article}",
        r"\usepackage{amsmath,amssymb}",
        r"\allowdisplaybreaks",
        r"\begin{document}",
        rf"\section*{{{_latex_text(made.title)}}}",
        *([f"with {where}."] if where else []),
        _align(made.model, made.names),
        *([r"\subsection*{Gradient}", _align(made.gradient, made.names)] if made.gradient else []),
        r"\end{document}",
        "",
    ]
    return "\n".join(lines)


def mathml_page(made: Equations) -> str:
    """A page with the formulas as MathML, which every browser of today draws without help."""
    given = "".join(f"<li>{escape(clipped(name, 80))}: {escape(size)}</li>" for name, size in made.symbols)
    gradient = f"<h2>Gradient</h2>{_mathml_lines(made.gradient)}" if made.gradient else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(made.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(made.title)}</h1>\n"
        f"<ul>{given}</ul>\n{_mathml_lines(made.model)}\n{gradient}\n"
        "<p>⊙ and ∘ mean element by element; broadcasting is implied.</p>\n</body>\n</html>\n"
    )


_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 Helvetica,Arial,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "h1{font-size:1.2em}h2{font-size:1em}ul{columns:14em;padding-left:1.2em}"
    "math{font-size:1.25em}.line{margin:.7em 0;overflow-x:auto}"
)


def _chosen(model: Module | Graph, entry: str | None) -> tuple[Graph, str]:
    if isinstance(model, Graph):
        return model, clipped(model.name, 60)
    graph = choose_entry(model, "equations", entry)
    return graph, f"{clipped(model.name, 40)} · {clipped(graph.name, 40)}"


def _check_size(graph: Graph, limit: int) -> None:
    size = sum(1 for node in graph.nodes if node.op.kind is not OpKind.SOURCE)
    if size > limit:
        raise GraphcValueError(
            "E136",
            f"{graph.name!r} has {size} operations, formulas can be read up to {limit}",
            hint="draw another stage, such as source, or a smaller model",
        )
    if any(node.op.name in ("loop", "fused") for node in graph.nodes):
        raise GraphcValueError(
            "E136", f"{graph.name!r} has loops, which have no formula", hint="draw another stage, such as source"
        )


def _differentiated(graph: Graph) -> tuple[Graph, dict[str, tuple[str, Node]], dict[Node, Node]]:
    """The graph with its derivatives as further outputs.

    Returns:
        The graph; for each added output what is differentiated (empty for cotangents) and with respect to what;
        input that stands for a cotangent → the output it belongs to.
    """
    if is_training(graph):
        return graph, {}, {}
    b = Builder()
    inputs = [b.input(node.attrs["name"], node.tensor) for node in graph.inputs]
    values = inline(b, graph, inputs)
    outputs = [(name, value) for (name, _), value in zip(graph.outputs, values, strict=True)]
    states = [
        b.state(state)
        for state in graph.states
        if state.trainable and state.role == "parameter" and state.type.dtype.is_float
    ]
    wrt = states or [node for node in inputs if node.dtype.is_float]
    floats = [(name, node) for name, node in outputs if isinstance(node.type, TensorType) and node.dtype.is_float]
    scalars = [(name, node) for name, node in floats if not node.rank]
    targets = scalars[:1] or floats
    if not wrt or not targets:
        return graph, {}, {}
    bars: dict[Node, Node] = {}
    cotangents: list[Node | None] = []
    for name, node in targets:
        seed = ones(b, node.tensor) if scalars else b.input(f"bar {name}", node.tensor)
        cotangents.append(seed)
        if not scalars:
            bars[seed] = node
    derived = vjp(b, [node for _, node in targets], cotangents, wrt)
    of = targets[0][0] if scalars else ""
    # Names that no output of the user has: they are keys here, never shown.
    added = {f"\0{number}": (of, node) for number, node in enumerate(wrt)}
    order = [*outputs, *zip(added, derived, strict=True)]
    made = Graph.make(graph.name, [*inputs, *bars], order, builder=b)
    return made, added, bars


def _align(lines: Sequence[tuple[Any, Any]], names: dict[Any, str]) -> str:
    import sympy

    def text(expression: Any) -> str:
        return str(sympy.latex(expression, symbol_names=names, order="none", mul_symbol=None))

    rows = " \\\\\n".join(f"  {text(left)} &= {text(right)}" for left, right in lines)
    return f"\\begin{{align*}}\n{rows}\n\\end{{align*}}"


def _mathml_lines(lines: Sequence[tuple[Any, Any]]) -> str:
    rows = []
    for left, right in lines:
        inner = "<mo>=</mo>".join(mathml_text(side) for side in (left, right))
        rows.append(f'<div class="line"><math displaystyle="true"><mrow>{inner}</mrow></math></div>')
    return "\n".join(rows)


def _latex_text(text: str) -> str:
    """Text outside formulas."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "×": r"$\times$",
        "·": r"$\cdot$",
    }
    special |= {character: f"\\{character}" for character in "{}$&#%_"}
    return "".join(special.get(character, character) for character in text)
