"""From what the compiler made to what the runtime and the writer need."""

from __future__ import annotations

import keyword
import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from graphc.artifact.runtime.model import Model
from graphc.artifact.runtime.spec import EntrySpec, Rung, Spec, TensorSpec
from graphc.config import Options
from graphc.errors import GraphcValueError, Location
from graphc.ir.graph import Graph, Module
from graphc.ir.types import TensorType
from graphc.kernel.loopir import Intrinsic
from graphc.kernel.program import Call, Loop, Program, Step
from graphc.kernel.target import Target

if TYPE_CHECKING:
    from graphc.artifact.profile import Profiler

LONGEST_NAME = 100

# What a compiled model, an artifact's module and its C header have under a name of their own.
_PYTHON_NAMES = {name for name in dir(Model) if not name.startswith("_")}
_PYTHON_NAMES |= {"Model", "artifact", "default", "module", "parameters", "save", "source", "spec"}
_C_NAMES = {"ARENA_BYTES", "MEMORY_BYTES", "STATES", "WEIGHTS_OFFSET", "WEIGHT_BYTES", "close", "model", "open"}
_C_NAMES |= {"ENTRY", "end_threads", "parallel"}
_RESERVED = _PYTHON_NAMES | _C_NAMES

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class Parallel:
    """How native code runs an entry point on several threads.

    Attributes:
        symbol: exported name of the function of (threads, number of the entry point, its five pointers).
        end: exported name of the function that ends the threads.
        function: the first one, loaded, callable through ctypes.
    """

    symbol: str
    end: str
    function: Callable[..., Any]


@dataclass(frozen=True)
class NativeBuild:
    """Native code of a program, and what it needs to run.

    Attributes:
        exports: entry point → the exported name of its function.
        arena_bytes: workspace of a call.
        target: the processors it runs on.
        functions: entry point → the loaded function, callable through ctypes with five pointers.
        link: (soname, exports) → the bytes of a shared object.
        source: the code for people: LLVM IR.
        owner: whatever must stay alive while the functions are used.
        backend: who made it.
        record: what its backend makes it again from, for the compile cache.
        parallel: how it runs on several threads; None where no entry point has the work for them.
    """

    exports: Mapping[str, str]
    arena_bytes: int
    target: Target
    functions: Mapping[str, Callable[..., Any]]
    link: Callable[[str, Sequence[str]], bytes]
    source: str = ""
    owner: object = field(default=None, repr=False)
    backend: str = "llvm"
    record: Callable[[], bytes] | None = field(default=None, repr=False)
    parallel: Parallel | None = None

    def number(self, entry: str) -> int:
        """The number of an entry point, as the code counts them."""
        return list(self.exports).index(entry)

    @property
    def symbols(self) -> tuple[str, ...]:
        """All exported names."""
        more = () if self.parallel is None else (self.parallel.symbol, self.parallel.end)
        return (*self.exports.values(), *more)


@dataclass(frozen=True)
class SourceBuild:
    """A module of Python source that imports numpy only; its ``ENTRY_POINTS`` has the function of each entry point.

    Attributes:
        source: the text.
        backend: who made it.
    """

    source: str
    backend: str = "numpy"


Build = NativeBuild | SourceBuild

Stage = Callable[[str], AbstractContextManager[None]]
"""What a backend names its stages with, for timings: ``with stage("lower"): ...``."""


@dataclass(frozen=True)
class Built:
    """What a backend gives the driver: code, and the program it was made from where there is one."""

    build: Build
    program: Program | None = None


@dataclass(frozen=True)
class Backend:
    """A backend as the driver's registry names it.

    Attributes:
        build: scheduled module → code.
        leave_out: passes that do this backend no good, by name.
        identity: options → all that decides its code besides them and the model, or None where it is not to be cached:
            versions, the processor.  It raises what ``build`` would raise of an option.
        restore: a build's ``record`` → the build; ValueError where the bytes are none.
        takes_sizes: whether its code takes a size that each call says.
        profiler: what times kernels (:class:`graphc.artifact.profile.Profiler`), where there are any.
    """

    build: Callable[[Module, Options, Stage], Built]
    leave_out: tuple[str, ...] = ()
    identity: Callable[[Options], str] | None = None
    restore: Callable[[bytes, Stage], NativeBuild] | None = None
    profiler: Callable[[], Profiler] | None = None
    takes_sizes: bool = False


