"""Layers without a time loop against torch: its own functions where it has them, else a transcription of Keras'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import graphc as G
from graphc import nn
from tests.oracle.nn_parity import Array, Case, compare, first, last

pytestmark = pytest.mark.oracle
F = torch.nn.functional
_rng = np.random.default_rng(0)


def draw(*shape: int) -> Array:
    return _rng.normal(size=shape)


def normalization_cases() -> list[Case]:
    def batch_norm(w: Any, x: Any, training: bool, axis: int = -1) -> Any:
        moved = x.movedim(axis, 1)
        made = F.batch_norm(
            moved,
            w["moving_mean"].detach().clone(),
            w["moving_variance"].detach().clone(),
            w["gamma"],
            w["beta"],
            training,
            eps=1e-3,
        )
        return made.movedim(1, axis)

    cases = [
        Case(
            f"batch normalization axis {axis} training {training}",
            lambda a=axis: nn.BatchNormalization(axis=a),
            lambda w, x, t=training, a=axis: batch_norm(w, x, t, a),
            (draw(*shape),),
            training=training,
        )
        for training in (False, True)
        for axis, shape in ((-1, (5, 3)), (-1, (3, 4, 5, 2)), (1, (3, 4, 5)))
    ]

    def masked(w: Any, x: Any, mask: Any) -> Any:
        kept = mask[..., None].to(x.dtype)
        count = kept.expand_as(x).sum((0, 1)) + 1e-7
        mean = (kept * x).sum((0, 1)) / count
        variance = (kept * (x - mean) ** 2).sum((0, 1)) / count
        return (x - mean) / torch.sqrt(variance + 1e-3) * w["gamma"] + w["beta"]

    cases.append(
        Case(
            "batch normalization masked",
            nn.BatchNormalization,
            masked,
            (draw(4, 5, 3), _rng.random((4, 5)) > 0.3),
            call=lambda layer, x, mask: layer(x, mask=mask),
            training=True,
        )
    )
    cases += [
        Case(
            f"layer normalization {axes}",
            lambda a=axes: nn.LayerNormalization(axis=a),
            lambda w, x, a=axes: F.layer_norm(x, x.shape[-len(a) :], w["gamma"], w["beta"], 1e-3),
            (draw(3, 4, 5),),
        )
        for axes in ((-1,), (1, 2))
    ]
    cases.append(
        Case(
            "group normalization",
            lambda: nn.GroupNormalization(2),
            lambda w, x: last(F.group_norm(first(x), 2, w["gamma"], w["beta"], 1e-3)),
            (draw(3, 4, 5, 6),),
        )
    )
    cases.append(
        Case(
            "RMS normalization",
            nn.RMSNormalization,
            lambda w, x: F.rms_norm(x, (5,), w["scale"], 1e-6),
            (draw(3, 5),),
        )
    )
    cases.append(
        Case("unit normalization", nn.UnitNormalization, lambda w, x: F.normalize(x, dim=-1), (draw(3, 4, 5),))
    )
    return cases


def torch_cases() -> list[Case]:
    image, sound = draw(2, 4, 7, 6), draw(2, 4, 9)
    cases = [
        Case("Linear", lambda: nn.Linear(5, 3), lambda w, x: F.linear(x, w["weight"], w["bias"]), (draw(2, 4, 5),)),
        Case(
            "Conv2d",
            lambda: nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2),
            lambda w, x: F.conv2d(x, w["weight"], w["bias"], 2, 1, 1, 2),
            (image,),
        ),
        Case(
            "Conv1d",
            lambda: nn.Conv1d(4, 6, 3, dilation=2, bias=False),
            lambda w, x: F.conv1d(x, w["weight"], None, dilation=2),
            (sound,),
        ),
        Case(
            "Conv3d",
            lambda: nn.Conv3d(4, 2, 2),
            lambda w, x: F.conv3d(x, w["weight"], w["bias"]),
            (draw(1, 4, 3, 4, 3),),
        ),
        Case(
            "ConvTranspose2d",
            lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
            lambda w, x: F.conv_transpose2d(x, w["weight"], w["bias"], 2, 1, 1, 2),
            (image,),
        ),
        Case(
            "ConvTranspose1d",
            lambda: nn.ConvTranspose1d(4, 2, 4, stride=3),
            lambda w, x: F.conv_transpose1d(x, w["weight"], w["bias"], 3),
            (sound,),
        ),
        Case("MaxPool2d", lambda: nn.MaxPool2d(3, 2, 1), lambda w, x: F.max_pool2d(x, 3, 2, 1), (image,)),
        Case("AvgPool2d", lambda: nn.AvgPool2d(3, 2, 1), lambda w, x: F.avg_pool2d(x, 3, 2, 1), (image,)),
        Case(
            "AvgPool1d",
            lambda: nn.AvgPool1d(2, padding=1, count_include_pad=False),
            lambda w, x: F.avg_pool1d(x, 2, padding=1, count_include_pad=False),
            (sound,),
        ),
        Case(
            "LayerNorm",
            lambda: nn.LayerNorm((4, 9)),
            lambda w, x: F.layer_norm(x, (4, 9), w["weight"], w["bias"]),
            (sound,),
        ),
    ]
    for training in (False, True):
        for kind, x in ((nn.BatchNorm1d, sound), (nn.BatchNorm1d, draw(5, 4)), (nn.BatchNorm2d, image)):
            cases.append(
                Case(
                    f"{kind.__name__} training {training}",
                    lambda k=kind: k(4),
                    lambda w, x, t=training: F.batch_norm(
                        x,
                        w["running_mean"].detach().clone(),
                        w["running_var"].detach().clone(),
                        w["weight"],
                        w["bias"],
                        t,
                    ),
                    (x,),
                    training=training,
                )
            )
    return cases


def activation_cases() -> list[Case]:
    table = {
        nn.ReLU: F.relu,
        nn.ELU: F.elu,
        nn.SELU: F.selu,
        nn.GELU: F.gelu,
        nn.SiLU: F.silu,
        nn.Sigmoid: torch.sigmoid,
        nn.Tanh: torch.tanh,
        nn.Softplus: F.softplus,
        nn.Softsign: F.softsign,
        nn.LogSoftmax: lambda x: F.log_softmax(x, -1),
        nn.LogSigmoid: F.logsigmoid,
        # torch's own hardsigmoid and hardswish multiply gradients by 1/6 in float32.
        nn.HardSigmoid: lambda x: (x / 6 + 0.5).clamp(0, 1),
        nn.HardTanh: F.hardtanh,
        nn.HardSwish: lambda x: x * (x / 6 + 0.5).clamp(0, 1),
        nn.ReLU6: F.relu6,
        nn.Softmax: lambda x: F.softmax(x, -1),
        nn.LeakyReLU: lambda x: F.leaky_relu(x, 0.3),
        nn.Identity: lambda x: x,
    }
    cases = [
        Case(kind.__name__, kind, lambda w, x, f=function: f(x), (3 * draw(4, 5),)) for kind, function in table.items()
    ]
    cases.append(
        Case(
            "ReLU with arguments",
            lambda: nn.ReLU(1.0, 0.1, 0.2),
            lambda w, x: torch.where(x > 0.2, x, 0.1 * (x - 0.2)).clamp(max=1.0),
            (2 * draw(4, 5),),
        )
    )
    cases.append(
        Case(
            "PReLU",
            lambda: nn.PReLU(shared_axes=[1]),
            lambda w, x: torch.where(x > 0, x, w["alpha"] * x),
            (draw(2, 3, 4),),
        )
    )
    return cases


def merge_cases() -> list[Case]:
    a, b, c = draw(2, 3, 4), draw(2, 3, 4), draw(2, 4)
    return [
        Case("Add", nn.Add, lambda w, *x: x[0] + x[1] + x[2][:, None], (a, b, c)),
        Case("Subtract", nn.Subtract, lambda w, *x: x[0] - x[1], (a, b)),
        Case("Multiply", nn.Multiply, lambda w, *x: x[0] * x[1] * x[2][:, None], (a, b, c)),
        Case("Average", nn.Average, lambda w, *x: (x[0] + x[1]) / 2, (a, b)),
        Case("Maximum", nn.Maximum, lambda w, *x: torch.maximum(*x), (a, b)),
        Case("Minimum", nn.Minimum, lambda w, *x: torch.minimum(*x), (a, b)),
        Case("Concatenate", lambda: nn.Concatenate(1), lambda w, *x: torch.cat(x, 1), (a, b)),
        Case("Dot", lambda: nn.Dot(2), lambda w, *x: torch.einsum("bif,bjf->bij", *x), (a, b)),
        Case(
            "Dot of rank 2",
            lambda: nn.Dot(1, normalize=True),
            lambda w, *x: F.cosine_similarity(*x)[:, None],
            (c, c + 1),
        ),
    ]


def attention_cases() -> list[Case]:
    query, value, keys = draw(2, 4, 6), draw(2, 5, 6), draw(2, 5, 6)
    allowed = _rng.random((2, 4, 5)) > 0.3
    allowed[..., 0] = True

    def heads(w: Any, q: Any, v: Any, k: Any = None, mask: Any = None, causal: bool = False) -> Any:
        k = v if k is None else k
        parts = [
            torch.einsum("btf,fhd->bhtd", x, w[f"{name}/kernel"]) + w[f"{name}/bias"][:, None]
            for name, x in (("query", q), ("key", k), ("value", v))
        ]
        bias = mask[:, None] if mask is not None else None
        if causal:
            bias = torch.ones(q.shape[1], v.shape[1], dtype=torch.bool).tril()
        made = F.scaled_dot_product_attention(*parts, attn_mask=bias)
        return torch.einsum("bhtd,hdf->btf", made, w["attention_output/kernel"]) + w["attention_output/bias"]

    def additive(w: Any, q: Any, v: Any) -> Any:
        scores = (w["scale"] * torch.tanh(q[:, :, None] + v[:, None])).sum(-1)
        return F.softmax(scores, -1) @ v

    def make() -> nn.Layer:
        return nn.MultiHeadAttention(2, 3, value_dim=4)

    return [
        Case(
            "Attention",
            nn.Attention,
            lambda w, q, v: F.scaled_dot_product_attention(q, v, v, scale=1.0),
            (query, value),
        ),
        Case(
            "Attention with scale and keys",
            lambda: nn.Attention(use_scale=True),
            lambda w, q, v, k: F.softmax(w["scale"] * q @ k.mT, -1) @ v,
            (query, value, keys),
        ),
        Case(
            "Attention, causal",
            nn.Attention,
            lambda w, q, v: F.scaled_dot_product_attention(q, v, v, is_causal=True, scale=1.0),
            (query, value[:, :4]),
            call=lambda layer, *x: layer(list(x), use_causal_mask=True),
        ),
        Case("AdditiveAttention", nn.AdditiveAttention, additive, (query, value)),
        Case("MultiHeadAttention", make, heads, (query, value), call=lambda layer, q, v: layer(q, v)),
        Case("MultiHeadAttention, keys", make, heads, (query, value, keys), call=lambda layer, q, v, k: layer(q, v, k)),
        Case(
            "MultiHeadAttention, mask",
            make,
            lambda w, q, v, m: heads(w, q, v, mask=m),
            (query, value, allowed),
            call=lambda layer, q, v, m: layer(q, v, attention_mask=m),
        ),
        Case(
            "MultiHeadAttention, causal",
            make,
            lambda w, q, v: heads(w, q, v, causal=True),
            (query, value),
            call=lambda layer, q, v: layer(q, v, use_causal_mask=True),
        ),
    ]


CASES = [*normalization_cases(), *torch_cases(), *activation_cases(), *merge_cases(), *attention_cases()]
COMPILED = {
    "Dense",
    "Conv2d",
    "ConvTranspose2d",
    "MultiHeadAttention, mask",
    "batch normalization axis -1 training True",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_layer(case: Case) -> None:
    compare(case, backends=("numpy", "llvm") if case.label in COMPILED else ())


def test_moving_statistics() -> None:
    from graphc.ir.interp import evaluate

    x = G.input("x", (6, 4, 3), "float64")
    layers = [nn.BatchNorm1d(4), nn.BatchNormalization(axis=1, momentum=0.9)]
    step = G.Step([layer(x) for layer in layers], training=True)
    data = draw(6, 4, 3)
    _, after = evaluate(G.Model(run=step).entries["run"], [data])
    theirs = torch.nn.BatchNorm1d(4, dtype=torch.float64)
    theirs(torch.tensor(data))
    np.testing.assert_allclose(after["batch_norm1d/running_mean"], theirs.running_mean, rtol=1e-12)
    np.testing.assert_allclose(after["batch_norm1d/running_var"], theirs.running_var, rtol=1e-12)
    np.testing.assert_allclose(after["batch_normalization/moving_mean"], theirs.running_mean, rtol=1e-12)
    expected = 0.9 + 0.1 * data.var((0, 2))
    np.testing.assert_allclose(after["batch_normalization/moving_variance"], expected, rtol=1e-12)
