"""``NAME.h``: the entry points of a shared object for programs in C and C++."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from graphc.artifact.runtime.spec import EntrySpec, Spec, TensorSpec
from graphc.artifact.runtime.weights import layout
from graphc.artifact.spec import NativeBuild

_C_TYPES = {
    "bool": "uint8_t",
    "int8": "int8_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "uint8": "uint8_t",
    "float16": "uint16_t",
    "bfloat16": "uint16_t",
    "float32": "float",
    "float64": "double",
}

_HELPERS = """\
/* Memory of one model: its states, in the code's order, and a workspace.  Calls that only read may share the states,
 * each with an arena of its own; a call that updates states must run alone. */
typedef struct @_model {
    void *states[@_STATES + 1];
    void *arena;
    void *memory; /* what was allocated */
} @_model;

/* Allocates the memory of a model, all states zero.  Returns 0, or -1 where there is none. */
static inline int @_open(@_model *model)
{
    static const size_t offsets[@_STATES + 1] = {@STATE_OFFSETS@};
    size_t i;
    char *start;
    model->memory = calloc(1, (size_t)@_MEMORY_BYTES + (size_t)@_ARENA_BYTES + 2 * 64);
    if (model->memory == NULL)
        return -1;
    start = (char *)model->memory + (64 - (uintptr_t)model->memory % 64);
    for (i = 0; i <= @_STATES; i++)
        model->states[i] = start + offsets[i];
    model->arena = start + @_MEMORY_BYTES;
    return 0;
}

/* Frees the memory of a model. */
static inline void @_close(@_model *model)
{
    free(model->memory);
    model->memory = NULL;
}

/* Reads all states from weights.safetensors, or from a file that save_weights wrote.  Returns 0, or -1 where the file
 * cannot be read or is not one of this model. */
static inline int @_load_weights(@_model *model, FILE *file)
{
    static const size_t sizes[@_STATES + 1] = {@STATE_SIZES@};
    static const size_t offsets[@_STATES + 1] = {@WEIGHT_OFFSETS@};
    unsigned char length[8];
    uint64_t header = 0;
    long start;
    size_t i;
    if (fseek(file, 0, SEEK_SET) != 0 || fread(length, 1, 8, file) != 8)
        return -1;
    for (i = 8; i-- > 0;)
        header = header << 8 | length[i];
    if (header > 100000000)
        return -1;
    start = 8 + (long)header;
    if (fseek(file, 0, SEEK_END) != 0 || ftell(file) - start != @_WEIGHT_BYTES)
        return -1;
    for (i = 0; i < @_STATES; i++)
        if (fseek(file, start + (long)offsets[i], SEEK_SET) != 0 ||
            fread(model->states[i], 1, sizes[i], file) != sizes[i])
            return -1;
    return 0;
}
"""


_STEPS = """\
 * Its tensors over @SHOWN@ have that dimension first, whatever its place in the type, and as many of it as the call
 * says. */
"""

_ROWS = """\
 * Its tensors over @SHOWN@ have ROOM_@PLAIN@ of it, which gives the number for which there is code; what lies behind
 * the first ones in an input does not matter, and in an output it means nothing. */
"""

_PARALLEL = """\
/* Runs the entry point whose number is `entry` on as many as `threads` threads, the caller's among them; the others are
 * made at the first call, and sleep between calls.  The result does not depend on how many there are: where the entry
 * point has too little work for several, while another call has them, or where there are none to be had, it runs on the
 * caller's alone.  Returns what the entry point returns, or -1 for a number that none has. */