@dataclass(frozen=True)
class Interface:
    """A module as the user calls it.

    Attributes:
        module: with the dimensions open whose size each call says.
        sizes: name → largest size of those dimensions.
        rows: which of them has an entry point in the code for each of several sizes.
        rungs: entry point over the rows → those sizes.
    """

    module: Module
    sizes: Mapping[str, int] = field(default_factory=dict)
    rows: str | None = None
    rungs: Mapping[str, tuple[Rung, ...]] = field(default_factory=dict)


Checks = Mapping[str, tuple[str, ...]]
"""Entry point → for each of its index checks, in the order of its steps, what is indexed and where."""


def describe_checks(program: Program | None) -> Checks:
    """The checks of native code made from ``program``; other code has none."""
    if program is None:
        return {}
    return {name: tuple(_described_checks(program, name)) for name in program.entries}


def model_spec(interface: Interface, checks: Checks | None = None) -> Spec:
    """What the runtime needs to know of a model.

    Args:
        interface: the model as it is called; the module's order of states is the code's.
        checks: of native code, see :func:`describe_checks`.

    Raises:
        GraphcValueError: an entry point's name cannot be a method's (E108), or a shape is symbolic (E340).
    """
    entries, module, checks = [], interface.module, checks or {}
    left = frozenset(interface.sizes)
    for name, graph in module.entries.items():
        check_entry_name(name)
        entries.append(
            EntrySpec(
                name,
                tuple(_tensor(input_name, type_, left) for input_name, type_ in module.input_types(name).items()),
                tuple(_tensor(output_name, node.tensor, left) for output_name, node in graph.outputs),
                _updated(graph),
                checks.get(name, ()),
                tuple(replace(rung, checks=checks.get(rung.code, ())) for rung in interface.rungs.get(name, ())),
            )
        )
    states = tuple(_tensor(name, state.type) for name, state in module.states.items())
    return Spec(module.name, tuple(entries), states, tuple(interface.sizes.items()), interface.rows)


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a package, a C identifier and a file at once.

    Raises:
        GraphcValueError: E108.
    """
    rule = (
        f"a name is a Python identifier of ASCII letters, digits and _, no keyword, at most {LONGEST_NAME} characters"
    )
    if not _IDENTIFIER.match(name) or keyword.iskeyword(name) or len(name) > LONGEST_NAME:
        raise GraphcValueError("E108", f"an artifact cannot be called {name[:LONGEST_NAME]!r}", hint=rule)


def check_entry_name(name: str) -> None:
    """Refuse what cannot be the name of a method and of a C function.

    Raises:
        GraphcValueError: E108.
    """
    check_name(name)
    if name in _RESERVED or name.startswith("_"):
        raise GraphcValueError(
            "E108",
            f"an entry point cannot be called {name!r}",
            hint="a compiled model uses that name for something else",
        )


def _tensor(name: str, type_: TensorType, left: Collection[str] = ()) -> TensorSpec:
    if any(str(dim) in left for dim in type_.shape):
        return TensorSpec(name, type_.dtype.name, tuple(str(dim) if str(dim) in left else dim for dim in type_.shape))
    return TensorSpec(name, type_.dtype.name, type_.static_shape)


def _updated(graph: Graph) -> tuple[str, ...]:
    return tuple(variable.attrs["state"].name for variable, _ in graph.updates)


def _described_checks(program: Program, name: str) -> Iterator[str]:
    pending: list[Step] = list(reversed(program.entries[name].steps))
    while pending:
        step = pending.pop()
        if isinstance(step, Loop):
            pending.extend(reversed(step.body))
        elif isinstance(step, Call):
            kernel = program.kernels[step.kernel]
            if isinstance(kernel, Intrinsic) and kernel.intrinsic == "check_index":
                yield _described(step.note or "an index", step.location)


def _described(note: str, location: Location | None) -> str:
    """The folder of the user's file is left out: the same model compiled elsewhere gives the same bytes."""
    if location is None:
        return note
    return f"{note} ({posixpath.basename(location.file.replace(chr(92), '/'))}:{location.line})"
