"""Code as a tree of statements, blocks and comments, and its text.

``ast`` knows no comments, so each simple statement is unparsed by itself and comment lines are put between.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

INDENT = "    "


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment line.  Its text may come from outside: whatever could end the line is taken out."""

    text: str


@dataclass(frozen=True, slots=True)
class Blank:
    """Empty lines."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class Block:
    """A compound statement.

    Attributes:
        header: a ``for``, ``with`` or ``def`` with an empty body.
        body: what stands inside.
        docstring: of a function.
    """

    header: ast.For | ast.With | ast.FunctionDef
    body: list[Item] = field(default_factory=list)
    docstring: str | None = None


@dataclass(frozen=True, slots=True)
class Docstring:
    """The docstring of a module."""

    text: str


Item = ast.stmt | Comment | Blank | Block | Docstring


def function(
    name: str, parameters: Sequence[str], defaults: Sequence[ast.expr] = (), docstring: str | None = None
) -> Block:
    """``def name(parameters): ...``; the defaults belong to the last parameters."""
    arguments = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(parameter) for parameter in parameters],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=list(defaults),
    )
    header = ast.FunctionDef(name=name, args=arguments, body=[], decorator_list=[], lineno=0)
    if "type_params" in ast.FunctionDef._fields:
        header.type_params = []  # type: ignore[attr-defined,unused-ignore]
    return Block(header, docstring=docstring)


def render(items: Sequence[Item]) -> str:
    """The text of a module."""
    return "\n".join(_lines(items, "")) + "\n"


def _lines(items: Sequence[Item], indent: str) -> Iterator[str]:
    for item in items:
        match item:
            case Comment(text):
                yield f"{indent}# {plain(text)}"
            case Blank(count):
                yield from [""] * count
            case Block():
                yield from (indent + line for line in _header_lines(item))
                yield from _lines(item.body, indent + INDENT)
                if all(isinstance(inner, (Comment, Blank)) for inner in item.body) and item.docstring is None:
                    yield f"{indent}{INDENT}pass"
            case Docstring(text):
                # As the first statement of a module it is printed in triple quotes.
                yield from ast.unparse(ast.Module([ast.Expr(ast.Constant(text))], [])).split("\n")
            case _:
                for line in ast.unparse(item).split("\n"):
                    yield indent + line if line else line


def _header_lines(block: Block) -> list[str]:
    """The first line of a compound statement, and a function's docstring."""
    filler: ast.expr = ast.Constant(0 if block.docstring is None else block.docstring)
    block.header.body = [ast.Expr(filler)]
    lines = ast.unparse(block.header).split("\n")
    block.header.body = []
    # ``ast.unparse`` puts empty lines before a definition in some versions.
    while not lines[0]:
        del lines[0]
    return lines[:-1] if block.docstring is None else lines


def plain(text: str) -> str:
    """``text`` on one line, printable characters only."""
    return "".join(character if character.isprintable() else " " for character in text)
