"""JAX under ``jit``: recurrences as ``lax.scan``, or unrolled by Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import lax

from benchmarks.peers.base import NORM_EPSILON, Kit, Outputs, Peer, Session, Step
from benchmarks.spec import CHECKED_STEPS, TRAIN, Parameter, Workload

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Of Adam."""


class JaxKit(Kit):
    """Operations on traced arrays."""

    label = "JAX"

    def __init__(self, scan: bool) -> None:
        self.scan = scan

    def load(self, name: str, parameter: Parameter, value: np.ndarray) -> Any:
        """On the device."""
        return jnp.asarray(value)

    def recurrence(self, step: Step, carries: tuple[Any, ...], inputs: Any, count: int, sequence: bool) -> Any:
        """``lax.scan``, or Python's loop."""
        if not self.scan:
            return super().recurrence(step, carries, inputs, count, sequence)

        def body(carried: tuple[Any, ...], here: Any) -> tuple[tuple[Any, ...], Any]:
            *carries, _ = carried
            following, output = step(tuple(carries), here)
            return (*following, output), output if sequence else None

        here = jax.tree_util.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
        shape = jax.eval_shape(step, carries, here)[1]
        carried, outputs = lax.scan(body, (*carries, jnp.zeros(shape.shape, shape.dtype)), inputs)
        return outputs if sequence else carried[-1]

    # -- movement --------------------------------------------------------------------------------------------------

    def at(self, x: Any, t: int) -> Any:
        """Element t of the leading axis."""
        return x[t]

    def split(self, x: Any, count: int) -> Any:
        """Equal parts of the last axis."""
        return jnp.split(x, count, axis=-1)

    def concat(self, arrays: Sequence[Any], axis: int) -> Any:
        """Side by side."""
        return jnp.concatenate(arrays, axis=axis)

    def stack(self, arrays: Sequence[Any]) -> Any:
        """Along a new leading axis."""
        return jnp.stack(arrays)

    def flip(self, x: Any) -> Any:
        """The leading axis reversed."""
        return jnp.flip(x, axis=0)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        """Another shape."""
        return x.reshape(tuple(shape))

    def transpose(self, x: Any, axes: Sequence[int]) -> Any:
        """Axes in another order."""
        return x.transpose(tuple(axes))

    def zeros(self, shape: Sequence[int]) -> Any:
        """Zeros."""
        return jnp.zeros(tuple(shape), jnp.float32)

    def embedding(self, table: Any, ids: Any) -> Any:
        """Rows of a table."""
        return jnp.take(table, ids, axis=0, mode="clip")

    # -- arithmetic ------------------------------------------------------------------------------------------------

    relu, tanh, sigmoid = staticmethod(jax.nn.relu), staticmethod(jnp.tanh), staticmethod(jax.nn.sigmoid)
    softplus, softmax, mean = staticmethod(jax.nn.softplus), staticmethod(jax.nn.softmax), staticmethod(jnp.mean)

    def sum(self, x: Any, axis: int) -> Any:
        """Along one axis, which goes away."""
        return x.sum(axis=axis)

    def layer_norm(self, x: Any, gamma: Any, beta: Any) -> Any:
        """Over the last axis."""
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred * lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + NORM_EPSILON) * gamma + beta

    # -- images ----------------------------------------------------------------------------------------------------

    def conv2d(self, x: Any, w: Any, b: Any = None, stride: int = 1, padding: int = 0) -> Any:
        """Cross-correlation."""
        y = lax.conv_general_dilated(
            x, w, (stride, stride), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y if b is None else y + b

    def max_pool(self, x: Any, window: int) -> Any:
        """Windows side by side."""
        size = (1, window, window, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, size, size, "VALID")

    def flatten(self, x: Any) -> Any:
        """An image a row."""
        return x.reshape(x.shape[0], -1)

    def batch_norm(self, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        """Of channels; running statistics are not kept."""
        if self.training:
            mean = x.mean(axis=(0, 1, 2))
            variance = jnp.square(x - mean).mean(axis=(0, 1, 2))
        scale = gamma * lax.rsqrt(variance + NORM_EPSILON)
        return x * scale + (beta - mean * scale)

    # -- losses ----------------------------------------------------------------------------------------------------

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        """Mean negative log-probability of the labels."""
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


class JaxPeer(Peer):
    """JAX with ``lax.scan``."""

    scan = True

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        jax.jit(lambda x: x + 1)(jnp.zeros(2)).block_until_ready()

    def versions(self) -> dict[str, str]:
        """JAX's and its compiler's."""
        return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}

    def prepare(self, workload: Workload, mode: str) -> Session:
        """Trace and compile."""
        kit = JaxKit(self.scan)
        kit.training = mode == TRAIN
        inputs = {name: jnp.asarray(value) for name, value in workload.input_values().items()}
        weights = {
            name: kit.load(name, workload.parameters[name], value)
            for name, value in workload.parameter_values().items()
        }
        if mode == TRAIN:
            return self._training(workload, kit, weights, inputs)
        forward = jax.jit(lambda p, x: workload.head(kit, workload.forward(kit, p, x)))
        compiled = forward.lower(weights, inputs).compile()

        def call() -> Any:
            return compiled(weights, inputs).block_until_ready()

        return Session(call, lambda: {"output": np.asarray(call())})

    def _training(self, workload: Workload, kit: JaxKit, weights: dict[str, Any], inputs: Any) -> Session:
        fixed = {name: value for name, value in weights.items() if not workload.parameters[name].trained}
        initial = {name: np.asarray(value) for name, value in weights.items() if name not in fixed}
        target = jnp.asarray(workload.target_values())

        def loss_of(trained: Any, x: Any, y: Any) -> Any:
            return workload.loss(kit, workload.forward(kit, {**trained, **fixed}, x), y)

        def train(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
            loss, gradients = jax.value_and_grad(loss_of)(state["weights"], x, y)
            update = _adam if workload.optimizer == "adam" else _sgd
            return update(state, gradients, workload.rate), loss

        def fresh() -> Any:
            state = {"weights": {name: jnp.array(value) for name, value in initial.items()}}
            if workload.optimizer == "adam":
                zeros = {name: np.zeros_like(value) for name, value in initial.items()}
                state |= {
                    slot: {name: jnp.array(value) for name, value in zeros.items()} for slot in ("mean", "square")
                }
                state["step"] = jnp.zeros((), jnp.float32)
            return state

        compiled = jax.jit(train, donate_argnums=0).lower(fresh(), inputs, target).compile()
        holder = {"state": fresh()}

        def call() -> Any:
            holder["state"], loss = compiled(holder["state"], inputs, target)
            return jax.block_until_ready((holder["state"], loss))[1]

        def reset() -> None:
            holder["state"] = fresh()

        def outputs() -> Outputs:
            reset()
            found = {f"loss {step}": np.asarray(call()) for step in range(CHECKED_STEPS)}
            found |= {f"weight {name}": np.array(value) for name, value in holder["state"]["weights"].items()}
            reset()
            return found

        return Session(call, outputs, reset)


def _sgd(state: Any, gradients: Any, rate: float) -> Any:
    return {"weights": {name: value - rate * gradients[name] for name, value in state["weights"].items()}}


def _adam(state: Any, gradients: Any, rate: float) -> Any:
    """Kingma and Ba (2014), as torch has it."""
    step = state["step"] + 1
    made: dict[str, Any] = {"weights": {}, "mean": {}, "square": {}, "step": step}
    for name, value in state["weights"].items():
        g = gradients[name]
        m = state["mean"][name] * BETA_1 + (1 - BETA_1) * g
        v = state["square"][name] * BETA_2 + (1 - BETA_2) * g * g
        root = jnp.sqrt(v / (1 - BETA_2**step)) + EPSILON
        made["weights"][name] = value - rate / (1 - BETA_1**step) * m / root
        made["mean"][name], made["square"][name] = m, v
    return made


class JaxUnrolledPeer(JaxPeer):
    """JAX with Python's loops."""

    scan = False
