"""Recurrent layers against torch: a loop transcribed from Keras' definitions, with masks, and torch's own layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from graphc import nn
from tests.oracle.nn_parity import Array, Case, compare

pytestmark = pytest.mark.oracle

BATCH, TIME, FEATURES, UNITS = 2, 4, 3, 2
_rng = np.random.default_rng(7)


def draw(*shape: int) -> Array:
    return _rng.normal(size=shape)


# -- cells: (weights, input, states) → (output, states) ----------------------------------------------------------------


def simple(w: Any, x: Any, s: Any) -> Any:
    h = torch.tanh(x @ w["kernel"] + s[0] @ w["recurrent_kernel"] + w.get("bias", 0))
    return h, [h]


def lstm(w: Any, x: Any, s: Any) -> Any:
    i, f, g, o = (x @ w["kernel"] + s[0] @ w["recurrent_kernel"] + w.get("bias", 0)).chunk(4, -1)
    c = torch.sigmoid(f) * s[1] + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, [h, c]


def gru_after(w: Any, x: Any, s: Any) -> Any:
    bias = w["bias"] if "bias" in w else torch.zeros(2, 1)
    az, ar, ah = (x @ w["kernel"] + bias[0]).chunk(3, -1)
    bz, br, bh = (s[0] @ w["recurrent_kernel"] + bias[1]).chunk(3, -1)
    z, r = torch.sigmoid(az + bz), torch.sigmoid(ar + br)
    h = z * s[0] + (1 - z) * torch.tanh(ah + r * bh)
    return h, [h]


def gru_before(w: Any, x: Any, s: Any, keep: bool = True) -> Any:
    az, ar, ah = (x @ w["kernel"] + w.get("bias", 0)).chunk(3, -1)
    uz, ur, uh = w["recurrent_kernel"].chunk(3, -1)
    z, r = torch.sigmoid(az + s[0] @ uz), torch.sigmoid(ar + s[0] @ ur)
    new = torch.tanh(ah + (r * s[0]) @ uh)
    h = z * s[0] + (1 - z) * new if keep else (1 - z) * s[0] + z * new
    return h, [h]


def gru_product(w: Any, x: Any, s: Any) -> Any:
    az, ar, ah = (x @ w["kernel"] + w["bias"]).chunk(3, -1)
    uz, ur, uh = w["recurrent_kernel"].chunk(3, -1)
    z, r = torch.sigmoid(az + s[0] @ uz), torch.sigmoid(ar + s[0] @ ur)
    h = z * s[0] + (1 - z) * torch.tanh(ah + r * (s[0] @ uh))
    return h, [h]


def peephole(w: Any, x: Any, s: Any, diagonal: bool) -> Any:
    i, f, g, o = (x @ w["kernel"] + s[0] @ w["recurrent_kernel"] + w["bias"]).chunk(4, -1)
    pi, pf, po = w["peephole_kernel"].chunk(3, -1)

    def peep(c: Any, p: Any) -> Any:
        return c * p if diagonal else c @ p

    c = torch.sigmoid(f + peep(s[1], pf)) * s[1] + torch.sigmoid(i + peep(s[1], pi)) * torch.tanh(g)
    h = torch.sigmoid(o + peep(c, po)) * torch.tanh(c)
    return h, [h, c]


def concat_lstm(w: Any, x: Any, s: Any) -> Any:
    i, f, g, o = (torch.cat([x, s[0]], -1) @ w["kernel"] + w["bias"]).chunk(4, -1)
    c = torch.sigmoid(f) * s[1] + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * c
    return h, [h, c]


def memory(w: Any, x: Any, s: Any, hard: bool) -> Any:
    f, write, g = (x @ w["kernel"] + s[0] @ w["recurrent_kernel"] + w["bias"]).chunk(3, -1)
    if hard:
        f, write = (f > 0).to(x.dtype), (write > 0).to(x.dtype)
    else:
        f, write = torch.sigmoid(f), torch.sigmoid(write)
    c = f * s[0] + write * torch.tanh(g)
    return c, [c]


@dataclass(frozen=True)
class Kind:
    """A cell: how to make the layer and its cell, its formula, and the parts of its state."""

    layer: Callable[..., Any]
    cell: Callable[..., Any]
    formula: Callable[..., Any]
    parts: int = 1
    options: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "simple": Kind(nn.SimpleRNN, nn.SimpleRNNCell, simple),
    "simple without bias": Kind(nn.SimpleRNN, nn.SimpleRNNCell, simple, options={"use_bias": False}),
    "lstm": Kind(nn.LSTM, nn.LSTMCell, lstm, 2),
    "lstm without bias": Kind(nn.LSTM, nn.LSTMCell, lstm, 2, {"use_bias": False}),
    "gru": Kind(nn.GRU, nn.GRUCell, gru_after),
    "gru without bias": Kind(nn.GRU, nn.GRUCell, gru_after, options={"use_bias": False}),
    "gru reset before": Kind(nn.GRU, nn.GRUCell, gru_before, options={"reset_after": False}),
    "gru reset before, without bias": Kind(
        nn.GRU, nn.GRUCell, gru_before, options={"reset_after": False, "use_bias": False}
    ),
}

OWN_CELLS = {
    "peepholes, diagonal": (lambda: nn.PeepholeLSTMCell(UNITS), lambda w, x, s: peephole(w, x, s, True), 2),
    "peepholes, full": (
        lambda: nn.PeepholeLSTMCell(UNITS, diagonal=False),
        lambda w, x, s: peephole(w, x, s, False),
        2,
    ),
    "gates on [x, h]": (lambda: nn.ConcatLSTMCell(UNITS), concat_lstm, 2),
    "gru, z keeps the candidate": (
        lambda: nn.MinimalGRUCell(UNITS),
        lambda w, x, s: gru_before(w, x, s, keep=False),
        1,
    ),
    "gru, z keeps the state": (lambda: nn.MinimalGRUCell(UNITS, keep="state"), gru_before, 1),
    "gru, reset of the product": (
        lambda: nn.MinimalGRUCell(UNITS, reset="product", keep="state"),
        gru_product,
        1,
    ),
    "memory, soft": (lambda: nn.MemoryCell(UNITS), lambda w, x, s: memory(w, x, s, False), 1),
    "memory, hard": (lambda: nn.MemoryCell(UNITS, hard=True), lambda w, x, s: memory(w, x, s, True), 1),
}


# -- the loop ----------------------------------------------------------------------------------------------------------


def unrolled(
    formula: Callable[..., Any],
    w: Any,
    x: Any,
    states: list[Any],
    *,
    mask: Any = None,
    back: bool = False,
    zero: bool = False,
) -> tuple[list[Any], list[Any]]:
    """Outputs in the order in which they are made, and the last state: Keras' rules for masked steps."""
    outputs: list[Any] = []
    for t in reversed(range(x.shape[1])) if back else range(x.shape[1]):
        out, after = formula(w, x[:, t], states)
        if mask is not None:
            here = mask[:, t, None]
            before = outputs[-1] if outputs and not zero else torch.zeros_like(out)
            out = torch.where(here, out, before)
            after = [torch.where(here, new, old) for new, old in zip(after, states, strict=True)]
        outputs.append(out)
        states = after
    return outputs, states


