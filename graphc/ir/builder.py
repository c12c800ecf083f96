"""The builder: makes nodes, each structure once, and remembers for people where they came from."""

from __future__ import annotations

import itertools
import os
import sys
import weakref
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from graphc.errors import GraphcError, GraphcTypeError, Location
from graphc.ir.attrs import EMPTY, ArrayValue, Attrs, AttrValue, make_attrs
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.notes import LINES_OF_A_NODE, NoteContext, location_of
from graphc.ir.op import OpDef, get_op
from graphc.ir.state import State
from graphc.ir.types import DType, TensorType, ValueType, bool_, round_to

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OWN_FOLDERS = tuple(
    folder + os.sep
    for folder in (_PACKAGE, *(os.path.join(os.path.dirname(_PACKAGE), part) for part in ("frontends", "backends")))
)
# Libraries that call a tensor's methods on the user's behalf, as in `np.add(x, y)`.
_CALLERS = tuple(f"-packages{os.sep}{name}{os.sep}" for name in ("numpy", "sympy"))
_own_files: dict[str, bool] = {"<string>": False}

_serials = itertools.count()
_inferred: dict[tuple[OpDef, Attrs, tuple[ValueType, ...]], ValueType] = {}
_REMEMBERED = 100_000
"""Entries up to which the tables of this module grow before they start anew."""


def _is_own(filename: str) -> bool:
    own = _own_files.get(filename)
    if own is None:
        path = os.path.abspath(filename)
        own = filename.startswith("<frozen") or path.startswith(_OWN_FOLDERS) or any(part in path for part in _CALLERS)
        _own_files[filename] = own
    return own


def user_frame(depth: int = 1) -> FrameType | None:
    """The innermost frame on the stack that belongs to the user, not to graphc nor to a library between the two.

    Args:
        depth: frames to skip, this function's own included.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        filename = frame.f_code.co_filename
        own = _own_files.get(filename)
        if own is False or (own is None and not _is_own(filename)):
            return frame
        frame = frame.f_back
    return None


def user_location() -> Location | None:
    """The innermost line on the stack that belongs to the user, not to graphc."""
    frame = user_frame(2)
    return None if frame is None else location_of(frame)


def infer_type(op: OpDef, attrs: Attrs, inputs: Sequence[ValueType]) -> ValueType:
    """The op's own inference, memoised by op, attributes and input types."""
    # Attributes with arrays or regions are compared by identity: remembering them would keep them alive for nothing.
    if not attrs.is_light or op.user_defined:
        return op.infer(attrs, inputs)
    key = (op, attrs, tuple(inputs))
    found = _inferred.get(key)
    if found is None:
        found = op.infer(attrs, inputs)
        if len(_inferred) >= _REMEMBERED:
            _inferred.clear()
        _inferred[key] = found
    return found


class _Ref(weakref.ref[Node]):
    """A weak reference to a node that knows the table entries to drop when the node is gone."""

    __slots__ = ("key", "serial")

    key: Hashable
    serial: int