"""

_ALONE = """\
static inline int32_t @_parallel(int32_t threads, int32_t entry, const void *const *inputs, void *const *outputs,
                                 void *const *states, void *arena, int64_t *error)
{
    (void)threads; /* no entry point has work enough for several */
    switch (entry) {
@CASES@
    default: return -1;
    }
}
static inline void @_end_threads(void) {}
"""


def c_header(spec: Spec, build: NativeBuild, version: str, weights_data_offset: int) -> str:
    """The text of the header.

    Args:
        spec: the model, under the artifact's name.
        build: its code.
        version: of graphc.
        weights_data_offset: where the tensors begin in the artifact's ``weights.safetensors``.
    """
    name = spec.name
    lines = [
        f"/* {name}: a model compiled by graphc {version}.  For C99 and C++11.",
        " *",
        *(f" * {_comment(entry.signature)}" for entry in spec.entries),
        " *",
        " * Tensors are row-major and contiguous; float16 and bfloat16 are raw bits, bool is a byte that is 0 or 1. */",
        f"#ifndef GRAPHC_{name}_H",
        f"#define GRAPHC_{name}_H",
        "",
        *(f"#include <{header}>" for header in ("stddef.h", "stdint.h", "stdio.h", "stdlib.h")),
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* Workspace of a call, and the states together with each aligned to 64. */",
        f"#define {name}_ARENA_BYTES {build.arena_bytes}",
        f"#define {name}_STATES {len(spec.states)}",
        f"#define {name}_MEMORY_BYTES {_memory_offsets(spec.states)[-1]}",
        "/* weights.safetensors: where its tensors begin, and their bytes together. */",
        f"#define {name}_WEIGHTS_OFFSET {weights_data_offset}",
        f"#define {name}_WEIGHT_BYTES {sum(state.nbytes for state in spec.states)}",
        "",
        *_states(spec),
        "/* Entry points: inputs, outputs and states are arrays of pointers in the orders stated here; arena has",
        " * ARENA_BYTES bytes, aligned to 64.  Returns 0, or 1 where an index in the data is out of range: error[0..3]",
        " * are then the number of the check, the position, the index and the limit, and no state has changed. */",
        *_sizes(spec),
        *(line for entry in spec.entries for line in _entry(spec, entry, build)),
        *_parallel(spec, build),
        _helpers(spec),
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def identifiers(names: Iterable[str]) -> list[str]:
    """Names from outside as distinct parts of C identifiers."""
    used: set[str] = set()
    result = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        candidate, number = plain, 2
        while candidate in used:
            candidate, number = f"{plain}_{number}", number + 1
        used.add(candidate)
        result.append(candidate)
    return result


def _states(spec: Spec) -> list[str]:
    """An index for each state, and where its bytes lie among the weights."""
    if not spec.states:
        return []
    lines = ["/* States: their positions in the array of states, and their byte offsets behind WEIGHTS_OFFSET. */"]
    offsets = _weight_offsets(spec.states)
    for index, (state, plain) in enumerate(zip(spec.states, identifiers(s.name for s in spec.states), strict=True)):
        lines.append(f"#define {spec.name}_STATE_{plain} {index} /* {_comment(repr(state.name))}: {state} */")
        lines.append(f"#define {spec.name}_OFFSET_{plain} {offsets[index]}")
    return [*lines, ""]


def _entry(spec: Spec, entry: EntrySpec, build: NativeBuild) -> list[str]:
    wanted = f"{spec.name}_{entry.name}"
    lines = [f"/* {_comment(entry.signature)} */"]
    if entry.rungs:
        lines += [line for rung in entry.rungs for line in _declaration(build.exports[rung.code])]
    else:
        symbol = build.exports[entry.name]
        lines += _declaration(symbol)
        if symbol != wanted:
            lines.append(f"#define {wanted} {symbol}")
        lines.append(f"#define {spec.name}_ENTRY_{entry.name} {build.number(entry.name)}")
    for kind, tensors in (("INPUT", entry.inputs), ("OUTPUT", entry.outputs)):
        lines.append(f"#define {wanted}_{kind}S {len(tensors)}")
        for index, (tensor, plain) in enumerate(zip(tensors, identifiers(t.name for t in tensors), strict=True)):
            size = tensor.nbytes // tensor.storage.itemsize
            over = [_comment(extent) for extent in tensor.shape if isinstance(extent, str)]
            share = f" for one {' and one '.join(over)}" if over else ""
            lines.append(f"#define {wanted}_{kind}_{plain} {index} /* {_comment(repr(tensor.name))}: {tensor} */")
            element = _C_TYPES[tensor.dtype]
            lines.append(f"#define {wanted}_SIZE_OF_{kind}_{plain} {size} /* elements of type {element}{share} */")
    for place, (plain, name) in enumerate(_sizes_of(spec, entry)):
        lines.append(f"#define {wanted}_SIZE_{plain} {len(entry.inputs) + place} /* how many {_comment(name)} */")
    return [*lines, *(_dispatch(spec, entry, build) if entry.rungs else ()), ""]


def _declaration(symbol: str) -> list[str]:
    start = f"int32_t {symbol}("
    return [
        f"{start}const void *const *inputs, void *const *outputs, void *const *states, void *arena,",
        f"{' ' * len(start)}int64_t *error);",
    ]


def _sizes_of(spec: Spec, entry: EntrySpec) -> list[tuple[str, str]]:
    """The sizes that a call says, as parts of C identifiers and as the user calls them, in the code's order."""
    names = [name for name, _ in spec.sizes]
    listed = zip(identifiers(names), names, strict=True)
    return sorted((pair for pair in listed if pair[1] in entry.open_dims), key=lambda pair: pair[1] != spec.rows)


