"""PyTorch through ``torch.compile`` (Inductor, its C++ backend)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers.base import Session
from benchmarks.peers.torch_eager import TorchPeer
from benchmarks.spec import TRAIN, Workload


class InductorPeer(TorchPeer):
    """The same functions, compiled; the optimizer's step stays one fused call."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        # Looking for a C++ compiler and its headers is for once a process, not once a model.
        torch.compile(torch.tanh)(torch.zeros(4))
        self._onednn = True

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiled anew for every workload."""
        torch._dynamo.reset()
        made = torch.compile(function, dynamic=False)
        if self._onednn:
            return made

        def call(*arguments: Any) -> Any:
            with torch.backends.mkldnn.flags(enabled=False):
                return made(*arguments)

        return call

    def prepare(self, workload: Workload, mode: str) -> Session:
        """As eager; an LSTM is trained step by step.

        Inductor of torch 2.13 fails on the gradient of oneDNN's LSTM, of which one result is not a tensor.
        """
        kinds = {parameter.kind for parameter in workload.parameters.values()}
        self._onednn = mode != TRAIN or "lstm_kernel" not in kinds
        return super().prepare(workload, mode)
