"""Functions left to the C library, lane by lane: seldom hot, or only for arguments that are seldom met."""

from graphc.backends.llvm.math.emitter import FunctionEmitter, Value


def library_name(op: str, dtype: str) -> str:
    """Return the C function of an op: ``powf`` for float32, ``pow`` for float64."""
    return op + ("f" if dtype == "float32" else "")


def call(emit: FunctionEmitter, op: str, *arguments: Value) -> Value:
    """Call the library's function of an op on each lane."""
    return emit.library_lanes(library_name(op, emit.format.dtype), *arguments)
