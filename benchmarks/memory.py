"""How much memory a process takes that trains: ``python -m benchmarks.memory``.

``artifact`` is a process that imports NumPy and the artifact that another one has saved; ``graphc`` one that compiles
the model itself; ``torch`` imports torch.  All have the same inputs, train for a few steps, and say their largest
resident size: once libraries and inputs are loaded, and in all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.processes import environment
from benchmarks.spec import TRAIN, Workload
from benchmarks.workloads import cases

WORKLOADS = ("mlp-b64", "cnn-b32", "lstm-t64-b32-h256", "library-lstm-t1500")
STEPS = 5
_NAME = "graphc_memory"


@dataclass(frozen=True)
class Size:
    """Largest resident size of a process, in bytes.

    Attributes:
        imported: once its libraries and its data were loaded.
        peak: at the end.
    """

    imported: int
    peak: int


def compare(workload: str, tiny: bool = False) -> dict[str, Size]:
    """Peer → size of its process."""
    with TemporaryDirectory() as folder:
        _run("save", workload, folder, tiny)
        return {peer: Size(**json.loads(_run(peer, workload, folder, tiny))) for peer in TRAINERS}


def _run(role: str, workload: str, folder: str, tiny: bool) -> str:
    command = [sys.executable, "-P", "-m", "benchmarks.memory", "--role", role, "--folder", folder, workload]
    command += ["--tiny"] * tiny
    return subprocess.run(command, env=environment(1), check=True, capture_output=True, text=True).stdout


# -- the processes -----------------------------------------------------------------------------------------------------


def _save(workload: str, folder: Path, tiny: bool) -> None:
    """Compile the workload, save its artifact and its arguments."""
    import numpy as np

    import graphc as G
    from benchmarks.peers.graphc import GraphcKit, build

    model, arguments = build(GraphcKit(), cases()[workload].workload(tiny), TRAIN)
    G.compile(model, threads=1).save(folder / _NAME)
    np.savez(folder / "arguments.npz", *arguments)


def _train_artifact(workload: str, folder: Path, tiny: bool) -> Size:
    import importlib

    import numpy as np

    with np.load(folder / "arguments.npz") as file:
        arguments = [file[name] for name in file.files]
    sys.path.insert(0, str(folder))
    artifact = importlib.import_module(_NAME)
    return _trained(lambda: lambda: artifact.train(*arguments))


def _compile_and_train(workload: str, folder: Path, tiny: bool) -> Size:
    import graphc as G
    from benchmarks.peers.graphc import GraphcKit, build

    case = _with_data(workload, tiny)

    def prepare() -> Callable[[], object]:
        model, arguments = build(GraphcKit(), case, TRAIN)
        compiled = G.compile(model, threads=1)
        return lambda: compiled.train(*arguments)

    return _trained(prepare)


def _train_torch(workload: str, folder: Path, tiny: bool) -> Size:
    from benchmarks.peers.torch_eager import TorchPeer

    case = _with_data(workload, tiny)
    return _trained(lambda: TorchPeer(1).prepare(case, TRAIN).call)


def _with_data(workload: str, tiny: bool) -> Workload:
    """The workload, whose inputs have been drawn."""
    case = cases()[workload].workload(tiny)
    case.input_values()
    case.target_values()
    return case


def _trained(prepare: Callable[[], Callable[[], object]]) -> Size:
    imported = _largest_size()
    call = prepare()
    for _ in range(STEPS):
        call()
    return Size(imported, _largest_size())


def _largest_size() -> int:
    """Of this process, in bytes (``getrusage`` would count what the parent had at the fork)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


TRAINERS = {"artifact": _train_artifact, "graphc": _compile_and_train, "torch": _train_torch}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=WORKLOADS, choices=[*cases(), WORKLOADS], metavar="NAME")
    parser.add_argument("--tiny", action="store_true", help="workloads of a size for tests")
    parser.add_argument("--role", choices=["save", *TRAINERS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.role:
        (workload,) = options.workloads
        if options.role == "save":
            _save(workload, options.folder, options.tiny)
        else:
            print(json.dumps(vars(TRAINERS[options.role](workload, options.folder, options.tiny))))
        return
    titles = " ".join(f"{name:>8}" for name in TRAINERS)
    print(f"{'MB, training':24} {titles} | beyond imports and data: {titles}")
    for workload in options.workloads:
        sizes = compare(workload, options.tiny).values()
        peaks = " ".join(f"{size.peak / 1e6:8.1f}" for size in sizes)
        grown = " ".join(f"{(size.peak - size.imported) / 1e6:8.1f}" for size in sizes)
        print(f"{workload:24} {peaks} | {'':24} {grown}")


if __name__ == "__main__":
    main()
