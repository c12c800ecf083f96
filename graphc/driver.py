"""The whole pipeline, from a model to something that runs.

model ──bind──► module ──passes──► scheduled module ──backend──► code ──► CompiledModel

What was compiled before comes from the compile cache instead (:mod:`graphc.cache`).
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

from graphc import ops as _ops  # noqa: F401  (fills the op registry)
from graphc.artifact.compiled import CompiledModel, read_states, save_states
from graphc.artifact.loader import load
from graphc.artifact.profile import Profiled, Profiler
from graphc.artifact.runtime.threads import initial_count
from graphc.artifact.spec import Backend, Build, Checks, NativeBuild, check_name, describe_checks
from graphc.budget import fit, parse_bytes
from graphc.cache import Place, Record, machine_of, place_of
from graphc.clock import stage
from graphc.config import Options, debug_options
from graphc.debug import Recorder
from graphc.errors import GraphcImportError, GraphcTypeError, GraphcValueError, UnsupportedOp, nearest
from graphc.ir.bind import bind_dimensions
from graphc.ir.collector import collector_paused
from graphc.ir.graph import Graph, Module
from graphc.ir.verify import verify_module
from graphc.kernel.cost import Machine
from graphc.kernel.lower import lower_module
from graphc.kernel.program import Program
from graphc.passes.pipeline import Observer, run_pipeline
from graphc.sizes import bind_up_to

__all__ = [
    "CompiledModel",
    "backend_names",
    "compile",
    "load",
    "lower",
    "machine",
    "profile",
    "read_states",
    "save_states",
    "schedule",
    "to_module",
]

_BACKENDS: Mapping[str, str] = {
    "llvm": "graphc.backends.llvm.backend:BACKEND",
    "numpy": "graphc.backends.numpy.backend:BACKEND",
}
"""Backend → where its :class:`Backend` is.  Strings, so that a backend is imported when it is first asked for."""

_ENTRY_POINT_GROUP = "graphc.backends"
"""The entry-point group in which another package registers a backend."""


def backend_names() -> tuple[str, ...]:
    """Backends that ``compile`` knows: graphc's own, then those of installed packages."""
    return (*_BACKENDS, *sorted({point.name for point in entry_points(group=_ENTRY_POINT_GROUP)} - set(_BACKENDS)))


def compile(
    model: Any = None,
    backend: str = "llvm",
    *,
    inputs: Sequence[Any] | None = None,
    outputs: Any = None,
    name: str | None = None,
    dims: Mapping[str, int] | None = None,
    max_dims: Mapping[str, int | Sequence[int]] | None = None,
    cpu: str = "native",
    fast_math: bool = False,
    disable: Sequence[str] = (),
    seed: int = 0,
    threads: int | str | None = None,
    memory_budget: int | str | None = None,
    observer: Observer | None = None,
    states_of: CompiledModel | None = None,
) -> CompiledModel:
    """Compile a model, or the function from ``inputs`` to ``outputs``.

    Args:
        model: a :class:`graphc.Model`; left out where inputs and outputs are given.
        backend: ``"llvm"`` (native code) or ``"numpy"`` (readable source).
        inputs: tensors made by ``graphc.input``, in the order of the arguments.
        outputs: a tensor, or several in a list, tuple or dict; the entry point is called ``call``.
        name: of the model; an identifier.
        dims: values for symbolic dimensions.
        max_dims: the largest sizes of symbolic dimensions, such as ``{"time": 200, "batch": 64}``: compiled once, entry
            points then take any sizes from 1 up to them.  Rows go to code for the next larger of several numbers, which
            can be stated: ``{"batch": (1, 16, 64)}``.
        cpu: ``"native"``, or the level of x86-64 that the code may ask for: ``"x86-64"``, ``"avx2"``, ``"avx512"``.
        fast_math: let the compiler assume no NaN or infinity and re-associate.
        disable: passes to leave out, by name.
        seed: of the initial values of parameters.
        threads: native threads of a call, 0 or ``"auto"`` for one a processor; where it is left out, what the
            environment's ``GRAPHC_THREADS`` says, else 1.  The code is the same, and so is every result.
        memory_budget: bytes (or text such as ``"64MB"``) that the intermediate values of an entry point may take,
            packed weights apart; backward loops then compute forward steps again as far as that is needed.
        observer: told of every pass, which are then run even where the compile cache knows the result.
        states_of: a compiled model with the same states, which both then share; their calls must not overlap.

    Returns:
        An object whose methods are the entry points.

    Raises:
        GraphcError: of the kind the model or an option deserves.
    """
    recorder = Recorder(debug_options())
    with recorder.clock:
        with stage("import"):
            chosen = _backend(backend)
        left_out = (*disable, *chosen.leave_out)
        budget = parse_bytes(memory_budget)
        options = Options(backend, cpu, fast_math, left_out, dict(dims or {}), seed, budget)
        with stage("bind"):
            module = to_module(model, inputs=inputs, outputs=outputs, name=name)
            sized = None
            if max_dims:
                if not chosen.takes_sizes:
                    hint = "compile with backend='llvm', or give it a value: dims="
                    message = f"the backend {backend} compiles for fixed sizes: max_dims is not for it"
                    raise UnsupportedOp("E334", message, hint=hint)
                sized = bind_up_to(module, options.dims, max_dims)
            module = bind_dimensions(module, options.dims) if sized is None else sized.module
        with collector_paused():
            build, checks, scheduled = _built(module, options, chosen, observer, recorder)
        with stage("initial values"):
            compiled = CompiledModel(
                module if scheduled is None else scheduled,
                build,
                checks=checks,
                schedule=None if scheduled is not None else lambda: _run_passes(module, options),
                seed=seed,
                states_of=states_of,
                threads=threads,
                interface=None if sized is None else sized.interface,
            )
    compiled.compilation = recorder.finish()
    return compiled


