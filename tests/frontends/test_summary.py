"""What ``summary`` says of each layer: work and traffic counted by hand, as formulas where a size is symbolic."""

from collections.abc import Callable
from typing import Any

import pytest
import sympy

from graphc import nn
from graphc.frontends.nn.summary import formula
from graphc.ir.dim import to_sympy

B, T, H, W = sympy.symbols("batch x_1 x_1 x_2", integer=True, positive=True)
T = sympy.Symbol("x_1", integer=True, positive=True)


def row(layer: Callable[[Any], Any], shape: tuple[int | None, ...], dtype: str = "float32") -> Any:
    x = nn.Input(shape, dtype=dtype)
    return next(row for row in nn.Model(x, layer(x)).summary_rows() if row.name != "x")


def same(found: Any, expected: Any) -> None:
    """Equal as formulas, whatever sympy assumes of the symbols."""
    made = to_sympy(found) if not isinstance(found, int) else sympy.Integer(found)
    plain = {symbol: sympy.Symbol(symbol.name) for symbol in (made - expected).free_symbols}
    assert sympy.expand((made - expected).subs(plain)) == 0, (made, expected)


LSTM_STEP = 2 * (5 * 16 + 4 * 16) + 2 * 16 + 12 + 4 + 4 * 5
"""Two products, their sum and the bias, three gates, the candidate; f c, i g, their sum, tanh c', o tanh c'."""

CASES: list[tuple[str, Callable[[Any], Any], tuple[int | None, ...], str, Any, Any]] = [
    ("dense", nn.Dense(8, "relu"), (4,), "float32", B * 8 * (2 * 4 + 1 + 1), 4 * (B * 12 + 40)),
    ("dense over steps", nn.Dense(8), (None, 4), "float32", B * T * 8 * 9, 4 * (B * T * 12 + 40)),
    (
        "convolution",
        nn.Conv2D(6, 3, padding="same", use_bias=False),
        (None, None, 2),
        "float32",
        B * H * W * 6 * 2 * 18,
        4 * (B * H * W * 8 + 108),
    ),
    (
        "convolution without border",
        nn.Conv2D(6, 3),
        (None, None, 2),
        "float32",
        B * (H - 2) * (W - 2) * 6 * 37,
        4 * (B * (H * W * 2 + (H - 2) * (W - 2) * 6) + 114),
    ),
    (
        "strides and groups",
        nn.Conv2D(6, 2, strides=2, groups=2),
        (8, 6, 4),
        "float32",
        B * 12 * 6 * (2 * 8 + 1),
        4 * (B * (8 * 6 * 4 + 12 * 6) + 4 * 2 * 6 + 6),
    ),
    (
        "depthwise",
        nn.DepthwiseConv2D(3, depth_multiplier=2),
        (5, 5, 3),
        "float32",
        B * 9 * 6 * (2 * 9 + 1),
        4 * (B * (75 + 54) + 60),
    ),
    ("transposed", nn.Conv1DTranspose(3, 2, 2), (5, 4), "float32", B * (5 * 4 * 2 * 3 * 2 + 30), 4 * (B * 50 + 27)),
    ("maximum", nn.MaxPooling2D(2), (4, 6, 3), "float32", B * 18 * 4, 4 * B * (72 + 18)),
    ("mean over steps", nn.GlobalAveragePooling1D(), (7, 3), "float32", B * (21 + 3), 4 * B * 24),
    ("table", nn.Embedding(1000, 16), (None,), "int64", 0, B * T * (8 + 64 + 64)),
    ("LSTM", nn.LSTM(4), (6, 5), "float32", B * 6 * LSTM_STEP, 4 * (B * (30 + 4) + 160)),
    (
        "both directions",
        nn.Bidirectional(nn.LSTM(4, return_sequences=True)),
        (6, 5),
        "float32",
        B * 12 * LSTM_STEP,
        4 * (B * (30 + 48) + 320),
    ),
    (
        "GRU",
        nn.GRU(3),
        (6, 8),
        "float32",
        B * 6 * (2 * (8 * 9 + 3 * 9) + 18 + 6 + 6 + 9 + 12),
        4 * (B * 51 + 117),
    ),
    (
        "attention",
        lambda x: nn.Attention()([x, x]),
        (None, 16),
        "float32",
        # Scores, a stable softmax (largest, difference, power, sum, quotient; a choice a row), the sum.
        B * (T * T * (2 * 16 + 5 + 2 * 16) + 2 * T),
        4 * B * T * 32,
    ),
    (
        "several heads",
        lambda x: nn.MultiHeadAttention(2, 8)(x, x),
        (None, 16),
        "float32",
        B * (T * T * 2 * (16 + 5 + 16) + T * (4 * (2 * 16 * 16 + 16) + 16 + 4)),
        4 * (B * T * 32 + 4 * (256 + 16)),
    ),
    ("dropout", nn.Dropout(0.5), (4,), "float32", 0, 4 * B * 4),
]


@pytest.mark.parametrize(
    ("layer", "shape", "dtype", "flops", "traffic"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_work_and_traffic(layer: Any, shape: Any, dtype: str, flops: Any, traffic: Any) -> None:
    if isinstance(layer, nn.Dropout):
        network = nn.Sequential([nn.Input(shape), layer])
        found = network.summary_rows()[0]
        same(found.flops, flops)
        return
    found = row(layer, shape, dtype)
    same(found.flops, flops)
    same(found.bytes, traffic)


def test_formulas_are_short() -> None:
    found = row(nn.Conv2D(6, 3), (None, None, 2))
    assert formula(found.flops) == "222*batch*(x_1 - 2)*(x_2 - 2)"
    assert formula(row(nn.Dense(8), (None, 4)).flops) == "72*batch*x_1"
    assert formula(1234567) == "1,234,567"


def test_a_shared_layer_counts_its_weights_once_and_its_work_twice() -> None:
    x, y = nn.Input((4,)), nn.Input((4,), name="other")
    dense = nn.Dense(3)
    rows = {row.name: row for row in nn.Model([x, y], nn.Add()([dense(x), dense(y)])).summary_rows()}
    same(rows["dense"].flops, 2 * B * 3 * 9)
    assert sum(state.type.static_size for state in rows["dense"].states) == 15
