"""The builder: makes nodes, each structure once, and remembers for people where they came from."""

from __future__ import annotations

import itertools
import os
import sys
import weakref
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from graphc.errors import GraphcError, GraphcTypeError, Location
from graphc.ir.attrs import EMPTY, ArrayValue, Attrs, AttrValue, make_attrs
from graphc.ir.node import NO_NOTE, Node, Note
from graphc.ir.op import OpDef, get_op
from graphc.ir.state import State
from graphc.ir.types import DType, TensorType, ValueType, bool_, round_to

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OWN_FOLDERS = tuple(
    folder + os.sep
    for folder in (_PACKAGE, *(os.path.join(os.path.dirname(_PACKAGE), part) for part in ("frontends", "backends")))
)
_own_files: dict[str, bool] = {"<string>": False}

_serials = itertools.count()
_inferred: dict[tuple[OpDef, Attrs, tuple[ValueType, ...]], ValueType] = {}
_INFERRED_LIMIT = 100_000


def _is_own(filename: str) -> bool:
    own = _own_files.get(filename)
    if own is None:
        own = filename.startswith("<frozen") or os.path.abspath(filename).startswith(_OWN_FOLDERS)
        _own_files[filename] = own
    return own


def user_location() -> Location | None:
    """The innermost line on the stack that belongs to the user, not to graphc."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not _is_own(frame.f_code.co_filename):
            return Location(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None


def infer_type(op: OpDef, attrs: Attrs, inputs: Sequence[ValueType]) -> ValueType:
    """The op's own inference, memoised by op, attributes and input types."""
    key = (op, attrs, tuple(inputs))
    found = _inferred.get(key)
    if found is None:
        found = op.infer(attrs, inputs)
        # Attributes with arrays or regions are compared by identity: remembering them would keep them alive for
        # nothing.
        if attrs.key.__class__ is tuple and not op.user_defined and _is_light(attrs):
            if len(_inferred) >= _INFERRED_LIMIT:
                _inferred.clear()
            _inferred[key] = found
    return found


def _is_light(attrs: Attrs) -> bool:
    return all(isinstance(v, (bool, int, float, str, tuple, DType, type(None))) for v in attrs.values())


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
        self._scope: tuple[str, ...] = ()
        self._role = "forward"
        self._fixed_location: Location | None = None

    # -- making nodes ----------------------------------------------------------------------------------------------

    def make(
        self, op: OpDef | str, inputs: Sequence[Node] = (), attrs: Mapping[str, AttrValue] | Attrs = EMPTY
    ) -> Node:
        """The node ``op(inputs; attrs)``, new or shared.

        Raises:
            GraphcError: from the op's inference, with the user's line.
        """
        if isinstance(op, str):
            op = get_op(op)
        canonical = make_attrs(attrs)
        operands = tuple(inputs)
        key = (op, canonical.key, operands)
        ref = self._table.get(key)
        node = ref() if ref is not None else None
        if node is None:
            try:
                if op.arity is not None and len(operands) != op.arity:
                    raise GraphcTypeError("E213", f"{op.name} takes {op.arity} inputs, got {len(operands)}")
                type_ = infer_type(op, canonical, [operand.type for operand in operands])
            except GraphcError as error:
                raise self.locate(error, operands) from None
            node = Node(op, operands, canonical, type_, next(_serials))
            self._remember(key, node)
        if self.track_locations or self._fixed_location is not None or self._scope or self._role != "forward":
            self._annotate(node)
        return node

    def _remember(self, key: Hashable, node: Node) -> None:
        # Entries of dead nodes are dropped here, one at a time, and not from the weak reference's own callback: a chain
        # of 200,000 nodes would otherwise be freed by 200,000 nested calls.
        while self._dead:
            dead = self._dead.pop()
            if self._table.get(dead.key) is dead:
                del self._table[dead.key]
            self._notes.pop(dead.serial, None)
            # The key holds the node's inputs: letting go of it here may free them, and the loop goes on with them.
            dead.key = None
        ref = _Ref(node, self._dead.append)
        ref.key = key
        ref.serial = node.serial
        self._table[key] = ref

    # -- notes -----------------------------------------------------------------------------------------------------

    def _annotate(self, node: Node) -> None:
        place = self._fixed_location or (user_location() if self.track_locations else None)
        old = self._notes.get(node.serial)
        if old is None:
            self._notes[node.serial] = Note((place,) if place else (), self._scope, self._role)
        elif place is not None and place not in old.locations and len(old.locations) < 8:
            self._notes[node.serial] = Note((*old.locations, place), old.scope, old.role, old.name)

    def note(self, node: Node) -> Note:
        """What is known about ``node`` for people."""
        return self._notes.get(node.serial, NO_NOTE)

    def set_note(self, node: Node, note: Note) -> None:
        """Attach ``note`` unless the node already has one."""
        if note is not NO_NOTE:
            self._notes.setdefault(node.serial, note)

    def replace_note(self, node: Node, note: Note) -> None:
        """Attach ``note`` in place of any other."""
        self._notes[node.serial] = note

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Nodes made inside belong to the layer ``name``."""
        before = self._scope
        self._scope = (*before, name)
        try:
            yield
        finally:
            self._scope = before

    @contextmanager
    def noted(self, note: Note, role: str) -> Iterator[None]:
        """Nodes made inside take the lines and layer of ``note`` and the given role: how derivatives keep their
        origin.
        """
        before = self._scope, self._role, self._fixed_location
        self._scope, self._role = note.scope, role
        self._fixed_location = note.locations[0] if note.locations else None
        try:
            yield
        finally:
            self._scope, self._role, self._fixed_location = before

    def locate(self, error: GraphcError, operands: Sequence[Node] = ()) -> GraphcError:
        """``error`` with the user's line, and the lines that made the operands, where it has none yet."""
        if error.location is not None:
            return error
        place = self._fixed_location or user_location()
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
        self._remember((op, attrs.key, ()), node)
        self._annotate(node)
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
