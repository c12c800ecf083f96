"""What the walk over sympy expressions recognises: sigmoids in quotients, and functions that others express."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def rewritten(expression: Any) -> Any | None:
    """The same value in functions that have an op, or None where no rule is known."""
    import sympy

    rules: dict[str, Callable[..., Any]] = {
        "acot": lambda u: sympy.atan(1 / u),
        "acsc": lambda u: sympy.asin(1 / u),
        "asec": lambda u: sympy.acos(1 / u),
        "cot": lambda u: 1 / sympy.tan(u),
        "coth": lambda u: 1 / sympy.tanh(u),
        "csc": lambda u: 1 / sympy.sin(u),
        "csch": lambda u: 1 / sympy.sinh(u),
        "erfc": lambda u: 1 - sympy.erf(u),
        "frac": lambda u: u - sympy.floor(u),
        "sec": lambda u: 1 / sympy.cos(u),
        "sech": lambda u: 1 / sympy.cosh(u),
        "sinc": lambda u: sympy.Piecewise((sympy.sin(u) / u, sympy.Ne(u, 0)), (1, True)),
        "ITE": lambda c, u, v: sympy.Or(sympy.And(c, u), sympy.And(sympy.Not(c), v)),
    }
    rule = rules.get(type(expression).__name__)
    return None if rule is None else rule(*expression.args)


def minus_signs(total: Any) -> int:
    """How many terms of a sum have a negative factor."""
    return sum(1 for term in total.args if term.as_coeff_Mul()[0].is_negative)


def sigmoid_argument(divisor: Any) -> Any | None:
    """The u of a divisor ``1 + exp(-u)``, one over which is sigmoid(u); None for any other."""
    import sympy

    if not divisor.is_Add or len(divisor.args) != 2 or sympy.S.One not in divisor.args:
        return None
    other = divisor - 1
    return -other.args[0] if isinstance(other, sympy.exp) else None


def with_sigmoids(above: list[Any], below: list[Any]) -> tuple[list[Any], list[Any]]:
    """Turn divisors ``(1 + exp(-u))**n`` into sigmoid(u)**n, and one of those with ``exp(-u)`` into sigmoid(-u).

    The quotients would be inf/inf where the exponential overflows.
    """
    import sympy

    kept = []
    above = list(above)
    for divisor in below:
        base, power = divisor.as_base_exp()
        inner = sigmoid_argument(base)
        if inner is None or not (power.is_Integer and power > 0):
            kept.append(divisor)
            continue
        taken = next((count for count in range(int(power), 0, -1) if sympy.exp(-count * inner) in above), 0)
        if taken:
            above.remove(sympy.exp(-taken * inner))
        for argument, count in ((inner, int(power) - taken), (-inner, taken)):
            if count:
                above.append((1 / (1 + sympy.exp(-argument))) ** count)
    return above, kept


def shortened(expression: Any, limit: int = 80) -> str:
    """The expression for a message; its printer recurses, so a deep one is named by its head."""
    try:
        text = str(expression)
    except RecursionError:
        return f"{type(expression).__name__}(...)"
    return text if len(text) <= limit else text[: limit - 1] + "…"