def zeros(x: Any, parts: int, units: int = UNITS) -> list[Any]:
    return [torch.zeros(x.shape[0], units, dtype=x.dtype) for _ in range(parts)]


def one_direction() -> list[Case]:
    cases = []
    for name, kind in KINDS.items():
        for sequences in (False, True):
            for back in (False, True):
                for masking in ("none", "mask", "lengths", "initial state"):
                    options = {
                        "return_sequences": sequences,
                        "return_state": masking != "lengths",
                        "go_backwards": back,
                        **kind.options,
                    }

                    def reference(
                        w: Any, x: Any, *more: Any, k: Kind = kind, o: Any = options, m: str = masking
                    ) -> Any:
                        kept = None
                        if m == "mask":
                            kept = more[0]
                        elif m == "lengths":
                            kept = torch.arange(x.shape[1]) < more[0][:, None]
                        states = list(more[1:]) if m == "initial state" else zeros(x, k.parts)
                        kept = more[0] if m == "initial state" else kept
                        outputs, last = unrolled(k.formula, w, x, states, mask=kept, back=o["go_backwards"])
                        result = torch.stack(outputs, 1) if o["return_sequences"] else outputs[-1]
                        return [result, *last] if o["return_state"] else result

                    def call(layer: Any, x: Any, *more: Any, m: str = masking) -> Any:
                        if m == "mask":
                            return layer(x, mask=more[0])
                        if m == "lengths":
                            return layer(x, lengths=more[0])
                        if m == "initial state":
                            return layer(x, mask=more[0], initial_state=list(more[1:]))
                        return layer(x)

                    mask = _rng.random((BATCH, TIME)) > 0.4
                    more: tuple[Array, ...] = ()
                    if masking == "mask":
                        more = (mask,)
                    elif masking == "lengths":
                        more = (np.array([1, TIME]),)
                    elif masking == "initial state":
                        more = (mask, *(draw(BATCH, UNITS) for _ in range(kind.parts)))
                    cases.append(
                        Case(
                            f"{name}, sequences {sequences}, backwards {back}, {masking}",
                            lambda k=kind, o=options: k.layer(UNITS, **o),
                            reference,
                            (draw(BATCH, TIME, FEATURES), *more),
                            call,
                        )
                    )
    return cases


