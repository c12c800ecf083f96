"""Cutting long functions into parts of bounded length that hand each other what is still needed.

Python's compiler and its tools are made for functions of a few hundred lines, and a function keeps every local array
until it returns.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Sequence

from graphc.backends.numpy.code import Block, Item, function
from graphc.backends.numpy.syntax import assign_to, call, tuple_of, variable

LONGEST = 600
"""Statements in one block above which it is cut."""

PART = 300
"""Statements in one part."""

_NOT_LOCAL = frozenset(dir(builtins)) | {"np"}


def split_function(name: str, body: list[Item]) -> tuple[list[Block], list[Item]]:
    """Cut a function's body.

    Args:
        name: the parts are called ``name_part_1`` and so on.
        body: ends with ``return``.

    Returns:
        Definitions of the parts, and the body that calls them; no parts and the same body where it is short.
    """
    splitter = _Splitter(name)
    return splitter.parts, splitter.split(body, set())


class _Splitter:
    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[Block] = []

    def split(self, body: list[Item], live: set[str]) -> list[Item]:
        """Cut a block after which the names in ``live`` are read."""
        body = self._split_inside(body, live)
        if len(body) <= LONGEST:
            return body
        tail = body[-1:] if isinstance(body[-1], ast.Return) else []
        rest = body[: len(body) - len(tail)]
        chunks = [rest[start : start + PART] for start in range(0, len(rest), PART)]
        flows = [Flow(chunk) for chunk in chunks]
        wanted = live | Flow(tail).reads.keys()
        outs: list[list[str]] = []
        for flow in reversed(flows):
            outs.append([name for name in flow.writes if name in wanted])
            wanted.difference_update(flow.writes)
            wanted.update(flow.reads)
        result: list[Item] = []
        for chunk, flow, given in zip(chunks, flows, reversed(outs), strict=True):
            result.append(self._part(chunk, flow, given))
        # So many parts that calling them is a long function in its turn are cut again.
        return self.split([*result, *tail], live)

    def _split_inside(self, body: list[Item], live: set[str]) -> list[Item]:
        """Cut the bodies of long loops, whose names live on into the next step."""
        if not _has_long_block(body):
            return body
        everything = live | {name for item in body for name in Flow([item]).reads}
        return [
            Block(item.header, self.split(item.body, everything), item.docstring) if isinstance(item, Block) else item
            for item in body
        ]

    def _part(self, chunk: list[Item], flow: Flow, given: Sequence[str]) -> Item:
        """Make a function of a chunk; the statement that calls it."""
        name = f"{self.name}_part_{len(self.parts) + 1}"
        taken = list(flow.reads)
        block = function(name, taken)
        block.body.extend(chunk)
        called = call(variable(name), *(variable(read) for read in taken))
        self.parts.append(block)
        if not given:
            return ast.Expr(called)
        if len(given) == 1:
            block.body.append(ast.Return(variable(given[0])))
            return assign_to(ast.Name(given[0], ast.Store()), called)
        block.body.append(ast.Return(tuple_of(variable(written) for written in given)))
        return assign_to(ast.Tuple([ast.Name(written, ast.Store()) for written in given], ast.Store()), called)


def _has_long_block(body: Iterable[Item]) -> bool:
    blocks = [item for item in body if isinstance(item, Block)]
    return any(len(block.body) > LONGEST or _has_long_block(block.body) for block in blocks)


class Flow:
    """What a run of statements reads from before it, and what it writes.

    Attributes:
        reads: names read before they are written, in order.
        writes: names written, in order.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.reads: dict[str, None] = {}
        self.writes: dict[str, None] = {}
        self._follow(items)

    def _follow(self, items: Iterable[Item]) -> None:
        for item in items:
            match item:
                case Block():
                    self._statement(item.header)
                    self._follow(item.body)
                case ast.stmt():
                    self._statement(item)

    def _statement(self, statement: ast.stmt) -> None:
        written = []
        for name in _names(statement):
            if isinstance(name.ctx, ast.Store):
                written.append(name.id)
            elif name.id not in self.writes:
                self.reads.setdefault(name.id)
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            # Also read; and the object stays the same, so that nobody has to be told.
            if statement.target.id not in self.writes:
                self.reads.setdefault(statement.target.id)
            return
        self.writes.update(dict.fromkeys(written))


def _names(statement: ast.stmt) -> Iterator[ast.Name]:
    """The local variables in a statement: helpers, constants and parts begin with an underscore."""
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            if not node.id.startswith("_") and node.id not in _NOT_LOCAL:
                yield node
        else:
            pending.extend(ast.iter_child_nodes(node))
