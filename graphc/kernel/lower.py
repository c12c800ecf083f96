"""From scheduled graphs to a :class:`Program`.

Values become *places* (:mod:`graphc.kernel.views`): views of buffers, or single numbers.  A node that computes
becomes one kernel (:mod:`graphc.kernel.lower_body`) whose result is written where its reader wants it
(:mod:`graphc.kernel.destinations`); a node that only moves elements becomes a view or a copy; a ``loop`` node becomes
a loop of calls (:mod:`graphc.kernel.lower_loop`); updates of state come last (:mod:`graphc.kernel.lower_entry`).
Equal kernels are one kernel.
"""

from __future__ import annotations

import graphc.ops
from graphc.config import debug_options
from graphc.ir.graph import Module
from graphc.kernel import lower_indexing, lower_loop, lower_movement
from graphc.kernel.emit import ProgramBuilder
from graphc.kernel.lower_entry import lower_entry
from graphc.kernel.program import Program
from graphc.kernel.verify import verify_program

# Importing these fills the table of graphc.kernel.region.
_RULE_MODULES = (graphc.ops, lower_indexing, lower_loop, lower_movement)


def lower_module(module: Module) -> Program:
    """The program of a module without composites, ``training`` and symbolic dimensions.

    It works with and without ``fused`` and ``loop`` nodes: a node outside a ``fused`` node is a kernel of its own.
    ``GRAPHC_DEBUG=verify`` checks the result.

    Raises:
        UnsupportedOp: a node that has no kernel.
        GraphcValueError: a symbolic dimension.
    """
    builder = ProgramBuilder()
    entries = {name: lower_entry(builder, module, graph) for name, graph in module.entries.items()}
    program = Program(module, tuple(builder.kernels), tuple(builder.constants), entries, _size_of(module))
    if debug_options().verify:
        verify_program(program)
    return program


def _size_of(module: Module) -> tuple[str, int] | None:
    """Name and largest value of the dimension whose size each call says, if there is one: its loops bear it."""
    pending = list(module.entries.values())
    while pending:
        for node in pending.pop().nodes:
            if node.op.name == "loop":
                if "size" in node.attrs:
                    return node.attrs["size"], node.attrs["trips"]
                pending.append(node.attrs["body"])
    return None
