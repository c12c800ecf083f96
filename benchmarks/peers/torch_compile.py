"""PyTorch through ``torch.compile`` (Inductor, its C++ backend)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers.torch_eager import TorchPeer


class InductorPeer(TorchPeer):
    """The same functions, compiled; the optimizer's step stays one fused call."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        # Looking for a C++ compiler and its headers is for once a process, not once a model.
        torch.compile(torch.tanh)(torch.zeros(4))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiled anew for every workload."""
        torch._dynamo.reset()
        return torch.compile(function, dynamic=False)
