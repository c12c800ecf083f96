"""A memory with gates that are open or shut: c = f∘c + w∘g(x), with f and w either 0 or 1, and their soft form.

    hard     f = [x Wf + bf > 0],     w = [x Ww + bw > 0]         the indicator: keeps exactly, has no slope
    soft     f = σ(x Wf + bf),        w = σ(x Ww + bw)            leaks a little at every step, can be trained

and g(x) = tanh(x Wg), so that nothing is written where nothing comes in.

The derivative of the indicator is 0 wherever it has one, so hard gates never learn: in the gradient by all weights,
printed below, theirs is 0, and who asks for the gradient by theirs alone is told that there is none (E225).  So the
soft form is trained, and then its weights are given to the hard form, whose memory does not fade however long nothing
happens.

The task is the flip-flop: each bit has a pulse that sets it and one that clears it, and what is asked for at every step
is the last pulse of each bit.  After training there come no more pulses, and the memory is looked at again later.

    graphc compile examples/memory_gates.py --set hard=True
    python examples/memory_gates.py

Data: random pulses for three bits.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import graphc as G
from graphc import nn, optim


def model(hard: bool = False, steps: int = 30, batch: int = 32, bits: int = 3) -> G.Model:
    """The memory over pulses (steps, batch, 2·bits), one step of it, and the gradient of the loss by each weight."""
    weights = {f"W{gate}": G.parameter(f"W{gate}", shape=(2 * bits, bits)) for gate in "fwg"}
    weights |= {f"b{gate}": G.parameter(f"b{gate}", np.zeros(bits, "float32")) for gate in "fw"}

    def step(x: G.Tensor, c: G.Tensor) -> G.Tensor:
        keep, write = (x @ weights[f"W{gate}"] + weights[f"b{gate}"] for gate in "fw")
        opened = G.step if hard else G.sigmoid
        return opened(keep) * c + opened(write) * G.tanh(x @ weights["Wg"])

    x = G.input("x", (steps, batch, 2 * bits))
    y = G.input("y", (steps, batch, bits))
    memory = [step(x[0], G.zeros((batch, bits)))]
    for t in range(1, steps):
        memory.append(step(x[t], memory[-1]))
    kept = G.stack(memory)
    loss = nn.losses.mean_squared_error(y, kept)
    pulse, before = G.input("pulse", (batch, 2 * bits)), G.input("before", (batch, bits))
    return G.Model(
        predict=kept,
        loss=loss,
        step=step(pulse, before),
        gradients=G.grad(loss, weights),
        train=optim.Adam(1e-2).minimize(loss),
    )


def flip_flop(rng: np.random.Generator, steps: int, batch: int, bits: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Pulses, and the last pulse of each bit so far, 1 or −1; in the first step every bit has one."""
    pulse = rng.choice([-1, 0, 1], (steps, batch, bits), p=[0.1, 0.8, 0.1])
    pulse[0] = rng.choice([-1, 1], (batch, bits))
    last = np.where(pulse != 0, np.arange(steps)[:, None, None], 0)
    y = np.take_along_axis(pulse, np.maximum.accumulate(last, axis=0), axis=0)
    return np.concatenate([pulse > 0, pulse < 0], axis=2).astype("float32"), y.astype("float32")


def learn(updates: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The weights of soft gates after training."""
    rng = np.random.default_rng(seed)
    m = G.compile(model(), seed=seed)
    for _ in range(updates):
        m.train(*flip_flop(rng, 30, 32))
    return {name: m.parameters[name].copy() for name in ("Wf", "bf", "Ww", "bw", "Wg")}


def forgetting(weights: dict[str, np.ndarray], hard: bool, pauses: tuple[int, ...]) -> list[float]:
    """How far the memory is off the last pulses, ±1, on average, after so many steps without a pulse."""
    m = G.compile(model(hard))
    for name, value in weights.items():
        m.parameters[name][...] = value
    x, y = flip_flop(np.random.default_rng(1), 30, 32)
    memory, silence, passed = m.predict(x)[-1], np.zeros_like(x[0]), 0
    errors = []
    for pause in pauses:
        for _ in range(pause - passed):
            memory = m.step(silence, memory)
        passed = pause
        errors.append(float(np.abs(memory - y[-1]).mean()))
    return errors


PAUSES = (0, 30, 300, 3000)


def main() -> int:
    """Gradients of both forms, training of the soft one, and what both remember."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="20 updates, to see that it runs")
    options = parser.parse_args()

    batch = flip_flop(np.random.default_rng(0), 30, 32)
    for hard in (False, True):
        gradients = G.compile(model(hard)).gradients(*batch)
        sizes = ", ".join(f"{name} {np.abs(value).max():.1e}" for name, value in gradients.items())
        print(f"largest gradients with {'hard' if hard else 'soft'} gates: {sizes}")

    begin = time.perf_counter()
    weights = learn(20 if options.quick else options.updates)
    print(f"trained with soft gates in {time.perf_counter() - begin:.1f} s; the error, where 1 is to have forgotten:")
    soft, hard = (forgetting(weights, hard, PAUSES) for hard in (False, True))
    for pause, faded, kept in zip(PAUSES, soft, hard, strict=True):
        print(f"  {pause:>4} steps without a pulse: soft {faded:.4f}, hard {kept:.4f}")
    good = soft[0] < 0.1 and soft[-1] > 0.9 and max(hard) < 0.05 and hard[-1] == hard[0]
    return 0 if good or options.quick else 1


if __name__ == "__main__":
    raise SystemExit(main())
