"""The helper functions as syntax, ready to be put into a generated module."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterable, Mapping

from graphc.backends.numpy import helpers


@functools.cache
def _functions() -> Mapping[str, ast.FunctionDef]:
    """Every helper by name, in the order of their file, without type annotations."""
    tree = ast.parse(inspect.getsource(helpers))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {function.name: _without_annotations(function) for function in functions}


def _without_annotations(function: ast.FunctionDef) -> ast.FunctionDef:
    function.returns = None
    for argument in function.args.args:
        argument.annotation = None
    return function


@functools.cache
def _calls(name: str) -> tuple[str, ...]:
    """The helpers that the helper ``name`` calls."""
    names = {node.id for node in ast.walk(_functions()[name]) if isinstance(node, ast.Name)}
    return tuple(other for other in _functions() if other in names and other != name)


def helper_names() -> tuple[str, ...]:
    """The names of all helpers: no generated name may equal one."""
    return tuple(_functions())


def helper_functions(used: Iterable[str]) -> list[ast.FunctionDef]:
    """The helpers in ``used`` and those they call, in the order of their file."""
    wanted: set[str] = set()
    pending = list(used)
    while pending:
        name = pending.pop()
        if name not in wanted:
            wanted.add(name)
            pending.extend(_calls(name))
    return [function for name, function in _functions().items() if name in wanted]
