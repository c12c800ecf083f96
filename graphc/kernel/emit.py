"""Emits the calls of one entry point: buffers, shared kernels, copies and fills."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.errors import Location
from graphc.ir.attrs import ArrayValue
from graphc.ir.state import State
from graphc.ir.types import DType
from graphc.kernel.body import abstract
from graphc.kernel.builder import Argument, KernelBuilder, NotInPlace, NotOneKernel
from graphc.kernel.loopir import AnyKernel, Intrinsic, Param
from graphc.kernel.lower_body import domain_axes
from graphc.kernel.program import Buffer, BufferKind, Call, Copy, Ref, Step
from graphc.kernel.views import Place, Uniform, View, size_of, whole

Build = Callable[[KernelBuilder, Sequence[Place]], None]
"""Fills a kernel: (builder, abstract places of the operands)."""


@dataclass(frozen=True, slots=True)
class _Template:
    """A kernel that was built before, to be called again on other memory."""

    kernel: int
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a call computes, for people."""

    name: str
    note: str = ""
    location: Location | None = None


class ProgramBuilder:
    """What the entries of a program share: kernels, each once, and constants, each once."""

    def __init__(self) -> None:
        self.kernels: list[AnyKernel] = []
        self.constants: list[ArrayValue] = []
        self._kernel_numbers: dict[AnyKernel, int] = {}
        self._constant_numbers: dict[ArrayValue, int] = {}
        self._templates: dict[Hashable, _Template | type[Exception]] = {}

    def kernel(self, kernel: AnyKernel) -> int:
        """The number of a kernel; its name becomes unique in the program."""
        number = self._kernel_numbers.get(kernel)
        if number is None:
            number = self._kernel_numbers[kernel] = len(self.kernels)
            self.kernels.append(replace(kernel, name=f"{kernel.name}_{number}"))
        return number

    def constant(self, value: ArrayValue) -> int:
        """The number of a constant."""
        number = self._constant_numbers.get(value)
        if number is None:
            number = self._constant_numbers[value] = len(self.constants)
            self.constants.append(value)
        return number

    def template(
        self,
        key: Hashable,
        name: str,
        build: Build,
        operands: Sequence[Place],
        destinations: Sequence[View],
        in_place: Sequence[int | None],
    ) -> _Template:
        """The kernel for abstract operands and destinations: the one made before for an equal ``key``, or a new one.

        Raises:
            NotOneKernel, NotInPlace: each time again for the same key.
        """
        whole_key = (key, tuple(operands), tuple(destinations), tuple(in_place))
        found = self._templates.get(whole_key)
        if found is None:
            found = self._templates[whole_key] = self._build(name, build, operands, destinations, in_place)
        if isinstance(found, _Template):
            return found
        raise found

    def _build(
        self,
        name: str,
        build: Build,
        operands: Sequence[Place],
        destinations: Sequence[View],
        in_place: Sequence[int | None],
    ) -> _Template | type[Exception]:
        builder = KernelBuilder(destinations, in_place)
        try:
            build(builder, operands)
            kernel, arguments = builder.finish(name)
        except (NotOneKernel, NotInPlace) as failure:
            return type(failure)
        return _Template(self.kernel(kernel), arguments)


