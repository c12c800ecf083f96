"""Layers without a window and without a loop over time: products, rearrangements, activations, merges, attention."""

from __future__ import annotations

from typing import Any

import torch

from tests.oracle.nn_parity import Case
from tests.oracle.random_cases import Draw, layer, random_cases

F = torch.nn.functional

ACTIVATIONS = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "elu": F.elu,
    "selu": F.selu,
    "silu": F.silu,
    "gelu": F.gelu,
    "softsign": F.softsign,
    "softmax": lambda x: F.softmax(x, -1),
    "exponential": torch.exp,
    "linear": lambda x: x,
}


@random_cases("Dense", count=8)
def dense(d: Draw) -> Case:
    name, bias = d.one_of(*ACTIVATIONS), d.flag()
    shape = (*d.sizes(d.size(1, 3)), d.size())
    return layer(
        "Dense",
        {"units": d.size(1), "activation": name, "use_bias": bias},
        lambda w, x: ACTIVATIONS[name](x @ w["kernel"] + w.get("bias", 0)),
        d.array(*shape),
    )


@random_cases("Activation", count=6)
def activation(d: Draw) -> Case:
    name = d.one_of(*ACTIVATIONS)
    return layer("Activation", {"activation": name}, lambda w, x: ACTIVATIONS[name](x), d.array(3, 4))


@random_cases("Identity", count=1)
def identity(d: Draw) -> Case:
    return layer("Identity", {}, lambda w, x: x, d.array(3, 4))


@random_cases("Embedding", count=5)
def embedding(d: Draw) -> Case:
    rows = d.size(3, 8)
    indices = d.rng.integers(0, rows, size=d.sizes(d.size(1, 3)))
    return layer(
        "Embedding",
        {"input_dim": rows, "output_dim": d.size(1), "mask_zero": d.flag()},
        lambda w, x: F.embedding(x, w["embeddings"]),
        indices,
    )


@random_cases("Flatten", "Reshape", "Permute", "RepeatVector", count=3)
def rearrangement(d: Draw, name: str) -> Case:
    shape = d.sizes(4)
    if name == "Flatten":
        return layer(name, {}, lambda w, x: x.flatten(1), d.array(*shape))
    if name == "Reshape":
        target = (shape[3], -1) if d.flag() else (shape[1] * shape[2], shape[3])
        return layer(name, {"target_shape": target}, lambda w, x: x.reshape(len(x), *target), d.array(*shape))
    if name == "Permute":
        dims = tuple(int(axis) for axis in d.rng.permutation([1, 2, 3]))
        return layer(name, {"dims": dims}, lambda w, x: x.permute(0, *dims), d.array(*shape))
    count = d.size()
    return layer(name, {"n": count}, lambda w, x: x[:, None].expand(-1, count, -1), d.array(*shape[:2]))


@random_cases("Masking", count=3)
def masking(d: Draw) -> Case:
    value = d.one_of(0.0, -1.0)
    data = d.array(3, 5, 2)
    data[~d.mask(3, 5)] = value
    return layer("Masking", {"mask_value": value}, lambda w, x: x * (x != value).any(-1, keepdim=True), data)


# -- activations as layers ---------------------------------------------------------------------------------------------

PLAIN = {
    "SELU": F.selu,
    "SiLU": F.silu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "LogSigmoid": F.logsigmoid,
    # torch's own hardsigmoid and hardswish multiply gradients by 1/6 in float32.
    "HardSigmoid": lambda x: (x / 6 + 0.5).clamp(0, 1),
    "HardTanh": F.hardtanh,
    "HardSwish": lambda x: x * (x / 6 + 0.5).clamp(0, 1),
    "ReLU6": F.relu6,
    "Step": lambda x: (x > 0).to(x.dtype),
}


@random_cases(*PLAIN, count=2)
def plain_activation(d: Draw, name: str) -> Case:
    x = d.array(*d.sizes(d.size(1, 4)), scale=4.0)
    # Times x, because a step by itself has no derivative to compare.
    return layer(name, {}, lambda w, x: PLAIN[name](x) * x, x, call=lambda made, x: made(x) * x, keras=False)


@random_cases("ReLU", "LeakyReLU", "ELU", "GELU", "PReLU", "Softmax", "LogSoftmax", count=4)
def activation_with_arguments(d: Draw, name: str) -> Case:
    x = d.array(*d.sizes(3), scale=2.0)
    if name == "ReLU":
        top, slope, low = d.one_of(None, 1.5), d.number_in(0, 0.5), d.number_in(0, 0.5)
        return layer(
            name,
            {"max_value": top, "negative_slope": slope, "threshold": low},
            lambda w, x: (
                torch.where(x > low, x, slope * (x - low)).clamp(max=top)
                if top
                else torch.where(x > low, x, slope * (x - low))
            ),
            x,
        )
    if name == "LeakyReLU":
        slope = d.number_in(0.05, 0.5)
        return layer(name, {"negative_slope": slope}, lambda w, x: F.leaky_relu(x, slope), x)
    if name == "ELU":
        alpha = d.number_in(0.5, 2)
        return layer(name, {"alpha": alpha}, lambda w, x: F.elu(x, alpha), x)
    if name == "GELU":
        form = d.one_of("none", "tanh")
        return layer(name, {"approximate": form}, lambda w, x: F.gelu(x, approximate=form), x, keras=False)
    if name == "PReLU":
        shared = d.one_of(None, [1], [1, 2])
        return layer(name, {"shared_axes": shared}, lambda w, x: torch.where(x > 0, x, w["alpha"] * x), x)
    axis = d.one_of(-1, 1, 2)
    if name == "LogSoftmax":
        return layer(name, {"axis": axis}, lambda w, x: F.log_softmax(x, axis), x, keras=False)
    return layer(name, {"axis": axis}, lambda w, x: F.softmax(x, axis), x)


