"""Recurrent cells and the loop over them in torch, as Keras defines them (and papers those that Keras has not)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

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
    """A cell of Keras: the names of its layer and of the cell, its formula, the parts of its state, its arguments."""

    layer: str
    formula: Callable[..., Any]
    parts: int = 1
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """As a dict."""
        return dict(self.options)


KINDS = {
    "simple": Kind("SimpleRNN", simple),
    "simple without bias": Kind("SimpleRNN", simple, options=(("use_bias", False),)),
    "lstm": Kind("LSTM", lstm, 2),
    "lstm without bias": Kind("LSTM", lstm, 2, (("use_bias", False),)),
    "gru": Kind("GRU", gru_after),
    "gru without bias": Kind("GRU", gru_after, options=(("use_bias", False),)),
    "gru reset before": Kind("GRU", gru_before, options=(("reset_after", False),)),
    "gru reset before, without bias": Kind("GRU", gru_before, options=(("reset_after", False), ("use_bias", False))),
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
    """Outputs in the order in which they are made, and the last state: Keras' rules for masked steps.

    Args:
        formula: of the cell.
        w: its weights.
        x: (batch, time, features).
        states: at the start.
        mask: (batch, time).
        back: whether the last step comes first.
        zero: whether a masked step gives zeros, and not the output of the step before.
    """
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


def below(w: Any, prefix: str) -> dict[str, Any]:
    """The weights whose names have ``prefix`` in them, by their last name."""
    return {name.rsplit("/", 1)[-1]: value for name, value in w.items() if prefix in name}


def stacked(kinds: list[Kind]) -> Callable[..., Any]:
    """Cells called ``cell_0``, ``cell_1``, … on top of each other, as the formula of one."""

    def formula(w: Any, x: Any, states: Any) -> Any:
        following, offset = [], 0
        for place, kind in enumerate(kinds):
            x, after = kind.formula(below(w, f"cell_{place}/"), x, states[offset : offset + kind.parts])
            following += after
            offset += kind.parts
        return x, following

    return formula


def merged(mode: str | None, ahead: Any, back: Any) -> Any:
    """The outputs of both directions as one."""
    if mode is None:
        return [ahead, back]
    if mode == "concat":
        return torch.cat([ahead, back], -1)
    return {"sum": ahead + back, "mul": ahead * back, "ave": (ahead + back) / 2}[mode]
