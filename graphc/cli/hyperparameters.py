"""``--set K=V``: values for the keyword arguments of a model function."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphc.errors import GraphcValueError, Location, nearest

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The arguments of a model function that can be given by name."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin that tells nothing
        return {}
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in signature.parameters.items() if parameter.kind in by_name}


def bind(
    function: Callable[..., Any], name: str, settings: Sequence[tuple[str, str]], place: Location | None
) -> dict[str, Any]:
    """The keyword arguments to call ``function`` with.

    Args:
        function: the model function.
        name: what it is called, for errors.
        settings: (name, text) in the user's order; the last of a name counts.
        place: where the function is.

    Raises:
        GraphcValueError: an unknown name, a value of another type than the default, or an argument without one (E106).
    """
    known = parameters_of(function)
    takes_any = _takes_any_name(function)
    values: dict[str, Any] = {}
    for key, text in settings:
        if key in known:
            values[key] = _value(key, text, known[key].default)
        elif takes_any:
            values[key] = _literal(text)
        else:
            close = nearest(key, known)
            hint = f"did you mean {close}?" if close else f"there are: {', '.join(known) or 'none'}"
            raise GraphcValueError("E106", f"{name}() has no hyperparameter {key!r}", place, hint)
    for key, parameter in known.items():
        if key not in values and parameter.default is inspect.Parameter.empty:
            raise GraphcValueError("E106", f"{name}() needs a value for {key!r}", place, f"pass --set {key}=...")
    return values


def _takes_any_name(function: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in signature.parameters.values())


def _literal(text: str) -> Any:
    """``text`` as a Python literal, or as itself."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _value(key: str, text: str, default: Any) -> Any:
    """``text`` as a value of the default's type."""
    if isinstance(default, str):
        return None if text.strip() == "None" else text
    value = _literal(text)
    if default is None or default is inspect.Parameter.empty:
        return value
    if isinstance(default, bool):
        value = _WORDS.get(text.strip().lower(), value)
        fits = isinstance(value, bool)
    elif isinstance(default, int):
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif isinstance(default, float):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        value = float(value) if fits else value
    elif isinstance(default, (tuple, list)):
        fits = isinstance(value, (tuple, list))
        value = type(default)(value) if fits else value
    else:
        fits = True
    if not fits:
        kind = type(default).__name__
        raise GraphcValueError(
            "E106", f"hyperparameter {key!r} is of type {kind} ({default!r} by default), got {text!r}"
        )
    return value
