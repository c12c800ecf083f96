"""Formulas with tensors in them: the few notations that sympy lacks, printed as LaTeX and as MathML.

A *term* is a sympy expression with a notation and arguments: elementwise product and power, transposition, a named
function, a derivative on a left-hand side.  Products, sums and scalars are sympy's own.  sympy is imported when the
first term is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from graphc.render.label import clipped

if TYPE_CHECKING:
    import sympy

_LATEX_FUNCTIONS = {"tanh", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "max", "min", "sqrt"}
_GREEK = re.compile(
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|phi|chi|psi|omega"
)
_SPECIAL = {"\\": r"\backslash ", "^": r"\hat{\ }", "~": r"\sim "} | {
    character: f"\\{character}" for character in "{}$&#%_"
}
_PLAIN = re.compile(r"([A-Za-z]+)_?(\d+)?")


def latex_name(name: str) -> str:
    """A name from outside as LaTeX: ``w_0`` gets its index, ``beta`` its letter; all else is upright and escaped."""
    plain = _PLAIN.fullmatch(name)
    if plain is not None and (len(plain[1]) == 1 or _GREEK.fullmatch(plain[1])):
        letter = plain[1] if len(plain[1]) == 1 else f"\\{plain[1]}"
        return f"{letter}_{{{plain[2]}}}" if plain[2] else letter
    return f"\\mathrm{{{''.join(_SPECIAL.get(character, character) for character in clipped(name, 60))}}}"


@cache
def term_class() -> Any:
    """The class of terms; made once, for it derives from sympy's."""
    import sympy
    from sympy.core.symbol import Str
    from sympy.printing.precedence import PRECEDENCE

    class Term(sympy.Expr):  # type: ignore[misc]
        """``notation`` applied to ``arguments``; never simplified."""

        is_commutative = False
        precedence = PRECEDENCE["Atom"]

        def __new__(cls, notation: str, word: str, *arguments: Any) -> Any:
            made = sympy.Expr.__new__(cls, Str(notation), Str(word), *arguments)
            if notation in ("product", "quotient"):
                made.precedence = PRECEDENCE["Mul"]
            return made

        def _latex(self, printer: Any, exp: str | None = None) -> str:
            text = _latex_of(self, printer)
            return text if exp is None else f"\\left({text}\\right)^{{{exp}}}"

        def _mathml_presentation(self, printer: Any) -> Any:
            return _mathml_of(self, printer)

        def _sympystr(self, printer: Any) -> str:
            notation, word, *arguments = self.args
            inner = ", ".join(printer._print(argument) for argument in arguments)
            return f"{word.name or notation.name}({inner})"

    return Term


def term(notation: str, word: str, *arguments: sympy.Expr) -> sympy.Expr:
    """A term.

    Notations are ``function`` (named ``word``), ``product``, ``power`` (elementwise), ``quotient``, ``transpose``,
    ``part`` (``word`` as subscript), ``partial`` (∂a/∂b) and ``bar``.
    """
    return term_class()(notation, word, *arguments)


def _held(printer: Any, argument: Any, level: str) -> str:
    from sympy.printing.precedence import PRECEDENCE

    text: str = printer.parenthesize(argument, PRECEDENCE[level], strict=True)
    return text


def _latex_of(expression: Any, printer: Any) -> str:
    notation, word, *arguments = expression.args
    match notation.name:
        case "product":
            return r" \odot ".join(_held(printer, argument, "Mul") for argument in arguments)
        case "power":
            return f"{_held(printer, arguments[0], 'Atom')}^{{\\circ {printer._print(arguments[1])}}}"
        case "quotient":
            return f"\\frac{{{printer._print(arguments[0])}}}{{{printer._print(arguments[1])}}}"
        case "transpose":
            return f"{_held(printer, arguments[0], 'Atom')}^{{\\top}}"
        case "part":
            return f"{_held(printer, arguments[0], 'Atom')}_{{[{latex_subscript(word.name)}]}}"
        case "partial":
            return f"\\frac{{\\partial {printer._print(arguments[0])}}}{{\\partial {printer._print(arguments[1])}}}"
        case "bar":
            return f"\\overline{{{printer._print(arguments[0])}}}"
    inner = ", ".join(printer._print(argument) for argument in arguments)
    return f"{latex_function(word.name)}\\left({inner}\\right)"


