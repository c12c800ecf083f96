"""Random recurrent configurations: cells × bias × direction × merge × what is returned × masks × stacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from graphc import nn
from tests.oracle.nn_parity import Array, Case
from tests.oracle.random_cases import Draw
from tests.oracle.recurrent_formulas import (
    KINDS,
    Kind,
    below,
    concat_lstm,
    gru_before,
    gru_product,
    memory,
    merged,
    peephole,
    stacked,
    unrolled,
)

FORMS = ("layer", "cell", "stack", "both")
COUNT = 160


def recurrent(number: int) -> Case:
    """One configuration; each cell comes in each form in turn, and the rest is drawn."""
    d = Draw("recurrent", number)
    name, form = list(KINDS)[number % len(KINDS)], FORMS[number // len(KINDS) % len(FORMS)]
    kind = KINDS[name]
    sequences, states_too, back = d.flag(), d.flag(), form != "both" and d.flag()
    steering = d.one_of("none", "mask", "lengths", "initial state", "mask and initial state")
    if form == "stack" and "initial" in steering:
        steering = "mask"
    mode = d.one_of("concat", "sum", "mul", "ave", None)
    major = steering == "none" and d.one_of(True, False, False)
    batch, steps, features, units = d.size(1, 3), d.size(1, 5), d.size(1, 4), d.size(1, 3)
    returned = {"return_sequences": sequences, "return_state": states_too}
    if form != "both":
        returned["go_backwards"] = back
    zero = form == "both" and sequences
    if steering.startswith("mask") and form == "layer" and d.flag():
        returned["zero_output_for_mask"] = zero = True
    if major:
        returned["time_major"] = True
    kinds = [kind, *(KINDS[d.one_of(*KINDS)] for _ in range(d.size(1, 2)))] if form == "stack" else [kind]
    parts = sum(one.parts for one in kinds) * (2 if form == "both" else 1)

    more: list[Array] = []
    if "mask" in steering:
        more.append(d.rng.random((batch, steps)) > 0.4)
    if steering == "lengths":
        more.append(d.rng.integers(1, steps + 1, size=batch))
    if "initial" in steering:
        more += [d.array(batch, units) for _ in range(parts)]

    def reference(w: Any, x: Any, *given: Any) -> Any:
        x = x.swapaxes(0, 1) if major else x
        kept, rest = None, list(given)
        if "mask" in steering:
            kept = rest.pop(0)
        elif steering == "lengths":
            kept = torch.arange(steps) < rest.pop(0)[:, None]
        start = rest or [torch.zeros(batch, units, dtype=x.dtype) for _ in range(parts)]
        if form == "both":
            return _both(kind, w, x, kept, start, mode, returned, major)
        formula = stacked(kinds) if form == "stack" else kind.formula
        own = w if form == "stack" else below(w, "")
        outputs, last = unrolled(formula, own, x, start, mask=kept, back=back, zero=zero)
        result = torch.stack(outputs, 0 if major else 1) if sequences else outputs[-1]
        return [result, *last] if states_too else result

    def call(layer: Any, x: Any, *given: Any) -> Any:
        rest, options = list(given), {}
        if "mask" in steering:
            options["mask"] = rest.pop(0)
        elif steering == "lengths":
            options["lengths"] = rest.pop(0)
        if rest:
            options["initial_state"] = rest
        return layer(x, **options)

    label = f"{number}: {form} of {name}, {returned}, {steering}, {mode if form == 'both' else ''}"
    shape = (steps, batch, features) if major else (batch, steps, features)
    build = _builder(form, kinds, units, returned, mode)
    # Lengths and time first are ours alone; Keras' cells return the states of a stack nested.
    return Case(label, build, reference, (d.array(*shape), *more), call, keras=not major and steering != "lengths")


def _builder(
    form: str, kinds: list[Kind], units: int, returned: dict[str, Any], mode: str | None
) -> Callable[[Any], Any]:
    kind = kinds[0]

    def build(namespace: Any) -> Any:
        if form == "layer":
            return getattr(namespace, kind.layer)(units, **returned, **kind.arguments)
        if form == "both":
            inner = getattr(namespace, kind.layer)(units, **returned, **kind.arguments)
            return namespace.Bidirectional(inner, merge_mode=mode)
        cells = [
            getattr(namespace, f"{one.layer}Cell")(units, name=f"cell_{place}", **one.arguments)
            for place, one in enumerate(kinds)
        ]
        return namespace.RNN(cells if form == "stack" else cells[0], **returned)

    return build


def _both(
    kind: Kind,
    w: Any,
    x: Any,
    kept: Any,
    start: list[Any],
    mode: str | None,
    returned: dict[str, Any],
    major: bool,
) -> Any:
    halves = []
    for direction, states in (("forward", start[: kind.parts]), ("backward", start[kind.parts :])):
        own = {name.rsplit("/", 1)[-1]: value for name, value in w.items() if name.startswith(direction)}
        back, sequences = direction == "backward", returned["return_sequences"]
        outputs, last = unrolled(kind.formula, own, x, states, mask=kept, back=back, zero=sequences)
        if back and sequences:
            outputs.reverse()
        halves.append((torch.stack(outputs, 0 if major else 1) if sequences else outputs[-1], last))
    (ahead, first), (behind, second) = halves
    result = merged(mode, ahead, behind)
    return [result, *first, *second] if returned["return_state"] else result


# -- cells that Keras has not ------------------------------------------------------------------------------------------

OWN_CELLS: dict[str, tuple[Callable[[int], Any], Callable[..., Any], int]] = {
    "peepholes, diagonal": (nn.PeepholeLSTMCell, lambda w, x, s: peephole(w, x, s, True), 2),
    "peepholes, full": (
        lambda units: nn.PeepholeLSTMCell(units, diagonal=False),
        lambda w, x, s: peephole(w, x, s, False),
        2,
    ),
    "gates on [x, h]": (nn.ConcatLSTMCell, concat_lstm, 2),
    "gru, z keeps the candidate": (nn.MinimalGRUCell, lambda w, x, s: gru_before(w, x, s, keep=False), 1),
    "gru, z keeps the state": (lambda units: nn.MinimalGRUCell(units, keep="state"), gru_before, 1),
    "gru, reset of the product": (
        lambda units: nn.MinimalGRUCell(units, reset="product", keep="state"),
        gru_product,
        1,
    ),
    "memory, soft": (nn.MemoryCell, lambda w, x, s: memory(w, x, s, False), 1),
    "memory, hard": (lambda units: nn.MemoryCell(units, hard=True), lambda w, x, s: memory(w, x, s, True), 1),
}


def own_cell(name: str, number: int) -> Case:
    """A cell under ``RNN``."""
    d = Draw(name, number)
    make, formula, parts = OWN_CELLS[name]
    batch, steps, features, units = d.size(1, 3), d.size(1, 5), d.size(1, 4), d.size(1, 3)
    back, masked = d.flag(), d.flag()

    def reference(w: Any, x: Any, *mask: Any) -> Any:
        start = [torch.zeros(batch, units, dtype=x.dtype) for _ in range(parts)]
        outputs, last = unrolled(formula, below(w, ""), x, start, mask=mask[0] if mask else None, back=back)
        return [torch.stack(outputs, 1), *last]

    return Case(
        f"{name} {number}, backwards {back}, masked {masked}",
        lambda namespace: namespace.RNN(make(units), True, True, go_backwards=back),
        reference,
        (d.array(batch, steps, features), *([d.mask(batch, steps)] if masked else [])),
        lambda layer, x, *mask: layer(x, mask=mask[0] if mask else None),
        keras=False,
    )


def single_step(kind: Kind, name: str, number: int) -> Case:
    """A cell by itself."""
    d = Draw(f"step of {name}", number)
    batch, features, units = d.size(1, 3), d.size(1, 4), d.size(1, 3)
    states = [d.array(batch, units) for _ in range(kind.parts)]
    return Case(
        f"one step of {name}",
        lambda namespace: getattr(namespace, f"{kind.layer}Cell")(units, **kind.arguments),
        lambda w, x, *s: list(kind.formula(w, x, list(s))),
        (d.array(batch, features), *states),
        lambda layer, x, *s: layer(x, list(s)),
    )


CASES = [
    *(recurrent(number) for number in range(COUNT)),
    *(own_cell(name, number) for name in OWN_CELLS for number in range(2)),
    *(single_step(kind, name, 0) for name, kind in KINDS.items()),
]
