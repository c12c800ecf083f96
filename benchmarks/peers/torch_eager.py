"""PyTorch, op by op, with its fused kernels for recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.peers.base import NORM_EPSILON, Kit, Outputs, Peer, Session
from benchmarks.spec import CHECKED_STEPS, TRAIN, Parameter, Workload

Tensor = torch.Tensor


class TorchKit(Kit):
    """Operations on tensors; images have the channels last in memory, which is the faster layout; dense kernels are
    (out, in).
    """

    label = "PyTorch"

    def load(self, name: str, parameter: Parameter, value: np.ndarray) -> Tensor:
        """In the layout of ``torch.nn``."""
        made = torch.from_numpy(np.ascontiguousarray(to_torch(parameter, value)))
        return made.contiguous(memory_format=torch.channels_last) if parameter.kind == "conv" else made

    def data(self, value: np.ndarray, image: bool) -> Tensor:
        """An input."""
        made = torch.from_numpy(value)
        return made.permute(0, 3, 1, 2) if image else made

    # -- movement --------------------------------------------------------------------------------------------------

    def at(self, x: Tensor, t: int) -> Tensor:
        """Element t of the leading axis."""
        return x[t]

    def split(self, x: Tensor, count: int) -> Sequence[Tensor]:
        """Equal parts of the last axis."""
        return x.chunk(count, -1)

    def concat(self, arrays: Sequence[Tensor], axis: int) -> Tensor:
        """Side by side."""
        return torch.cat(list(arrays), axis)

    def stack(self, arrays: Sequence[Tensor]) -> Tensor:
        """Along a new leading axis."""
        return torch.stack(list(arrays))

    def flip(self, x: Tensor) -> Tensor:
        """The leading axis reversed."""
        return x.flip(0)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Another shape."""
        return x.reshape(tuple(shape))

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Axes in another order."""
        return x.permute(tuple(axes))

    def zeros(self, shape: Sequence[int]) -> Tensor:
        """Zeros."""
        return torch.zeros(tuple(shape))

    def embedding(self, table: Tensor, ids: Tensor) -> Tensor:
        """Rows of a table."""
        return F.embedding(ids, table)

    # -- arithmetic ------------------------------------------------------------------------------------------------

    relu, tanh, sigmoid = staticmethod(torch.relu), staticmethod(torch.tanh), staticmethod(torch.sigmoid)
    softplus, mean = staticmethod(F.softplus), staticmethod(torch.mean)

    def softmax(self, x: Tensor) -> Tensor:
        """Over the last axis."""
        return torch.softmax(x, -1)

    def sum(self, x: Tensor, axis: int) -> Tensor:
        """Along one axis, which goes away."""
        return x.sum(axis)

    def layer_norm(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """Over the last axis."""
        return F.layer_norm(x, x.shape[-1:], gamma, beta, NORM_EPSILON)

    # -- layers ----------------------------------------------------------------------------------------------------

    def dense(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        """Over the last axis, x w + b."""
        return F.linear(x, w, b)

    def conv2d(self, x: Tensor, w: Tensor, b: Tensor | None = None, stride: int = 1, padding: int = 0) -> Tensor:
        """Cross-correlation."""
        return F.conv2d(x, w, b, stride, padding)

    def max_pool(self, x: Tensor, window: int) -> Tensor:
        """Windows side by side."""
        return F.max_pool2d(x, window)

    def flatten(self, x: Tensor) -> Tensor:
        """An image a row, channels last, as they lie."""
        return x.permute(0, 2, 3, 1).flatten(1)

    def batch_norm(self, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Of channels; running statistics are not kept."""
        if self.training:
            return F.batch_norm(x, None, None, gamma, beta, training=True, eps=NORM_EPSILON)
        return F.batch_norm(x, mean, variance, gamma, beta, eps=NORM_EPSILON)

    def rnn(self, x: Tensor, shape: Sequence[int], w: Any, u: Any, b: Any, sequence: bool = False) -> Tensor:
        """``torch.nn.RNN``."""
        state = x.new_zeros((1, *shape[1:]))
        outputs, last = torch._VF.rnn_tanh(
            x, state, [w, u, b, torch.zeros_like(b)], True, 1, 0.0, torch.is_grad_enabled(), False, False
        )
        return outputs if sequence else last[0]

    def gru(self, x: Tensor, shape: Sequence[int], w: Any, u: Any, b: Any, sequence: bool = False) -> Tensor:
        """``torch.nn.GRU``."""
        state = x.new_zeros((1, *shape[1:]))
        outputs, last = torch._VF.gru(x, state, [w, u, b[0], b[1]], True, 1, 0.0, torch.is_grad_enabled(), False, False)
        return outputs if sequence else last[0]

    def lstm(
        self, x: Tensor, shape: Sequence[int], w: Any, u: Any, b: Any, sequence: bool = False, reverse: bool = False
    ) -> Tensor:
        """``torch.nn.LSTM``, whose second bias is zero."""
        state = x.new_zeros((1, *shape[1:]))
        x = x.flip(0) if reverse else x
        outputs, last, _ = torch._VF.lstm(
            x, (state, state), [w, u, b, torch.zeros_like(b)], True, 1, 0.0, torch.is_grad_enabled(), False, False
        )
        return outputs if sequence else last[0]

    def bilstm(self, x: Tensor, shape: Sequence[int], forward: Sequence[Any], backward: Sequence[Any]) -> Tensor:
        """``torch.nn.LSTM(bidirectional=True)``."""
        state = x.new_zeros((2, *shape[1:]))
        weights = [part for w, u, b in (forward, backward) for part in (w, u, b, torch.zeros_like(b))]
        _, last, _ = torch._VF.lstm(x, (state, state), weights, True, 1, 0.0, torch.is_grad_enabled(), True, False)
        return torch.cat([last[0], last[1]], 1)

    # -- losses ----------------------------------------------------------------------------------------------------

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean negative log-probability of the labels."""
        return F.cross_entropy(logits, labels)

    def binary_cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """From logits."""
        return F.binary_cross_entropy_with_logits(logits, labels)

    def mean_square(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference."""
        return F.mse_loss(output, target)


