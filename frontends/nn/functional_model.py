"""``Input`` and ``Model``: networks of any shape, from their inputs to their outputs."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.creation import input as new_input
from graphc.frontends.dsl.replay import Replay
from graphc.frontends.dsl.session import current_session, session_of
from graphc.frontends.dsl.tensor import Tensor, common_builder, fail
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.summary import Block
from graphc.frontends.nn.training.data import Batch
from graphc.frontends.nn.training.entries import BATCH
from graphc.frontends.nn.training.network import Network
from graphc.ir.dim import Dim, Poly, substitute
from graphc.ir.node import Node
from graphc.ir.state import State
from graphc.ir.traverse import creation_order
from graphc.ir.types import bool_


def Input(
    shape: Sequence[int | None] = (),
    batch_size: int | None = None,
    dtype: Any = "float32",
    name: str | None = None,
) -> Tensor:
    """An input of a :class:`Model` or a ``Sequential``.

    Args:
        shape: of one sample; None stands for a size that the data say.
        batch_size: fixes the number of samples, which otherwise the data say as well.
        dtype: of the samples; data are converted to it.
        name: under which the compiled model takes it, ``x`` by default.
    """
    session = current_session()
    if name is None:
        name = session.unique_name("x")
    else:
        if isinstance(name, str) and not (name.isidentifier() and not keyword.iskeyword(name)):
            name = "".join(letter if letter.isalnum() else "_" for letter in name)
        session.reserve_name(name)
    sizes: list[Dim | str] = [BATCH if batch_size is None else batch_size]
    sizes += [f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape, start=1)]
    return new_input(name, tuple(sizes), dtype)


_WEIGHTS = ("parameter", "statistic", "recurrent")
"""Roles of the state variables that belong to a network; the others belong to an optimizer or to random numbers."""


@dataclass
class _Part:
    """What a scope holds: nodes that compute, what they read from outside, and state variables; as ordered sets."""

    nodes: list[Node] = field(default_factory=list)
    read: dict[Node, None] = field(default_factory=dict)
    states: dict[State, None] = field(default_factory=dict)


class Model(Network):
    """The network between ``inputs`` and ``outputs``, trained as in Keras or called as a layer.

    Args:
        inputs: an ``nn.Input``, or several in a list, tuple or dict.
        outputs: a tensor, or several in a list, tuple or dict.
        seed: of the initial weights and of dropout, where ``fit`` or ``predict`` run the model.
        options: ``name``, ``trainable``.

    Raises:
        GraphcTypeError: an input that is none (E213).
        GraphcValueError: the outputs need an input that is not among ``inputs`` (E448).
    """

    def __init__(self, inputs: Any, outputs: Any, *, seed: int = 0, **options: Any) -> None:
        super().__init__(seed=seed, **options)
        given, made = _flat(inputs), _flat(outputs)
        for tensor in (*given, *made):
            if not isinstance(tensor, Tensor):
                raise fail(GraphcTypeError, "E213", f"Model takes tensors, got {tensor!r}")
        for tensor in given:
            if tensor.node.op.name != "input":
                raise fail(GraphcTypeError, "E213", f"an input must be made by nn.Input, got {tensor!r}")
        if not given or not made:
            raise fail(GraphcValueError, "E213", "Model needs inputs and outputs")
        self._session = session_of(common_builder([*given, *made]))
        known = {tensor.node for tensor in given}
        for node in creation_order([tensor.node for tensor in made]):
            if node.op.name == "input" and node not in known:
                raise fail(GraphcValueError, "E448", f"the outputs also need the input {node.attrs['name']!r}")
        self._inputs = tuple(given)
        self._structure = outputs
        if isinstance(outputs, Mapping):
            self._outputs = dict(zip(map(str, outputs), made, strict=True))
        elif len(made) == 1:
            self._outputs = {"output": made[0]}
        else:
            self._outputs = {f"output_{position}": tensor for position, tensor in enumerate(made)}
        self._layers: list[Layer] = []
        self._blocks = self._found_blocks()
        self.built = True

    def connect(self, batch: Batch | None) -> bool:
        """Inputs and outputs are known from the start."""
        return True

    @property
    def layers(self) -> list[Layer]:
        """The layers, in the order in which they were first applied."""
        return list(self._layers)

    def sublayers(self) -> Iterator[Layer]:
        """The layers, in the order in which they were first applied."""
        return iter(self._layers)

    @property
    def weights(self) -> list[Tensor]:
        """The weights layer by layer, then those that the graph has outside of layers."""
        states = dict.fromkeys(state for block in self._blocks for state in block.states)
        return [Tensor(self._session.state(state), self._session) for state in states]

    def blocks(self) -> list[Block]:
        """The inputs and the layers."""
        return self._blocks

    def _found_blocks(self) -> list[Block]:
        """The layers between inputs and outputs, known by the scopes of their nodes.

        A layer that did nothing to its input (a dropout of rate 0) leaves no node and is no part of the network.
        """
        roots = [tensor.node for tensor in self._outputs.values()]
        order = creation_order(roots)
        parts: dict[str, _Part] = {}
        leaving: dict[Node, None] = dict.fromkeys(roots)
        scopes = {node: (*self._session.note(node).scope, "")[0] for node in order}
        # A weight is made in the scope of its layer, a constant wherever it was first needed.
        passive = {node for node in order if node.op.name in ("state", "constant", "training")}
        for node in order:
            part = parts.setdefault(scopes[node], _Part())
            if node not in passive:
                part.nodes.append(node)
            for operand in node.inputs:
                if operand.op.name == "state" and operand.attrs["state"].role in _WEIGHTS:
                    part.states.setdefault(operand.attrs["state"])
                elif operand not in passive and scopes[operand] != scopes[node]:
                    leaving.setdefault(operand)
                    part.read.setdefault(operand)
        blocks = [Block(str(tensor.name), "Input", (), (tensor,)) for tensor in self._inputs]
        loose = parts.pop("", _Part())
        for name, part in parts.items():
            if not part.nodes:
                continue
            inputs = self._tensors(part.read)
            outputs = self._tensors([node for node in part.nodes if node in leaving])
            layer = self._session.holder(name)
            if isinstance(layer, Layer):
                self._layers.append(layer)
                blocks.append(Block.of(layer, inputs, outputs))
            else:
                blocks.append(Block(name, "Layer", inputs, outputs, tuple(part.states), (name,)))
        if loose.states:
            blocks.append(Block("parameters", "G.parameter", (), (), tuple(loose.states)))
        return blocks

    def _tensors(self, nodes: Sequence[Node] | Mapping[Node, None]) -> tuple[Tensor, ...]:
        return tuple(Tensor(node, self._session) for node in nodes)

    def __call__(self, x: Any, *arguments: Any, training: bool | None = None, **options: Any) -> Any:
        """The same network on other tensors, with the same weights.

        Args:
            x: as many tensors as there are inputs.
            arguments: none.
            training: as in :meth:`Layer.__call__`.
            options: none.
        """
        given = _flat(x)
        if arguments or options or len(given) != len(self._inputs):
            raise fail(GraphcTypeError, "E213", f"{self.name} takes {len(self._inputs)} tensors")
        if any(not isinstance(tensor, Tensor) for tensor in given):
            raise fail(GraphcTypeError, "E213", f"{self.name} takes tensors, got {x!r}")
        common_builder([*given, *self._outputs.values()])
        dims: dict[str, Dim] = {}
        for old, new in zip(self._inputs, given, strict=True):
            if old.ndim == new.ndim:
                dims |= {str(a): b for a, b in zip(old.shape, new.shape, strict=True) if isinstance(a, Poly) and a != b}
            if old.dtype is not new.dtype or tuple(substitute(dim, dims) for dim in old.shape) != new.shape:
                message = f"{self.name} takes {old.dtype}{list(old.shape)}, got {new.dtype}{list(new.shape)}"
                raise fail(GraphcTypeError, "E211", message, None, new)
        table: dict[Node, Node] = {old.node: new.node for old, new in zip(self._inputs, given, strict=True)}
        if training is not None:
            table[self._session.op("training")] = self._session.constant(training, bool_)
        replay = Replay(self._session, table, dims, statistics=training is not False, redraw=True)
        outputs = replay.run([tensor.node for tensor in self._outputs.values()])
        made = dict(zip(self._outputs, self._tensors(outputs), strict=True))
        if isinstance(self._structure, Mapping):
            return made
        return list(made.values()) if isinstance(self._structure, (list, tuple)) else next(iter(made.values()))


def _flat(tensors: Any) -> list[Any]:
    if isinstance(tensors, Mapping):
        return list(tensors.values())
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
