"""PyTensor: recurrences as ``scan``, or unrolled by Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from benchmarks.peers.base import NORM_EPSILON, Kit, Outputs, Peer, Session, Step, Unsupported
from benchmarks.spec import CHECKED_STEPS, TRAIN, Parameter, Workload


class PytensorKit(Kit):
    """Operations on symbolic tensors; weights are shared variables."""

    label = "PyTensor 3"

    def __init__(self, scan: bool) -> None:
        self.scan = scan

    def load(self, name: str, parameter: Parameter, value: np.ndarray) -> Any:
        """A shared variable."""
        return pytensor.shared(value, name=name, shape=value.shape)

    def recurrence(self, step: Step, carries: tuple[Any, ...], inputs: Any, count: int, sequence: bool) -> Any:
        """``pytensor.scan``, or Python's loop."""
        if not self.scan:
            return super().recurrence(step, carries, inputs, count, sequence)
        sequences = list(inputs) if isinstance(inputs, tuple) else [inputs]

        def body(*arguments: Any) -> list[Any]:
            here = arguments[: len(sequences)]
            following, output = step(arguments[len(sequences) :], here if isinstance(inputs, tuple) else here[0])
            return [*following, output]

        results = pytensor.scan(
            body, sequences=sequences, outputs_info=[*carries, None], n_steps=count, return_updates=False
        )
        return results[-1] if sequence else results[-1][-1]

    # -- movement --------------------------------------------------------------------------------------------------

    def at(self, x: Any, t: int) -> Any:
        """Element t of the leading axis."""
        return x[t]

    def split(self, x: Any, count: int) -> Any:
        """Equal parts of the last axis."""
        width = x.type.shape[-1] // count
        return [x[..., part * width : (part + 1) * width] for part in range(count)]

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        """Side by side."""
        return pt.concatenate(list(arrays), axis=axis)

    def stack(self, arrays: Sequence[Any]) -> Any:
        """Along a new leading axis."""
        return pt.stack(list(arrays))

    def flip(self, x: Any) -> Any:
        """The leading axis reversed."""
        return x[::-1]

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        """Another shape."""
        return x.reshape(tuple(shape))

    def transpose(self, x: Any, axes: Sequence[int]) -> Any:
        """Axes in another order."""
        return x.transpose(*axes)

    def zeros(self, shape: Sequence[int]) -> Any:
        """Zeros."""
        return pt.as_tensor_variable(np.zeros(tuple(shape), np.float32))

    def embedding(self, table: Any, ids: Any) -> Any:
        """Rows of a table."""
        return table[ids]

    # -- arithmetic ------------------------------------------------------------------------------------------------

    def relu(self, x: Any) -> Any:
        """max(x, 0)."""
        return pt.maximum(x, np.float32(0))

    tanh, sigmoid = staticmethod(pt.tanh), staticmethod(pt.sigmoid)
    softplus, mean = staticmethod(pt.softplus), staticmethod(pt.mean)

    def softmax(self, x: Any) -> Any:
        """Over the last axis."""
        return pt.special.softmax(x, axis=-1)

    def sum(self, x: Any, axis: int) -> Any:
        """Along one axis, which goes away."""
        return x.sum(axis=axis)

    def layer_norm(self, x: Any, gamma: Any, beta: Any) -> Any:
        """Over the last axis."""
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = pt.sqr(centred).mean(axis=-1, keepdims=True)
        return centred / pt.sqrt(variance + np.float32(NORM_EPSILON)) * gamma + beta

    def conv2d(self, *arguments: Any, **options: Any) -> Any:
        """Not any more."""
        raise Unsupported("PyTensor has no convolution over channels and no pooling since version 3")

    max_pool = conv2d

    # -- losses ----------------------------------------------------------------------------------------------------

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        """Mean negative log-probability of the labels."""
        return -pt.special.log_softmax(logits, axis=-1)[pt.arange(labels.shape[0]), labels].mean()


class PytensorPeer(Peer):
    """PyTensor with ``scan``, compiled by its default linker."""

    scan = True

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        x = pt.vector("x")
        pytensor.function([x], x + 1)(np.zeros(2, np.float32))

    def versions(self) -> dict[str, str]:
        """PyTensor's."""
        return {"pytensor": pytensor.__version__}

    def prepare(self, workload: Workload, mode: str) -> Session:
        """Build the graph and compile it."""
        kit = PytensorKit(self.scan)
        kit.training = mode == TRAIN
        inputs = {name: pytensor.shared(value, shape=value.shape) for name, value in workload.input_values().items()}
        weights = {
            name: kit.load(name, workload.parameters[name], value)
            for name, value in workload.parameter_values().items()
        }
        output = workload.forward(kit, weights, inputs)
        if mode == TRAIN:
            return self._training(workload, kit, weights, output)
        compiled = pytensor.function([], workload.head(kit, output))
        compiled.trust_input = True
        return Session(compiled, lambda: {"output": np.array(compiled())})

    def _training(self, workload: Workload, kit: PytensorKit, weights: dict[str, Any], output: Any) -> Session:
        trained = {name: value for name, value in weights.items() if workload.parameters[name].trained}
        initial = {name: value.get_value() for name, value in trained.items()}
        loss = workload.loss(kit, output, pytensor.shared(workload.target_values()))
        gradients = pytensor.grad(loss, list(trained.values()))
        rate = np.float32(workload.rate)
        slots: list[Any] = []
        if workload.optimizer == "adam":
            updates, slots = _adam(list(trained.values()), gradients, rate)
        else:
            updates = [(value, value - rate * g) for value, g in zip(trained.values(), gradients, strict=True)]
        compiled = pytensor.function([], loss, updates=updates)
        compiled.trust_input = True

        def reset() -> None:
            for name, value in trained.items():
                value.set_value(initial[name])
            for slot in slots:
                slot.set_value(np.zeros_like(slot.get_value(borrow=True)))

        def outputs() -> Outputs:
            reset()
            found = {f"loss {step}": np.asarray(compiled()) for step in range(CHECKED_STEPS)}
            found |= {f"weight {name}": value.get_value() for name, value in trained.items()}
            reset()
            return found

        return Session(compiled, outputs, reset)


class PytensorUnrolledPeer(PytensorPeer):
    """PyTensor with Python's loops."""

    scan = False


def _adam(weights: Sequence[Any], gradients: Sequence[Any], rate: Any) -> tuple[list[Any], list[Any]]:
    """Kingma and Ba (2014), as torch has it: updates, and the slots to reset."""
    one, first, second = np.float32(1), np.float32(0.9), np.float32(0.999)
    step = pytensor.shared(np.float32(0))
    following = step + one
    updates, slots = [(step, following)], [step]
    for value, g in zip(weights, gradients, strict=True):
        mean, square = (pytensor.shared(np.zeros_like(value.get_value())) for _ in range(2))
        m = mean * first + (one - first) * g
        v = square * second + (one - second) * g * g
        root = pt.sqrt(v / (one - second**following)) + np.float32(1e-8)
        updates += [(mean, m), (square, v), (value, value - rate / (one - first**following) * m / root)]
        slots += [mean, square]
    return updates, slots