def _dispatch(spec: Spec, entry: EntrySpec, build: NativeBuild) -> list[str]:
    """An entry point over rows: its number and its call, by how many rows there are."""
    wanted, plain = f"{spec.name}_{entry.name}", _sizes_of(spec, entry)[0][0]
    room = f"switch ({spec.name}_ROOM_{plain}"
    start = f"static inline int32_t {wanted}("
    return [
        f"static inline int32_t {spec.name}_ENTRY_{entry.name}(int64_t {plain})",
        "{",
        f"    {room}({plain})) {{",
        *(f"    case {rung.rows}: return {build.number(rung.code)};" for rung in entry.rungs),
        "    default: return -1;",
        "    }",
        "}",
        f"{start}const void *const *inputs, void *const *outputs, void *const *states,",
        f"{' ' * len(start)}void *arena, int64_t *error)",
        "{",
        f"    const int64_t count = *(const int64_t *)inputs[{wanted}_SIZE_{plain}];",
        f"    {room}(count)) {{",
        *(
            f"    case {rung.rows}: return {build.exports[rung.code]}(inputs, outputs, states, arena, error);"
            for rung in entry.rungs
        ),
        "    default:",
        "        error[0] = -1;",
        "        error[1] = 1;",
        "        error[2] = count;",
        f"        error[3] = {spec.name}_MAX_{plain};",
        "        return 1;",
        "    }",
        "}",
    ]


def _sizes(spec: Spec) -> list[str]:
    """How a call says the sizes that it has."""
    lines = []
    for plain, (name, largest) in zip(identifiers(name for name, _ in spec.sizes), spec.sizes, strict=True):
        shown, is_rows = _comment(name), name == spec.rows
        lines += [
            f"/* An entry point in whose types {shown} stands takes any from 1 to the largest.  Behind the pointers to",
            f" * its inputs there is one, at ENTRY_SIZE_{plain}, to an int64_t that says how many there are.  Where",
            f" * that is out of range, it does nothing but return 1, with error[0] = -1, error[1] = {int(is_rows)},",
            " * error[2] the number and error[3] the largest.",
            *(_ROWS if is_rows else _STEPS).replace("@SHOWN@", shown).replace("@PLAIN@", plain).splitlines(),
            f"#define {spec.name}_MAX_{plain} {largest}",
        ]
        if is_rows:
            rungs = next(entry.rungs for entry in spec.entries if entry.rungs)
            lines += [
                f"static inline int64_t {spec.name}_ROOM_{plain}(int64_t {plain})",
                "{",
                f"    if ({plain} < 1)",
                "        return 0;",
                *(f"    if ({plain} <= {rung.rows})\n        return {rung.rows};" for rung in rungs),
                "    return 0;",
                "}",
            ]
    return lines


def _parallel(spec: Spec, build: NativeBuild) -> list[str]:
    """How to run an entry point on several threads."""
    if build.parallel is None:
        cases = [
            f"    case {build.number(name)}: return {symbol}(inputs, outputs, states, arena, error);"
            for name, symbol in build.exports.items()
        ]
        return [_PARALLEL + _ALONE.replace("@CASES@", "\n".join(cases)).replace("@_", f"{spec.name}_")]
    start = f"int32_t {build.parallel.symbol}("
    lines = [
        _PARALLEL + f"{start}int32_t threads, int32_t entry, const void *const *inputs, void *const *outputs,",
        f"{' ' * len(start)}void *const *states, void *arena, int64_t *error);",
        "/* Ends the threads that sleep between calls, as must be done before the library is unloaded. */",
        f"void {build.parallel.end}(void);",
    ]
    for name, symbol in (("parallel", build.parallel.symbol), ("end_threads", build.parallel.end)):
        if symbol != f"{spec.name}_{name}":
            lines.append(f"#define {spec.name}_{name} {symbol}")
    return [*lines, ""]


def _helpers(spec: Spec) -> str:
    tables = {
        "@STATE_OFFSETS@": _memory_offsets(spec.states),
        "@STATE_SIZES@": [*(state.nbytes for state in spec.states), 0],
        "@WEIGHT_OFFSETS@": [*_weight_offsets(spec.states), 0],
    }
    text = _HELPERS
    for mark, numbers in tables.items():
        text = text.replace(mark, ", ".join(map(str, numbers)))
    return text.replace("@_", f"{spec.name}_")


def _memory_offsets(states: Sequence[TensorSpec]) -> list[int]:
    """Where each state begins in a model's memory, aligned to 64, and behind them the end."""
    offsets = [0]
    for state in states:
        offsets.append(offsets[-1] + -(-state.nbytes // 64) * 64)
    return offsets


def _weight_offsets(states: Sequence[TensorSpec]) -> list[int]:
    """Where each state's bytes begin behind the header of a weights file."""
    offsets, position = {}, 0
    for state in layout(states):
        offsets[state.name] = position
        position += state.nbytes
    return [offsets[state.name] for state in states]


def _comment(text: str) -> str:
    """Text that cannot end a comment, in ASCII."""
    return text.encode("ascii", "backslashreplace").decode("ascii").replace("*/", "* /").replace("/*", "/ *")