def _built(
    module: Module, options: Options, backend: Backend, observer: Observer | None, recorder: Recorder
) -> tuple[Build, Checks, Module | None]:
    """The code of a bound module, its index checks, and the scheduled module, which is None where nobody needed it."""
    with stage("cache"):
        place = place_of(module, options, backend, recorder.debug)
        record = place.read() if isinstance(place, Place) else None
    if isinstance(place, Place) and record is not None:
        build = _restored(place, record, backend)
        if build is not None:
            recorder.cache = "hit"
            recorder.passes += record.passes
            scheduled = None if observer is None else _run_passes(module, options, observer=observer)
            return build, record.checks, scheduled
    scheduled = _run_passes(module, options, observer=observer, recorder=recorder)
    built = backend.build(scheduled, options, stage)
    recorder.emitted(built)
    checks = describe_checks(built.program)
    if not isinstance(place, Place):
        recorder.cache = f"off: {place}"
    elif isinstance(built.build, NativeBuild) and built.build.record is not None:
        with stage("cache"):
            recorder.cache = place.write(Record(tuple(recorder.passes), checks, built.build.record()))
    return built.build, checks, scheduled


def _restored(place: Place, record: Record, backend: Backend) -> Build | None:
    """The build in a record; None where the backend can make nothing of it."""
    assert backend.restore is not None
    try:
        return backend.restore(record.code, stage)
    except ValueError as fault:
        place.reject(fault)
        return None


def to_module(
    model: Any = None, *, inputs: Sequence[Any] | None = None, outputs: Any = None, name: str | None = None
) -> Module:
    """The module of a model, or of a function given by its inputs and outputs."""
    if model is None:
        if inputs is None or outputs is None:
            raise GraphcTypeError("E448", "compile needs a model, or inputs=[...] and outputs=[...]")
        module = _function_module(inputs, outputs)
    elif inputs is not None or outputs is not None:
        raise GraphcTypeError("E448", "compile takes a model, or inputs and outputs, not both")
    else:
        module = getattr(model, "module", model)
    if not isinstance(module, Module):
        raise GraphcTypeError(
            "E105",
            f"expected a graphc.Model, got {type(model).__name__}",
            hint="wrap the outputs: graphc.Model(predict=y)",
        )
    chosen = name if name is not None else module.name
    if name is not None:
        check_name(name)
    elif not chosen.isidentifier() or keyword.iskeyword(chosen):
        chosen = "model"
    return Module(chosen, module.entries, module.declared)


