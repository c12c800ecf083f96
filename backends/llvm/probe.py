"""Small functions of our own to measure the machine with, loaded into this process."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.llvm.compile import Loaded, Native, load_in_process, object_code
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.values import I32, I64, PTR, Value, symbol
from graphc.kernel.target import Target

_ATTRIBUTES = "#0"


def probe(name: str) -> Function:
    """A function ``i32 name(ptr, i64, i64, ptr, ptr)``, which in machine code is what an entry point is."""
    parameters = [(PTR, ""), (I64, ""), (I64, ""), (PTR, ""), (PTR, "")]
    return Function(symbol(f"graphc_probe_{name}"), parameters, result="i32", prefix="", attributes=_ATTRIBUTES)


def load_probes(helpers: Sequence[Function], probes: Sequence[Function], target: Target) -> Loaded:
    """The probes by name, with the functions that they call; they must not return yet."""
    for function in probes:
        function.ret(Value("0", I32))
    functions = [*helpers, *probes]
    declarations = dict.fromkeys(line for function in functions for line in function.declarations)
    features = f' "target-features"="{target.features}"' if target.features else ""
    ir = "\n".join(
        [
            f'target triple = "{target.triple}"',
            *declarations,
            *(function.render() for function in functions),
            f'attributes {_ATTRIBUTES} = {{ noinline nounwind "target-cpu"="{target.cpu}"{features} }}',
            "",
        ]
    )
    prefix = len("@graphc_probe_")
    exports = {function.name[prefix:]: function.name[1:] for function in probes}
    return load_in_process(Native(ir, object_code(ir, target), exports, 0, target))
