"""A name for the content of a module: equal exactly for modules that every later stage must treat alike.

What counts: ops, attributes down to their bits, types, the order of the nodes, entry points, state variables, and what
the notes of the nodes say (an error message of the compiled code names the user's line).  What does not: the folder of
the user's files, initial values of state, the numbers that nodes were created under.
"""

from __future__ import annotations

import hashlib
import posixpath
import struct
from array import array
from collections.abc import Callable, Iterable
from typing import Any

from graphc.errors import Location
from graphc.ir.attrs import ArrayValue, Attrs, AttrValue
from graphc.ir.dim import Poly
from graphc.ir.graph import Graph, Module
from graphc.ir.node import NO_NOTE, Note
from graphc.ir.op import OpDef, registered_ops
from graphc.ir.state import State
from graphc.ir.types import DType, TensorType

_OWN = "graphc."


class NoDigest(Exception):
    """The module has an op whose meaning is known to its author only."""


def module_digest(module: Module) -> str:
    """The SHA-256 of what ``module`` says, in hexadecimal.

    Raises:
        NoDigest: an op was defined outside of graphc, by other means than a sympy expression.
    """
    digest = _Digest()
    parts = [_text(module.name)]
    parts += [digest.state(state) for state in module.states.values()]
    parts += [_text(name) + digest.graph(graph) for name, graph in module.entries.items()]
    parts += digest.tables()
    return hashlib.sha256(_listed(parts)).hexdigest()


def _text(text: str) -> bytes:
    return _sized(text.encode("utf-8", "surrogatepass"))


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def _listed(parts: Iterable[bytes]) -> bytes:
    return b"".join(map(_sized, parts))


class _Table:
    """Numbers things by their content, in the order of their first appearance.

    Attributes:
        known: identity of a thing seen before → its number, found without a look at the content.
    """

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self._encode = encode
        self.known: dict[int, int] = {}
        self._kept: list[Any] = []
        self._numbers: dict[bytes, int] = {}

    def number(self, thing: Any) -> int:
        """The number of a ``thing``."""
        found = self.known.get(id(thing))
        if found is None:
            found = self.known[id(thing)] = self._numbers.setdefault(self._encode(thing), len(self._numbers))
            # Nothing else may get its identity while the table is in use.
            self._kept.append(thing)
        return found

    def contents(self) -> bytes:
        """What the numbers stand for."""
        return _listed(self._numbers)


class _Digest:
    """Digests of the graphs of one module; the tables that their numbers refer to are the module's."""

    def __init__(self) -> None:
        self._own_ops = {op for op in registered_ops() if op.infer.__module__.startswith(_OWN)}
        self._graphs: dict[int, bytes] = {}
        self._arrays: dict[int, bytes] = {}
        self._ops, self._attrs = _Table(self._op), _Table(self._attributes)
        self._types, self._notes = _Table(lambda type_: repr(type_).encode()), _Table(self._note)
        self._places: dict[tuple[str, int], bytes] = {}

    def tables(self) -> list[bytes]:
        """What the numbers in the digests of graphs stand for."""
        return [table.contents() for table in (self._ops, self._attrs, self._types, self._notes)]

    def graph(self, graph: Graph) -> bytes:
        """The digest of a graph.  Regions nest as deep as loops do: this may call itself."""
        found = self._graphs.get(id(graph))
        if found is not None:
            return found
        position = {node: number for number, node in enumerate(graph.nodes)}
        rows = array("q")
        ops, attrs, types, notes = self._ops, self._attrs, self._types, self._notes
        note_of = graph.notes.get
        for node in graph.nodes:
            # In nearly all cases one look-up each, and a graph may have 100,000 nodes.
            op, values, type_, note = node.op, node.attrs, node.type, note_of(node, NO_NOTE)
            number = ops.known.get(id(op))
            rows.append(ops.number(op) if number is None else number)
            number = attrs.known.get(id(values))
            rows.append(attrs.number(values) if number is None else number)
            number = types.known.get(id(type_))
            rows.append(types.number(type_) if number is None else number)
            number = notes.known.get(id(note))
            rows.append(notes.number(note) if number is None else number)
            rows.append(len(node.inputs))
            for operand in node.inputs:
                rows.append(position[operand])
        made = hashlib.sha256(_text(graph.name))
        made.update(_sized(rows.tobytes()))
        ends = [position[node] for node in graph.inputs], [position[node] for _, node in graph.outputs]
        made.update(repr(ends).encode())
        made.update(_listed(_text(name) for name, _ in graph.outputs))
        made.update(repr([(position[variable], position[value]) for variable, value in graph.updates]).encode())
        digest = self._graphs[id(graph)] = made.digest()
        return digest

    def state(self, state: State) -> bytes:
        """A state variable, but for its initial value."""
        return b"".join(map(_text, (state.name, repr(state.type), state.role, str(state.trainable))))

    def _op(self, op: OpDef) -> bytes:
        """The op's name, which says all about graphc's own ops, and the meaning of one that the user defined."""
        if op in self._own_ops:
            return _text(op.name)
        body = op.extra.get("body")
        if not op.user_defined or body is None or not op.infer.__module__.startswith(_OWN):
            raise NoDigest(f"the op {op.name} is not graphc's own")
        import sympy

        parts = [sympy.__version__, sympy.srepr(body), *(sympy.srepr(symbol) for symbol in op.extra["parameters"])]
        return _text(op.name) + _listed(part.encode() for part in parts)

    def _attributes(self, attrs: Attrs) -> bytes:
        return _listed(_text(name) + self._value(value) for name, value in attrs.items())

    def _note(self, note: Note) -> bytes:
        places = b"".join([self._place(place) for place in note.locations])
        return b"%d %s" % (len(note.locations), places) + repr((note.scope, note.role, note.name)).encode()

    def _place(self, place: Location) -> bytes:
        """The line, and the name of its file: the same model in another folder is the same model."""
        found = self._places.get((place.file, place.line))
        if found is None:
            name = posixpath.basename(place.file.replace("\\", "/"))
            found = self._places[place.file, place.line] = _text(f"{name}:{place.line}")
        return found

    def _value(self, value: AttrValue) -> bytes:
        """An attribute with the kind of thing it is: Python equates 1, 1.0 and True, and 0.0 with -0.0."""
        match value:
            case None:
                return b"none"
            case bool():
                return b"bool" + str(value).encode()
            case int():
                return b"int" + str(value).encode()
            case float():
                return b"float" + struct.pack("<d", value)
            case str():
                return b"str" + value.encode("utf-8", "surrogatepass")
            case DType():
                return b"dtype" + value.name.encode()
            case Poly():
                return b"dim" + str(value).encode()
            case TensorType():
                return b"type" + repr(value).encode()
            case tuple():
                return b"tuple" + _listed(map(self._value, value))
            case ArrayValue():
                return b"array" + self._array(value)
            case State():
                return b"state" + self.state(value)
            case Graph():
                return b"graph" + self.graph(value)
        raise NoDigest(f"{type(value).__name__} is no attribute known here")

    def _array(self, value: ArrayValue) -> bytes:
        found = self._arrays.get(id(value))
        if found is None:
            found = repr(value.type).encode() + hashlib.sha256(value.array.tobytes()).digest()
            self._arrays[id(value)] = found
        return found