def merged(mode: str | None, ahead: Any, back: Any) -> Any:
    if mode is None:
        return [ahead, back]
    if mode == "concat":
        return torch.cat([ahead, back], -1)
    return {"sum": ahead + back, "mul": ahead * back, "ave": (ahead + back) / 2}[mode]


def both_directions() -> list[Case]:
    cases = []
    for name, kind in KINDS.items():
        for mode in ("concat", "sum", "mul", "ave", None):
            for sequences in (False, True):
                masked = bool(_rng.integers(2))
                options = {"return_sequences": sequences, "return_state": mode == "sum", **kind.options}

                def reference(w: Any, x: Any, *more: Any, k: Kind = kind, o: Any = options, m: Any = mode) -> Any:
                    halves = []
                    for direction in ("forward", "backward"):
                        own = {key.rsplit("/", 1)[1]: v for key, v in w.items() if key.startswith(direction)}
                        outputs, last = unrolled(
                            k.formula,
                            own,
                            x,
                            zeros(x, k.parts),
                            mask=more[0] if more else None,
                            back=direction == "backward",
                            zero=o["return_sequences"],
                        )
                        if direction == "backward" and o["return_sequences"]:
                            outputs.reverse()
                        halves.append((torch.stack(outputs, 1) if o["return_sequences"] else outputs[-1], last))
                    (ahead, first), (back, second) = halves
                    result = merged(m, ahead, back)
                    return [result, *first, *second] if o["return_state"] else result

                cases.append(
                    Case(
                        f"both, {name}, {mode}, sequences {sequences}, masked {masked}",
                        lambda k=kind, o=options, m=mode: nn.Bidirectional(k.layer(UNITS, **o), merge_mode=m),
                        reference,
                        (draw(BATCH, TIME, FEATURES), *((_rng.random((BATCH, TIME)) > 0.4,) if masked else ())),
                        lambda layer, x, *mask: layer(x, mask=mask[0] if mask else None),
                    )
                )
    return cases