def _function_module(inputs: Sequence[Any], outputs: Any) -> Module:
    """A module with one entry point ``call``; tensors of the frontend are known by their ``node`` and ``builder``."""
    if isinstance(outputs, Mapping):
        named = [(str(key), value) for key, value in outputs.items()]
    elif isinstance(outputs, (list, tuple)):
        named = [(f"output_{index}", value) for index, value in enumerate(outputs)]
    else:
        named = [("output", outputs)]
    for tensor in (*inputs, *(value for _, value in named)):
        if not hasattr(tensor, "node"):
            raise GraphcTypeError("E448", f"expected a tensor, got {type(tensor).__name__}")
    for tensor in inputs:
        if tensor.node.op.name != "input":
            raise GraphcTypeError(
                "E448", f"inputs must be made by graphc.input, got the result of {tensor.node.op.name}"
            )
    graph = Graph.make(
        "call", [t.node for t in inputs], [(key, t.node) for key, t in named], builder=named[0][1].builder
    )
    missing = [n.attrs["name"] for n in graph.nodes if n.op.name == "input" and n not in graph.inputs]
    if missing:
        raise GraphcValueError("E448", f"the outputs also need the input {missing[0]!r}", hint="add it to inputs=[...]")
    return Module("model", {"call": graph})


def schedule(
    module: Module,
    options: Options | None = None,
    *,
    until: str | None = None,
    observer: Observer | None = None,
) -> Module:
    """Bind the dimensions and run the passes on every entry point."""
    options = options or Options()
    return _run_passes(bind_dimensions(module, options.dims), options, until=until, observer=observer)


def _run_passes(
    module: Module,
    options: Options,
    *,
    until: str | None = None,
    observer: Observer | None = None,
    recorder: Recorder | None = None,
) -> Module:
    """Run the passes on every entry point of a bound module."""
    recorder = recorder or Recorder(debug_options())
    if recorder.debug.verify:
        verify_module(module)
    entries = {}
    for name, graph in module.entries.items():
        recorder.begin(name, graph)
        run = partial(
            run_pipeline,
            graph,
            until=until,
            observer=recorder.watching(observer),
            check=recorder.debug.verify,
        )

        def run_within(segment: int, leaves: bool, run: Callable[..., Graph] = run) -> Graph:
            return run(segment=segment, disable=options.disable if leaves else (*options.disable, "hoist", "sink"))

        with stage("passes"):
            if options.memory_budget is None or until is not None:
                entries[name] = run(disable=options.disable)
            else:
                entries[name] = fit(module, name, options.memory_budget, run_within)
    return Module(module.name, entries, tuple(module.states.values()))


def profile(
    module: Module, entry: str, options: Options | None = None, *, threads: int | str | None = None
) -> tuple[CompiledModel, Profiled]:
    """One entry point of a module, compiled so that it times what it calls.

    Args:
        module: the module.
        entry: the entry point.
        options: how to compile it.
        threads: as for :func:`compile`; what the first one does is counted.

    Returns:
        A model, and what its calls are counted with.

    Raises:
        UnsupportedOp: the backend cannot do that (E333).
    """
    options = options or Options()
    module = bind_dimensions(module, options.dims)
    alone = Module(module.name, {entry: module.entry(entry)}, tuple(module.states.values()))
    count = initial_count(threads, 1)
    made = _profiler(options.backend).build(_run_passes(alone, options), options, stage, threads=count > 1)
    return CompiledModel(alone, made.build, program=made.program, seed=options.seed, threads=count), made


def machine(backend: str = "llvm", *, again: bool = False) -> Machine:
    """What one core of this machine can do at most, measured once and kept in the compile cache.

    Raises:
        UnsupportedOp: the backend cannot measure it (E333).
    """
    return machine_of(_profiler(backend), again=again)


def _profiler(backend: str) -> Profiler:
    make = _backend(backend).profiler
    if make is None:
        raise UnsupportedOp("E333", f"the backend {backend} does not time kernels", hint="profile with --backend llvm")
    return make()


def lower(module: Module, options: Options | None = None) -> Program:
    """The program that native backends compile: kernels, calls, loops and the arena."""
    return lower_module(schedule(module, options))


def _backend(name: str) -> Backend:
    where = _BACKENDS.get(name)
    if where is None:
        for point in entry_points(group=_ENTRY_POINT_GROUP):
            if point.name == name:
                return cast(Backend, point.load())
        close = nearest(name, backend_names())
        hint = f"did you mean {close}?" if close else f"one of {', '.join(backend_names())}"
        raise GraphcValueError("E106", f"unknown backend {name!r}", hint=hint)
    module, _, function = where.partition(":")
    try:
        return cast(Backend, getattr(import_module(module), function))
    except ImportError as error:
        raise GraphcImportError("E106", f"the backend {name!r} cannot be loaded: {error}") from error