# -- merges ------------------------------------------------------------------------------------------------------------


def _even(tensors: Any) -> list[Any]:
    """Lower ranks get axes of 1 after the batch."""
    rank = max(x.ndim for x in tensors)
    return [x.reshape(len(x), *(1,) * (rank - x.ndim), *x.shape[1:]) for x in tensors]


def _total(w: Any, *x: Any) -> Any:
    return sum(_even(x)[1:], _even(x)[0])


def _product(w: Any, *x: Any) -> Any:
    result = _even(x)[0]
    for other in _even(x)[1:]:
        result = result * other
    return result


@random_cases("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", count=3)
def merge(d: Draw, name: str) -> Case:
    shape = d.sizes(3)
    count = 2 if name == "Subtract" else d.size(2, 4)
    tensors = [d.array(*shape) for _ in range(count)]
    if name in ("Add", "Multiply", "Average") and d.flag():
        tensors[-1] = d.array(shape[0], shape[2])
    if name == "Concatenate":
        axis = d.one_of(1, 2, -1)
        tensors[0] = d.array(*(size + (place == axis % 3) for place, size in enumerate(shape)))
        return layer(name, {"axis": axis}, lambda w, *x: torch.cat(x, axis), *tensors)
    references = {
        "Add": _total,
        "Subtract": lambda w, a, b: a - b,
        "Multiply": _product,
        "Average": lambda w, *x: _total(w, *x) / len(x),
        "Maximum": lambda w, *x: torch.stack(x).amax(0),
        "Minimum": lambda w, *x: torch.stack(x).amin(0),
    }
    return layer(name, {}, references[name], *tensors)


@random_cases("Dot", count=4)
def dot(d: Draw) -> Case:
    batch, steps, others, features = d.sizes(4)
    if d.flag():
        unit = d.flag()
        return layer(
            "Dot",
            {"axes": 1, "normalize": unit},
            lambda w, a, b: (F.cosine_similarity(a, b) if unit else (a * b).sum(-1))[:, None],
            d.array(batch, features),
            d.array(batch, features),
        )
    return layer(
        "Dot",
        {"axes": (2, 1)},
        lambda w, a, b: torch.einsum("bif,bfj->bij", a, b),
        d.array(batch, steps, features),
        d.array(batch, features, others),
    )


# -- normalization -----------------------------------------------------------------------------------------------------


def _normalized(x: Any, axes: tuple[int, ...], epsilon: float) -> Any:
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(axes, keepdim=True) + epsilon)


@random_cases("BatchNormalization", count=8)
def batch_normalization(d: Draw) -> Case:
    rank = d.size(2, 4)
    axis, training, masked = d.one_of(-1, 1), d.flag(), rank == 3 and d.flag()
    scale, center, epsilon = d.flag(), d.flag(), d.number_in(0.01, 0.1)
    axis = -1 if masked else axis

    def reference(w: Any, x: Any, mask: Any = None) -> Any:
        moved = x.movedim(axis, -1)
        mean, variance = w["moving_mean"].detach(), w["moving_variance"].detach()
        if training:
            kept = torch.ones_like(moved) if mask is None else mask[..., None].to(x.dtype).expand_as(moved)
            others = tuple(range(x.ndim - 1))
            count = kept.sum(others) + (0 if mask is None else 1e-7)
            mean = (kept * moved).sum(others) / count
            variance = (kept * (moved - mean) ** 2).sum(others) / count
        made = (moved - mean) / torch.sqrt(variance + epsilon) * w.get("gamma", 1) + w.get("beta", 0)
        return made.movedim(-1, axis)

    data = d.array(*d.sizes(rank, 3, 5))
    arguments = {"axis": axis, "scale": scale, "center": center, "epsilon": epsilon}
    if not masked:
        return layer("BatchNormalization", arguments, reference, data, training=training)
    return layer(
        "BatchNormalization",
        arguments,
        reference,
        data,
        d.mask(*data.shape[:2]),
        training=training,
        call=lambda made, x, mask: made(x, mask=mask),
    )