def stacks() -> list[Case]:
    cases = []
    names = list(KINDS)
    for number in range(16):
        chosen = [str(name) for name in _rng.choice(names, size=int(_rng.integers(2, 4)))]
        masked = bool(number % 2)
        kinds = [KINDS[name] for name in chosen]

        def make(kinds: Any = kinds) -> nn.Layer:
            cells = [kind.cell(UNITS, name=f"cell_{place}", **kind.options) for place, kind in enumerate(kinds)]
            return nn.RNN(cells, return_sequences=True)

        def reference(w: Any, x: Any, *mask: Any, kinds: Any = kinds) -> Any:
            def stacked(w: Any, x: Any, states: Any) -> Any:
                following, offset = [], 0
                for place, kind in enumerate(kinds):
                    own = {key.rsplit("/", 1)[1]: v for key, v in w.items() if f"cell_{place}/" in key}
                    x, after = kind.formula(own, x, states[offset : offset + kind.parts])
                    following += after
                    offset += kind.parts
                return x, following

            parts = sum(kind.parts for kind in kinds)
            outputs, _ = unrolled(stacked, w, x, zeros(x, parts), mask=mask[0] if mask else None)
            return torch.stack(outputs, 1)

        cases.append(
            Case(
                f"stack {number}: {', '.join(chosen)}, masked {masked}",
                make,
                reference,
                (draw(BATCH, TIME, FEATURES), *((_rng.random((BATCH, TIME)) > 0.4,) if masked else ())),
                lambda layer, x, *mask: layer(x, mask=mask[0] if mask else None),
            )
        )
    return cases


def own_cells() -> list[Case]:
    cases = []
    for name, (make, formula, parts) in OWN_CELLS.items():
        for back in (False, True):

            def reference(w: Any, x: Any, f: Any = formula, p: int = parts, back: bool = back) -> Any:
                own = {key.rsplit("/", 1)[1]: value for key, value in w.items()}
                outputs, last = unrolled(f, own, x, zeros(x, p), back=back)
                return [torch.stack(outputs, 1), *last]

            cases.append(
                Case(
                    f"{name}, backwards {back}",
                    lambda m=make, back=back: nn.RNN(m(), True, True, go_backwards=back),
                    reference,
                    (draw(BATCH, TIME, FEATURES),),
                )
            )
    return cases


CASES = [*one_direction(), *both_directions(), *stacks(), *own_cells()]
COMPILED = {case.label for case in CASES[::23]}


def test_there_are_enough() -> None:
    assert len(CASES) >= 150
    assert len({case.label for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_layer(case: Case) -> None:
    compare(case, backends=("numpy", "llvm") if case.label in COMPILED else ())


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_layers_of_torch(kind: str) -> None:
    """PyTorch's own two-directional layers, whose packed sequences are our lengths."""
    layer = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.SimpleRNN}[kind]
    order = {"LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2], "RNN": [0]}[kind]

    def rows(array: Any) -> Any:
        return torch.cat([array.chunk(len(order), -1)[gate] for gate in order], -1)

    def reference(w: Any, x: Any, lengths: Any) -> Any:
        theirs = getattr(torch.nn, kind)(FEATURES, UNITS, batch_first=True, bidirectional=True, dtype=torch.float64)
        values = {}
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            own = {key.rsplit("/", 1)[1]: value for key, value in w.items() if key.startswith(direction)}
            bias = own["bias"] if own["bias"].ndim == 2 else torch.stack([own["bias"], torch.zeros_like(own["bias"])])
            values[f"weight_ih_l0{suffix}"] = rows(own["kernel"]).T
            values[f"weight_hh_l0{suffix}"] = rows(own["recurrent_kernel"]).T
            values[f"bias_ih_l0{suffix}"], values[f"bias_hh_l0{suffix}"] = rows(bias[0]), rows(bias[1])
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = torch.func.functional_call(theirs, values, (packed,))
        return torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=TIME)[0]

    case = Case(
        f"torch {kind}",
        lambda: nn.Bidirectional(layer(UNITS, return_sequences=True)),
        reference,
        (draw(3, TIME, FEATURES), np.array([2, TIME, 1])),
        lambda own, x, lengths: own(x, lengths=lengths),
    )
    compare(case)
