"""What the functions of one generated module share: helpers and constants."""

from __future__ import annotations

import ast

from graphc.backends.numpy.library import helper_names
from graphc.backends.numpy.literals import array_expression
from graphc.backends.numpy.syntax import assign, variable
from graphc.ir.attrs import ArrayValue


class ModuleScope:
    """Collects what functions use, in the order of first use."""

    def __init__(self) -> None:
        self._constants: dict[ArrayValue, str] = {}
        self._helpers: dict[str, None] = {}

    def helper(self, name: str) -> ast.expr:
        """A helper function, which the module will carry."""
        assert name in helper_names(), name
        self._helpers[name] = None
        return variable(name)

    def constant(self, value: ArrayValue) -> str:
        """The module-level name of an array constant; equal constants are one."""
        return self._constants.setdefault(value, f"_constant_{len(self._constants) + 1}")

    @property
    def helpers(self) -> tuple[str, ...]:
        """The helpers that were asked for."""
        return tuple(self._helpers)

    def constant_statements(self) -> list[ast.stmt]:
        """Assignments of all constants."""
        return [assign(name, array_expression(value)) for value, name in self._constants.items()]
