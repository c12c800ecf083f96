"""Every peer by name, and what must be installed for it; the modules are imported in processes of their own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from benchmarks.peers.base import Peer


@dataclass(frozen=True)
class PeerEntry:
    """Where a peer is.

    Attributes:
        name: on the command line.
        title: in tables.
        module: within this package.
        class_name: of the peer in it.
        requires: modules that must be importable.
        rival: False for what is shown but no rival: graphc itself, and the NumPy source it writes.
        usual: False for what takes part only where it is asked for.
        unrolls: True for what differs from another peer in loops alone, and takes part only where there are some.
        slow: compiles for long, so it starts first where peers are made ready side by side.
    """

    name: str
    title: str
    module: str
    class_name: str
    requires: tuple[str, ...]
    rival: bool = True
    usual: bool = True
    slow: bool = False
    unrolls: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """Modules that are not installed."""
        return tuple(name for name in self.requires if find_spec(name) is None)

    def make(self, threads: int) -> Peer:
        """The peer, for a process of its own."""
        made: Peer = getattr(import_module(f"benchmarks.peers.{self.module}"), self.class_name)(threads)
        return made


_ENTRIES = (
    PeerEntry("graphc", "graphc", "graphc", "GraphcPeer", ("llvmlite",), rival=False),
    PeerEntry("torch", "torch", "torch_eager", "TorchPeer", ("torch",)),
    PeerEntry("inductor", "Inductor", "torch_compile", "InductorPeer", ("torch",), slow=True),
    PeerEntry("jax", "JAX scan", "jax", "JaxPeer", ("jax", "jaxlib")),
    PeerEntry("jax-unrolled", "JAX unrolled", "jax", "JaxUnrolledPeer", ("jax", "jaxlib"), slow=True, unrolls=True),
    PeerEntry("onnxruntime", "ONNX Runtime", "onnxruntime", "OnnxRuntimePeer", ("onnx", "onnxruntime")),
    PeerEntry("openvino", "OpenVINO", "openvino", "OpenVinoPeer", ("onnx", "openvino")),
    PeerEntry("pytensor", "PyTensor", "pytensor", "PytensorPeer", ("pytensor",), slow=True),
    PeerEntry(
        "pytensor-unrolled",
        "PyTensor unrolled",
        "pytensor",
        "PytensorUnrolledPeer",
        ("pytensor",),
        usual=False,
        slow=True,
    ),
    PeerEntry("numpy", "NumPy", "numpy", "NumpyPeer", ("numpy",)),
    PeerEntry("graphc-numpy", "graphc's NumPy", "graphc", "GraphcNumpyPeer", ("numpy",), rival=False, usual=False),
)

PEERS: dict[str, PeerEntry] = {entry.name: entry for entry in _ENTRIES}
"""Name → entry, in the order of the tables."""

OURS = "graphc"
