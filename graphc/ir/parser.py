"""Reads the text form of graphs; the inverse of :mod:`graphc.ir.printer`."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

import numpy as np

from graphc.errors import GraphcError, GraphcValueError, Location
from graphc.ir.attrs import ArrayValue, AttrValue
from graphc.ir.builder import Builder
from graphc.ir.dim import parse_dim
from graphc.ir.graph import Graph, Module
from graphc.ir.node import Node
from graphc.ir.op import OpDef, get_op
from graphc.ir.state import State
from graphc.ir.types import DTYPES, TensorType, dtype, tensor_type

_TOKEN = re.compile(
    r"""[ \t]*(?:
        (?P<skip>\#[^\n]*|\n)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<number>-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)
      | (?P<node>%\d+)
      | (?P<word>[A-Za-z_][A-Za-z_0-9.]*)
      | (?P<mark>[(){}\[\]=,:*+-])
    )""",
    re.VERBOSE,
)
_DEPTH_LIMIT = 64

Token = tuple[str, str, int]


def parse_graph(text: str, ops: Mapping[str, OpDef] | None = None) -> Graph:
    """The graph whose text form is ``text``.

    Args:
        ops: definitions of user-defined ops that the text names.

    Raises:
        GraphcValueError: text that is not a graph (E290), with its line.
    """
    graphs = _Parser(text, ops or {}).graphs()
    if len(graphs) != 1:
        raise GraphcValueError("E290", f"expected one graph, found {len(graphs)}")
    return graphs[0]


def parse_module(text: str, name: str = "model", ops: Mapping[str, OpDef] | None = None) -> Module:
    """The module whose entry points are the graphs in ``text``; state variables of one name are one."""
    graphs = _Parser(text, ops or {}).graphs()
    return Module(name, {graph.name: graph for graph in graphs})


class _Parser:
    """A recursive-descent parser; it recurses over regions and tuples only, to a fixed depth."""

    def __init__(self, text: str, ops: Mapping[str, OpDef]) -> None:
        self._tokens = self._tokenise(text)
        self._ahead: Token = next(self._tokens)
        self._ops = ops
        self._states: dict[str, State] = {}
        self._depth = 0

    def _tokenise(self, text: str) -> Iterator[Token]:
        position, line = 0, 1
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                if not text[position:].strip(" \t"):
                    break
                raise GraphcValueError(
                    "E290", f"unexpected text {text[position : position + 20]!r}", Location("<graph>", line)
                )
            kind = match.lastgroup or ""
            if kind == "skip":
                line += match.group("skip") == "\n"
            else:
                yield kind, match.group(kind), line
            position = match.end()
        yield "end", "", line

    # -- tokens ----------------------------------------------------------------------------------------------------

    def _fail(self, expected: str) -> NoReturn:
        _, text, line = self._ahead
        raise GraphcValueError("E290", f"expected {expected}, got {text or 'the end'!r}", Location("<graph>", line))

    def _take(self, kind: str | None = None, text: str | None = None) -> str:
        if (kind is not None and self._ahead[0] != kind) or (text is not None and self._ahead[1] != text):
            self._fail(text or kind or "a token")
        found = self._ahead[1]
        self._ahead = next(self._tokens, ("end", "", self._ahead[2]))
        return found

    def _accept(self, text: str) -> bool:
        if self._ahead[0] in ("mark", "word") and self._ahead[1] == text:
            self._take()
            return True
        return False

    # -- graphs ----------------------------------------------------------------------------------------------------

    def graphs(self) -> list[Graph]:
        found = []
        while self._ahead[0] != "end":
            found.append(self._graph())
        return found

    def _graph(self) -> Graph:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            self._fail(f"regions nested at most {_DEPTH_LIMIT} deep")
        self._take("word", "graph")
        name = json.loads(self._take("string"))
        self._take("mark", "{")
        b = Builder()
        nodes: dict[str, Node] = {}
        while self._ahead[0] == "node":
            self._node(b, nodes)
        inputs = self._operands(nodes) if self._accept("inputs") else []
        outputs, updates = [], []
        while self._accept("output"):
            label = json.loads(self._take("string"))
            self._take("mark", "=")
            outputs.append((label, self._operand(nodes)))
        while self._accept("update"):
            variable = self._operand(nodes)
            self._take("mark", "=")
            updates.append((variable, self._operand(nodes)))
        self._take("mark", "}")
        self._depth -= 1
        return Graph.make(name, inputs, outputs, updates, order=list(nodes.values()), builder=b)

    def _operand(self, nodes: Mapping[str, Node]) -> Node:
        if self._ahead[0] != "node" or self._ahead[1] not in nodes:
            self._fail("a node that is defined above")
        return nodes[self._take()]

    def _operands(self, nodes: Mapping[str, Node]) -> list[Node]:
        found = [self._operand(nodes)]
        while self._accept(","):
            found.append(self._operand(nodes))
        return found

    def _node(self, b: Builder, nodes: dict[str, Node]) -> None:
        label, line = self._ahead[1], self._ahead[2]
        self._take("node")
        self._take("mark", "=")
        name = self._take("word")
        self._take("mark", "(")
        operands: list[Node] = []
        attrs: dict[str, AttrValue] = {}
        while not self._accept(")"):
            if self._ahead[0] == "node":
                operands.append(self._operand(nodes))
            else:
                key = self._take("word")
                self._take("mark", "=")
                attrs[key] = self._value()
            if self._ahead[1] != ")":
                self._take("mark", ",")
        while self._ahead[0] == "word":
            key = self._take("word")
            self._take("mark", "{")
            attrs[key] = self._graph()
            self._take("mark", "}")
        try:
            made = b.make(self._ops.get(name) or get_op(name), operands, attrs)
        except GraphcError as error:
            raise GraphcValueError("E290", error.message, Location("<graph>", line)) from error
        except KeyError as error:
            raise GraphcValueError("E290", f"{name} lacks the attribute {error}", Location("<graph>", line)) from error
        self._take("mark", ":")
        written = self._type()
        if written != repr(made.type):
            raise GraphcValueError(
                "E290", f"{label} is written as {written}, {name} gives {made.type!r}", Location("<graph>", line)
            )
        nodes[label] = made

    def _type(self) -> str:
        if self._accept("("):
            parts = []
            while not self._accept(")"):
                parts.append(self._tensor_type())
                self._accept(",")
            return f"({', '.join(parts)})"
        return self._tensor_type()

    def _tensor_type(self) -> str:
        element = dtype(self._take("word"))
        self._take("mark", "[")
        text = ""
        while not self._accept("]"):
            _, token, _ = self._ahead
            text += f" {token} " if token in "+-" else token
            self._take()
        return repr(tensor_type(element, [parse_dim(part) for part in text.split(",") if part.strip()]))

    # -- attribute values ------------------------------------------------------------------------------------------

    def _value(self) -> AttrValue:
        kind, text, _ = self._ahead
        if kind == "number":
            self._take()
            return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
        if kind == "string":
            return json.loads(self._take())
        if text == "(":
            return tuple(self._arguments())
        if kind != "word":
            self._fail("an attribute value")
        self._take()
        if text in ("none", "true", "false"):
            return {"none": None, "true": True, "false": False}[text]
        if self._ahead[1] != "(":
            if text not in DTYPES:
                self._fail("a dtype")
            return DTYPES[text]
        return self._call(text, self._arguments())

    def _arguments(self) -> list[AttrValue]:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            self._fail(f"values nested at most {_DEPTH_LIMIT} deep")
        self._take("mark", "(")
        found = []
        while not self._accept(")"):
            found.append(self._value())
            if self._ahead[1] != ")":
                self._take("mark", ",")
        self._depth -= 1
        return found

    def _call(self, function: str, arguments: Sequence[AttrValue]) -> AttrValue:
        try:
            match function, arguments:
                case "bits", [str(text)]:
                    return struct.unpack("<d", bytes.fromhex(text))[0]
                case "dim", [str(text)]:
                    return parse_dim(text)
                case "scalar", [element, value]:
                    return ArrayValue(np.asarray(value), dtype(element))
                case "array", [element, tuple(shape), str(text)]:
                    element = dtype(element)
                    data = np.frombuffer(bytes.fromhex(text), dtype=element.storage)
                    return ArrayValue(data.reshape(shape), element)
                case "state", [str(name), element, tuple(shape), str(role), bool(trainable)]:
                    return self._state(name, tensor_type(dtype(element), shape), role, trainable)
        except (ValueError, struct.error) as error:
            raise GraphcValueError("E290", f"{function}(…): {error}", Location("<graph>", self._ahead[2])) from error
        self._fail(f"arguments that fit {function}(…)")

    def _state(self, name: str, type_: TensorType, role: str, trainable: bool) -> State:
        """Initial values are no part of the text: a state read from text starts at zero."""
        found = self._states.get(name)
        if found is None or found.type is not type_:
            found = State(name, type_, np.zeros(type_.static_shape, type_.dtype.storage), role, trainable)
            self._states[name] = found
        return found