def latex_subscript(text: str) -> str:
    """Small print below: digits, colons and commas, and words."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def latex_function(name: str) -> str:
    """The name of a function, with what is below it after a bar: ``sum|0,1``."""
    word, _, below = name.partition("|")
    if word == "sigmoid":
        shown = r"\sigma"
    elif word in _LATEX_FUNCTIONS:
        shown = f"\\{word}" if word != "sqrt" else r"\operatorname{sqrt}"
    else:
        shown = f"\\operatorname{{{''.join(_SPECIAL.get(character, character) for character in word)}}}"
    return f"{shown}_{{{latex_subscript(below)}}}" if below else shown


def _mathml_of(expression: Any, printer: Any) -> Any:
    notation, word, *arguments = expression.args
    dom = printer.dom

    def element(tag: str, *children: Any) -> Any:
        made = dom.createElement(tag)
        for child in children:
            # sympy's text nodes are written as they are.
            made.appendChild(dom.createTextNode(escape(child)) if isinstance(child, str) else child)
        return made

    def shown(argument: Any, level: str = "Atom") -> Any:
        from sympy.printing.precedence import PRECEDENCE, precedence

        inner = printer._print(argument)
        loose = precedence(argument) < PRECEDENCE[level]
        return element("mrow", element("mo", "("), inner, element("mo", ")")) if loose else inner

    match notation.name:
        case "product":
            parts: list[Any] = []
            for argument in arguments:
                parts += [*([element("mo", "⊙")] if parts else []), shown(argument, "Mul")]
            return element("mrow", *parts)
        case "power":
            exponent = element("mrow", element("mo", "∘"), printer._print(arguments[1]))
            return element("msup", shown(arguments[0]), exponent)
        case "quotient":
            return element("mfrac", printer._print(arguments[0]), printer._print(arguments[1]))
        case "transpose":
            return element("msup", shown(arguments[0]), element("mo", "⊤"))
        case "part":
            return element("msub", shown(arguments[0]), element("mtext", f"[{word.name}]"))
        case "partial":
            above = element("mrow", element("mo", "∂"), printer._print(arguments[0]))
            return element("mfrac", above, element("mrow", element("mo", "∂"), printer._print(arguments[1])))
        case "bar":
            return element("mover", printer._print(arguments[0]), element("mo", "¯"))
    name, _, below = word.name.partition("|")
    head = element("mi", "σ" if name == "sigmoid" else name)
    if below:
        head = element("msub", head, element("mtext", below))
    listed: list[Any] = []
    for argument in arguments:
        listed += [*([element("mo", ",")] if listed else []), printer._print(argument)]
    return element("mrow", head, element("mo", "("), *listed, element("mo", ")"))


@cache
def _mathml_printer() -> Any:
    from sympy.printing.mathml import MathMLPresentationPrinter

    class Printer(MathMLPresentationPrinter):  # type: ignore[misc]
        """Writes names as text: sympy's own printer would paste them raw."""

        def _print_Symbol(self, symbol: Any, style: str = "plain") -> Any:
            plain = _PLAIN.fullmatch(symbol.name)
            word, index = (plain[1], plain[2]) if plain is not None else (clipped(symbol.name, 60), None)
            letter = self.dom.createElement("mi")
            letter.appendChild(self.dom.createTextNode(escape(word)))
            if index is None:
                return letter
            below = self.dom.createElement("mn")
            below.appendChild(self.dom.createTextNode(index))
            made = self.dom.createElement("msub")
            made.appendChild(letter)
            made.appendChild(below)
            return made

    return Printer({"order": "none"})


def mathml_text(expression: sympy.Expr) -> str:
    """Presentation MathML of a formula, without the ``math`` element around it."""
    text: str = _mathml_printer()._print(expression).toxml()
    return text


def product_of(factors: Sequence[sympy.Expr]) -> sympy.Expr:
    """The elementwise product; numbers and scalars stand in front."""
    import sympy

    scalars: list[Any] = []
    tensors: list[Any] = []
    for factor in factors:
        commutative, rest = factor.args_cnc()
        scalars += commutative
        inner = sympy.Mul(*rest)
        if isinstance(inner, term_class()) and inner.args[0].name == "product":
            tensors += inner.args[2:]
        elif rest:
            tensors.append(inner)
    if len(tensors) > 1:
        tensors = [term("product", "", *tensors)]
    return sympy.Mul(*scalars, *tensors)
