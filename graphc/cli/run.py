"""``graphc run``: call an entry point of a model or of an artifact."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from graphc.cli.common import (
    Console,
    ExitCode,
    Parser,
    add_common,
    add_settings,
    add_target,
    assignment,
    check_output_file,
    table,
)
from graphc.errors import GraphcKeyError, GraphcValueError, nearest

if TYPE_CHECKING:
    from graphc.artifact.runtime.spec import EntrySpec, TensorSpec
    from graphc.cli.arrays import Array

_SHOWN_ELEMENTS = 12
_JSON_ELEMENTS = 1000


def configure(parser: Parser) -> None:
    """Add the options of ``graphc run``."""
    parser.add_argument(
        "model", metavar="MODEL|ARTIFACT", help="file.py[:name], which is run, or the folder of an artifact"
    )
    parser.add_argument(
        "entry", metavar="ENTRY", nargs="?", help="the entry point; by default predict, or the only one"
    )
    parser.add_argument(
        "--input",
        metavar="NAME=FILE.npy",
        dest="inputs",
        action="append",
        default=[],
        type=assignment,
        help="an input; once for each",
    )
    parser.add_argument("-o", "--output", metavar="OUT.npz", help="write the outputs there, under their names")
    parser.add_argument("--force", action="store_true", help="replace the output file if it is there")
    add_target(parser)
    add_settings(parser)
    add_common(parser, figures=True)
    parser.example(
        "graphc run digits.py predict --input x=digits.npy -o scores.npz", "graphc run ./digits --input x=digits.npy"
    )


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Call once, and show or write the outputs."""
    if arguments.output is not None:
        check_output_file(arguments.output, force=arguments.force)
    from graphc.cli.arrays import read_array, write_arrays
    from graphc.cli.subject import choose_entry, open_subject

    subject = open_subject(arguments)
    # What is wrong with the call is found before the model is compiled, which takes longer.
    entry = choose_entry(subject.spec, arguments.entry)
    inputs = _inputs(entry, arguments.inputs)
    arrays = {name: read_array(path) for name, path in inputs.items()}
    model = subject.make()
    start = time.perf_counter()
    made = getattr(model, entry.name)(**arrays)
    spent = time.perf_counter() - start
    outputs: dict[str, Array] = made if isinstance(made, dict) else {spec.name: made for spec in entry.outputs}
    if arguments.output is not None:
        write_arrays(arguments.output, outputs)
        console.say(f"{arguments.output}: {', '.join(str(spec.name) for spec in entry.outputs)}")
    else:
        rows = [(spec.name, str(spec), _shown(outputs[spec.name], spec)) for spec in entry.outputs]
        console.say(table(rows, header=("output", "type", "values")))
    console.figures(
        {
            "entry": entry.name,
            "seconds": spent,
            "outputs": {spec.name: _figures(outputs[spec.name], spec) for spec in entry.outputs},
        }
    )
    return ExitCode.DONE


def _inputs(entry: EntrySpec, given: list[tuple[str, str]]) -> dict[str, str]:
    """Input → file, checked before any file is read."""
    files: dict[str, str] = {}
    names = [spec.name for spec in entry.inputs]
    for name, path in given:
        if name not in names:
            close = nearest(name, names)
            hint = f"did you mean {close}?" if close else entry.signature
            raise GraphcKeyError("E448", f"{entry.name} has no input {name!r}", hint=hint)
        if name in files:
            raise GraphcValueError("E106", f"--input {name} is given twice")
        files[name] = path
    missing = [name for name in names if name not in files]
    if missing:
        raise GraphcValueError(
            "E448", f"{entry.name} also needs {missing[0]!r}", hint=f"pass --input {missing[0]}=FILE.npy"
        )
    return files


def _values(array: Array, spec: TensorSpec) -> Array:
    """The numbers of an output; bfloat16 crosses the boundary as its bits."""
    import numpy as np

    return (array.astype(np.uint32) << np.uint32(16)).view(np.float32) if spec.dtype == "bfloat16" else array


def _shown(array: Array, spec: TensorSpec) -> str:
    values = _values(array, spec)
    if values.size <= _SHOWN_ELEMENTS:
        return " ".join(str(values.tolist()).split())
    return f"min {values.min():.6g}, max {values.max():.6g}, mean {values.astype('float64').mean():.6g}"


def _figures(array: Array, spec: TensorSpec) -> dict[str, Any]:
    values = _values(array, spec)
    figures: dict[str, Any] = {"dtype": spec.dtype, "shape": list(array.shape)}
    if values.size:
        figures |= {
            "min": values.min().item(),
            "max": values.max().item(),
            "mean": float(values.astype("float64").mean()),
        }
    if values.size <= _JSON_ELEMENTS:
        figures["values"] = values.tolist()
    return figures
