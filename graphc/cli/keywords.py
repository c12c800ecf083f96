"""What a user may have meant by an argument that a function does not have."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from graphc.errors import nearest

_UNEXPECTED = re.compile(r"got an unexpected keyword argument '(\w+)'")


def keyword_hint(fault: BaseException, frame: FrameType, line: int) -> str | None:
    """Which argument is close to the one that a call in a user's line has given in vain.

    Args:
        fault: what was raised.
        frame: the user's, whose names say what is called.
        line: of the call, or within it.

    Returns:
        A hint; None where the fault is another one, or the call is not found.
    """
    found = _UNEXPECTED.search(str(fault)) if isinstance(fault, TypeError) else None
    if found is None:
        return None
    word = found.group(1)
    called = _called(frame, line, word)
    names = [] if called is None else _parameters(called)
    if not names:
        return None
    close = nearest(word, names) or next((name for name in names if name in word or word in name), None)
    return f"did you mean {close}=?" if close else f"it takes {', '.join(names)}"


def _called(frame: FrameType, line: int, word: str) -> Callable[..., Any] | None:
    """What a call in a line calls that gives an argument of this name in vain: found by its name, and not called."""
    linecache.checkcache(frame.f_code.co_filename)
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.lineno <= line <= (node.end_lineno or node.lineno):
            continue
        if any(keyword.arg == word for keyword in node.keywords):
            value = _value(node.func, frame)
            if callable(value) and word not in _parameters(value):
                return cast(Callable[..., Any], value)
    return None


def _value(expression: ast.expr, frame: FrameType) -> Any:
    """The value of ``a.b.c``, whose parts are modules or classes; None for any other expression."""
    parts = []
    while isinstance(expression, ast.Attribute):
        parts.append(expression.attr)
        expression = expression.value
    if not isinstance(expression, ast.Name):
        return None
    value = frame.f_locals.get(expression.id, frame.f_globals.get(expression.id))
    for part in reversed(parts):
        if not (inspect.ismodule(value) or inspect.isclass(value)):
            return None
        value = getattr(value, part, None)
    return value


def _parameters(called: Callable[..., Any]) -> list[str]:
    """Names that a call may use; of a class those of the classes behind it as well, to which it passes others on."""
    bases = [base for base in called.__mro__ if base is not object] if inspect.isclass(called) else []
    functions = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)] if bases else [called]
    names: dict[str, None] = {}
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            continue
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names |= dict.fromkeys(parameter.name for parameter in parameters if parameter.kind in named)
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    names.pop("self", None)
    return list(names)