@random_cases("LayerNormalization", count=5)
def layer_normalization(d: Draw) -> Case:
    axes, scale, center = d.one_of((-1,), (1, 2), (2,), (1,)), d.flag(), d.flag()
    x = d.array(*d.sizes(3))
    shape = [size if place in {axis % 3 for axis in axes} else 1 for place, size in enumerate(x.shape)]

    def reference(w: Any, x: Any) -> Any:
        gamma, beta = (w[name].reshape(shape) if name in w else start for name, start in (("gamma", 1), ("beta", 0)))
        return _normalized(x, axes, 1e-3) * gamma + beta

    arguments = {"axis": list(axes), "scale": scale, "center": center}
    # Keras on torch knows the last axes only.
    return layer("LayerNormalization", arguments, reference, x, keras=axes != (1,))


@random_cases("GroupNormalization", count=4)
def group_normalization(d: Draw) -> Case:
    groups, axis = d.one_of(1, 2, 3, -1), d.one_of(-1, 1)
    shape = [*d.sizes(3), 6] if axis == -1 else [d.size(), 6, *d.sizes(2)]

    def reference(w: Any, x: Any) -> Any:
        moved = x.movedim(axis, 1)
        made = F.group_norm(moved, 6 if groups == -1 else groups, w["gamma"], w["beta"], 1e-3)
        return made.movedim(1, axis)

    return layer("GroupNormalization", {"groups": groups, "axis": axis}, reference, d.array(*shape))


@random_cases("RMSNormalization", "UnitNormalization", count=3)
def other_normalization(d: Draw, name: str) -> Case:
    x = d.array(*d.sizes(3))
    if name == "UnitNormalization":
        axis = d.one_of(-1, 1)
        return layer(name, {"axis": axis}, lambda w, x: F.normalize(x, dim=axis), x)
    return layer(name, {}, lambda w, x: F.rms_norm(x, x.shape[-1:], w["scale"], 1e-6), x)


# -- attention ---------------------------------------------------------------------------------------------------------


@random_cases("Attention", "AdditiveAttention", count=6)
def attention(d: Draw, name: str) -> Case:
    batch, steps, keys, features = d.sizes(4)
    causal, masked, scale, separate = d.flag(), d.flag(), d.flag(), d.flag()
    mode = d.one_of("dot", "concat") if name == "Attention" else "additive"

    def reference(w: Any, q: Any, v: Any, *more: Any) -> Any:
        k = more[0] if separate else v
        if mode == "dot":
            scores = q @ k.mT * w.get("scale", 1)
        else:
            total = q[:, :, None] + k[:, None]
            if mode == "concat":
                scores = w["concat_score_weight"] * torch.tanh(w.get("scale", 1) * total).sum(-1)
            else:
                scores = (w.get("scale", 1) * torch.tanh(total)).sum(-1)
        allowed = (
            torch.ones(scores.shape[1:], dtype=torch.bool).tril() if causal else torch.ones(1, 1, dtype=torch.bool)
        )
        if masked:
            allowed = allowed & more[-1][:, None]
        return F.softmax(torch.where(allowed, scores, scores - 1e9), -1) @ v

    arguments: dict[str, Any] = {"use_scale": scale}
    if name == "Attention":
        arguments["score_mode"] = mode
    inputs = [d.array(batch, steps, features), d.array(batch, keys, features)]
    inputs += [d.array(batch, keys, features)] if separate else []
    inputs += [d.mask(batch, keys)] if masked else []

    def call(made: Any, q: Any, v: Any, *more: Any) -> Any:
        mask = {"mask": [None, more[-1]]} if masked else {}
        return made([q, v, *more[:separate]], use_causal_mask=causal, **mask)

    return layer(name, arguments, reference, *inputs, call=call)


@random_cases("MultiHeadAttention", count=8)
def multi_head_attention(d: Draw) -> Case:
    batch, steps, keys, features = d.sizes(4)
    heads, size, value_size = d.sizes(3, 1, 3)
    bias, causal, masked, separate = d.flag(), d.flag(), d.flag(), d.flag()
    wide = d.one_of(None, 4)

    def reference(w: Any, q: Any, v: Any, *more: Any) -> Any:
        k = more[0] if separate else v
        parts = [
            torch.einsum("btf,fhd->bhtd", x, w[f"{part}/kernel"]) + (w[f"{part}/bias"][:, None] if bias else 0)
            for part, x in (("query", q), ("key", k), ("value", v))
        ]
        allowed = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool)
        allowed = (allowed.tril() if causal else allowed)[None]
        if masked:
            allowed = allowed & more[-1]
        made = F.scaled_dot_product_attention(*parts, attn_mask=allowed[:, None])
        result = torch.einsum("bhtd,hdf->btf", made, w["attention_output/kernel"])
        return result + (w["attention_output/bias"] if bias else 0)

    inputs = [d.array(batch, steps, features), d.array(batch, keys, features)]
    inputs += [d.array(batch, keys, features)] if separate else []
    inputs += [d.mask(batch, steps, keys)] if masked else []

    def call(made: Any, q: Any, v: Any, *more: Any) -> Any:
        given = {"key": more[0]} if separate else {}
        given |= {"attention_mask": more[-1]} if masked else {}
        return made(q, v, use_causal_mask=causal, **given)

    arguments = {"num_heads": heads, "key_dim": size, "value_dim": value_size, "use_bias": bias, "output_shape": wide}
    return layer("MultiHeadAttention", arguments, reference, *inputs, call=call)