class Emitter:
    """Collects the buffers and steps of one entry point.

    Attributes:
        program: what is shared with other entries.
        buffers: of the entry so far.
        steps: where calls go now: the entry's list, or that of the loop being lowered.
    """

    def __init__(self, program: ProgramBuilder, states: Mapping[str, State]) -> None:
        self.program = program
        self._state_positions = {name: position for position, name in enumerate(states)}
        self._states: dict[str, View] = {}
        self.buffers: list[Buffer] = []
        self.steps: list[Step] = []
        self._constants: dict[int, int] = {}

    # -- buffers ---------------------------------------------------------------------------------------------------

    def buffer(self, name: str, dtype: DType, size: int, kind: BufferKind, position: int = 0) -> int:
        """A new buffer."""
        self.buffers.append(Buffer(name, dtype, size, kind, position))
        return len(self.buffers) - 1

    def temporary(self, name: str, dtype: DType, shape: Sequence[int]) -> View:
        """A new contiguous piece of the arena."""
        number = self.buffer(f"{name}_{len(self.buffers)}", dtype, size_of(shape), "temporary")
        return whole(number, dtype, shape)

    def constant(self, value: ArrayValue) -> Place:
        """Where a constant lies: nowhere if one number says it."""
        shape = value.type.static_shape
        if value.is_uniform:
            return Uniform(value.type.dtype, value.array.reshape(-1)[:1].tobytes(), shape)
        position = self.program.constant(value)
        number = self._constants.get(position)
        if number is None:
            size = value.type.static_size
            number = self._constants[position] = self.buffer(
                f"constant_{position}", value.type.dtype, size, "constant", position
            )
        return whole(number, value.type.dtype, shape)

    def state(self, state: State) -> View:
        """Where a state variable lies."""
        view = self._states.get(state.name)
        if view is None:
            position = self._state_positions[state.name]
            number = self.buffer(state.name, state.type.dtype, state.type.static_size, "state", position)
            view = self._states[state.name] = whole(number, state.type.dtype, state.type.static_shape)
        return view

    # -- calls -----------------------------------------------------------------------------------------------------

    def call(
        self,
        origin: Origin,
        key: Hashable,
        build: Build,
        operands: Sequence[Place],
        destinations: Sequence[View],
        in_place: Sequence[int | None] = (),
    ) -> None:
        """Call the kernel that ``build`` makes of ``operands`` and ``destinations``.

        Args:
            origin: for people.
            key: equal only for equal ``build``.
            build: fills the kernel where it is not known yet.
            operands: what is read; equal places are one operand.
            destinations: what is written.
            in_place: for each destination the operand whose memory it is.

        Raises:
            NotOneKernel: the body does not fit one kernel.
            NotInPlace: an operand would be overwritten before it is read.
        """
        first: dict[Place, int] = {}
        numbers = [first.setdefault(place, position) for position, place in enumerate(operands)]
        seen = [abstract(place, number) for place, number in zip(operands, numbers, strict=True)]
        targets = [View(number, view.dtype, 0, view.shape, view.strides) for number, view in enumerate(destinations)]
        taken = [None if operand is None else numbers[operand] for operand in in_place] or [None] * len(targets)
        template = self.program.template(key, origin.name, build, seen, targets, taken)
        args: list[Ref] = []
        for argument in template.arguments:
            place = destinations[argument.number] if argument.is_destination else operands[argument.number]
            assert isinstance(place, View)
            args.append(place.ref(argument.offset))
        self.steps.append(Call(template.kernel, tuple(args), origin.note, origin.location))

    def intrinsic(self, origin: Origin, intrinsic: Intrinsic, args: Sequence[View]) -> None:
        """Call a kernel that is no loop nest."""
        kernel = self.program.kernel(intrinsic)
        self.steps.append(Call(kernel, tuple(view.ref() for view in args), origin.note, origin.location))

    def copy(self, target: View, source: Place, origin: Origin) -> None:
        """Copy or cast ``source`` to ``target``, or fill it with one number."""
        if target.size == 0:
            return
        plain = isinstance(source, View) and target.dtype is source.dtype
        if plain and isinstance(source, View) and target.is_contiguous and source.is_contiguous:
            self.steps.append(Copy(target.ref(), source.ref(), target.size))
            return
        self.call(replace(origin, name="copy" if plain else "fill"), ("copy",), _build_copy, (source,), (target,))

    def contiguous(self, place: Place, origin: Origin) -> View:
        """The place itself where it is contiguous memory, else a copy that is."""
        if isinstance(place, View) and place.is_contiguous:
            return place
        made = self.temporary("copied", place.dtype, place.shape)
        self.copy(made, place, origin)
        return made

    def check_index(self, place: Place, limit: int, origin: Origin) -> None:
        """Fail before anything is written unless every index is in [0, limit)."""
        view = self.contiguous(place, origin)
        params = (Param(view.dtype, "in"),)
        self.intrinsic(origin, Intrinsic("check_index", params, (view.size, limit), "check_index"), (view,))


def _build_copy(builder: KernelBuilder, operands: Sequence[Place]) -> None:
    (source,) = operands
    target = builder.destinations[0]
    index = domain_axes(builder, target)
    value = builder.const(source.dtype, source.bits) if isinstance(source, Uniform) else builder.load(source, index)
    builder.store(0, index, builder.cast(value, target.dtype), range(len(builder.extents)))