class Builder:
    """Makes interned nodes.

    The same op on the same inputs with the same attributes is the same node, so common subexpressions are shared by
    construction, and dead code is what no output reaches.  Nodes are held weakly: what the user drops is freed.

    Attributes:
        track_locations: False for rewriting, where notes are carried over instead of captured.
    """

    def __init__(self, *, track_locations: bool = False) -> None:
        self.track_locations = track_locations
        self._table: dict[Hashable, _Ref] = {}
        self._notes: dict[int, Note] = {}
        self._dead: list[_Ref] = []
        self._bury = self._dead.append
        self._context = NoteContext((), "forward", None)
        self._annotates = track_locations

    # -- making nodes ----------------------------------------------------------------------------------------------

    def make(
        self,
        op: OpDef | str,
        inputs: Sequence[Node] = (),
        attrs: Mapping[str, AttrValue] | Attrs = EMPTY,
        known_type: ValueType | None = None,
    ) -> Node:
        """The node ``op(inputs; attrs)``, new or shared.

        Args:
            op: its definition, or its name.
            inputs: the nodes it reads.
            attrs: its attributes.
            known_type: what inference gives, where that has been found out before.

        Raises:
            GraphcError: from the op's inference, with the user's line.
        """
        definition = get_op(op) if isinstance(op, str) else op
        canonical = attrs if isinstance(attrs, Attrs) else make_attrs(attrs)
        operands = tuple(inputs)
        # The table knows nodes by the hash alone: a tuple more for each would be a quarter of what a node takes.
        key: Hashable = hash((definition, canonical if canonical.is_light else canonical.key, operands))
        ref = self._table.get(key)
        node = ref() if ref is not None else None
        if node is not None and not (
            node.op is definition
            and node.inputs == operands
            and (node.attrs is canonical or node.attrs.key == canonical.key)
        ):
            # Two nodes of one hash: the second is known by all that it is.
            key = (definition, canonical.identity, operands)
            ref = self._table.get(key)
            node = ref() if ref is not None else None
        if node is None:
            type_ = known_type
            if type_ is None:
                try:
                    if definition.arity is not None and len(operands) != definition.arity:
                        raise GraphcTypeError(
                            "E213", f"{definition.name} takes {definition.arity} inputs, got {len(operands)}"
                        )
                    type_ = infer_type(definition, canonical, [operand.type for operand in operands])
                except GraphcError as error:
                    raise self.locate(error, operands) from None
            node = Node(definition, operands, canonical, type_, next(_serials))
            self._remember(key, node)
            if self._context.fixed is not None:
                self._notes[node.serial] = self._context.fixed
                return node
        if self._annotates:
            self.annotate(node)
        return node

    def remember(self, node: Node) -> None:
        """Let ``make`` find a node that another builder has made."""
        key: Hashable = hash((node.op, node.attrs.identity, node.inputs))
        taken = self._table.get(key)
        self._remember(key if taken is None or taken() is None else (node.op, node.attrs.identity, node.inputs), node)

    def _remember(self, key: Hashable, node: Node) -> None:
        # Entries of dead nodes are dropped here, and not from the weak reference's own callback, which runs wherever
        # the last reference to a node happens to go.
        while self._dead:
            dead = self._dead.pop()
            if self._table.get(dead.key) is dead:
                del self._table[dead.key]
            self._notes.pop(dead.serial, None)
        ref = _Ref(node, self._bury)
        ref.key = key
        ref.serial = node.serial
        self._table[key] = ref

    # -- notes -----------------------------------------------------------------------------------------------------

    def annotate(self, node: Node) -> None:
        """Note that ``node`` was made, or made again, here and now."""
        note = self._context.fixed
        if note is None:
            # Skipped: user_frame, this method and its caller.
            note = self._context.at(user_frame(3) if self.track_locations else None)
        old = self._notes.get(node.serial)
        if old is None:
            self._notes[node.serial] = note
        elif old is not note and note.locations:
            place = note.locations[0]
            if len(old.locations) < LINES_OF_A_NODE and place not in old.locations:
                self._notes[node.serial] = Note((*old.locations, place), old.scope, old.role, old.name)

    def note(self, node: Node) -> Note:
        """What is known about ``node`` for people."""
        return self._notes.get(node.serial, NO_NOTE)

    def notes_of(self, nodes: Iterable[Node]) -> dict[Node, Note]:
        """What is known about those of ``nodes`` about which something is."""
        known = self._notes.get
        return {node: note for node in nodes if (note := known(node.serial)) is not None}

    def set_note(self, node: Node, note: Note) -> None:
        """Attach ``note`` unless the node already has one."""
        if note is not NO_NOTE:
            self._notes.setdefault(node.serial, note)

    def replace_note(self, node: Node, note: Note) -> None:
        """Attach ``note`` in place of any other."""
        self._notes[node.serial] = note

    @property
    def context(self) -> NoteContext:
        """What nodes made now are noted with."""
        return self._context

    @context.setter
    def context(self, context: NoteContext) -> None:
        self._context = context
        self._annotates = self.track_locations or not context.is_empty

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Nodes made inside belong to the layer ``name``."""
        before = self._context
        self.context = NoteContext((*before.scope, name), before.role, before.place)
        try:
            yield
        finally:
            self.context = before

    @contextmanager
    def noted(self, note: Note, role: str) -> Iterator[None]:
        """Nodes made inside take the lines and layer of ``note`` and the given role: how derivatives keep their
        origin.
        """
        before = self._context
        self.context = NoteContext.of(note, role)
        try:
            yield
        finally:
            self.context = before

    def locate(self, error: GraphcError, operands: Sequence[Node] = ()) -> GraphcError:
        """``error`` with the user's line, and the lines that made the operands, where it has none yet."""
        if error.location is not None:
            return error
        place = self._context.place or user_location()
        made = []
        for operand in operands:
            lines = self.note(operand).locations
            if lines and lines[0] != place:
                made.append(f"{operand.type!r} made at {lines[0]}")
        message = error.message + ("; " + ", ".join(made) if made else "")
        return type(error)(error.code, message, place, error.hint)

    # -- sources ---------------------------------------------------------------------------------------------------

    def input(self, name: str, type: TensorType) -> Node:
        """An argument of an entry point."""
        return self.make("input", (), {"name": name, "dtype": type.dtype, "shape": type.shape})

    def new_input(self, name: str, type: TensorType) -> Node:
        """An argument unlike any other, even of the same name and type: two declarations never merge unnoticed."""
        op, attrs = get_op("input"), make_attrs({"name": name, "dtype": type.dtype, "shape": type.shape})
        node = Node(op, (), attrs, type, next(_serials))
        self.remember(node)
        self.annotate(node)
        return node

    def state(self, state: State) -> Node:
        """The value a state variable has when the entry point is called."""
        return self.make("state", (), {"state": state})

    def constant(self, value: Any, element: DType) -> Node:
        """A constant array or scalar of the given dtype (rounded to it if it is a half dtype)."""
        if isinstance(value, ArrayValue):
            return self.make("constant", (), {"value": value})
        array = np.asarray(value)
        if element.is_float and array.dtype.kind not in "fiub":
            raise GraphcTypeError("E212", f"cannot make a {element} constant of {value!r}")
        if element is bool_:
            array = array.astype(bool)
        carried = round_to(array.astype(element.compute) if array.dtype != element.carrier else array, element)
        return self.make("constant", (), {"value": ArrayValue.from_carrier(carried, element)})

    # -- the ops that rewriting and differentiation use most -------------------------------------------------------

    def op(self, name: str, *inputs: Node, **attrs: AttrValue) -> Node:
        """``make`` with the op's name, inputs and attributes as plain arguments."""
        return self.make(get_op(name), inputs, attrs)

    def full_like(self, node: Node, value: float | int | bool) -> Node:
        """A 0-d constant of the node's dtype, to combine with it by broadcasting."""
        return self.constant(value, node.dtype)