_GRU = (1, 0, 2)
"""Where our gates z r n stand among torch's r z n, and the other way round."""


def to_torch(parameter: Parameter, value: np.ndarray) -> np.ndarray:
    """A weight in the layout of ``torch.nn``."""
    if parameter.kind.startswith("gru_"):
        value = _gates(value)
    if parameter.kind == "conv":
        return value.transpose(3, 2, 0, 1)
    return value.T if _is_transposed(parameter) else value


def from_torch(parameter: Parameter, value: np.ndarray) -> np.ndarray:
    """The other way round."""
    if parameter.kind == "conv":
        return value.transpose(2, 3, 1, 0)
    value = value.T if _is_transposed(parameter) else value
    return _gates(value) if parameter.kind.startswith("gru_") else value


def _is_transposed(parameter: Parameter) -> bool:
    return parameter.kind in ("dense", "image_dense") or parameter.kind.endswith(("_kernel", "_recurrent"))


def _gates(value: np.ndarray) -> np.ndarray:
    parts = np.split(value, 3, axis=-1)
    return np.concatenate([parts[i] for i in _GRU], axis=-1)


class TorchPeer(Peer):
    """PyTorch eager."""

    kit: type[TorchKit] = TorchKit

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)

    def versions(self) -> dict[str, str]:
        """Of torch."""
        return {"torch": torch.__version__}

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What is called in place of ``function``."""
        return function

    def prepare(self, workload: Workload, mode: str) -> Session:
        """Forward alone, or forward, backward and the optimizer's step."""
        kit = self.kit()
        kit.training = mode == TRAIN
        inputs = {name: kit.data(value, workload.inputs[name].image) for name, value in workload.input_values().items()}
        weights = {
            name: kit.load(name, workload.parameters[name], value)
            for name, value in workload.parameter_values().items()
        }
        if mode == TRAIN:
            return self._training(workload, kit, weights, inputs)
        forward = self.compiled(lambda p, x: workload.head(kit, workload.forward(kit, p, x)))

        def call() -> Tensor:
            with torch.inference_mode():
                return forward(weights, inputs)

        def outputs() -> Outputs:
            found = call().numpy()
            return {"output": found.transpose(0, 2, 3, 1) if workload.image_output else found}

        return Session(call, outputs)

    def _training(self, workload: Workload, kit: TorchKit, weights: dict[str, Tensor], inputs: Any) -> Session:
        trained = {name: value.requires_grad_() for name, value in weights.items() if workload.parameters[name].trained}
        initial = [value.detach().clone() for value in trained.values()]
        target = kit.data(workload.target_values(), workload.target.image)
        loss_of = self.compiled(lambda p, x, y: workload.loss(kit, workload.forward(kit, p, x), y))
        parameters = list(trained.values())
        adam = workload.optimizer == "adam"
        optimizer = torch.optim.Adam(parameters, workload.rate, eps=1e-8, fused=True) if adam else None

        def call() -> Tensor:
            loss = loss_of(weights, inputs, target)
            if optimizer is None:
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    torch._foreach_add_(parameters, gradients, alpha=-workload.rate)
                return loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        def reset() -> None:
            with torch.no_grad():
                torch._foreach_copy_(parameters, initial)
            if optimizer is not None:
                optimizer.state.clear()

        def outputs() -> Outputs:
            reset()
            found = {f"loss {step}": np.asarray(call().detach().numpy()) for step in range(CHECKED_STEPS)}
            for name, value in trained.items():
                found[f"weight {name}"] = from_torch(workload.parameters[name], value.detach().numpy()).copy()
            reset()
            return found

        return Session(call, outputs, reset)
