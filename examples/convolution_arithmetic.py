"""What a convolution computes, number by number, and how large its result is.

A filter is laid over the image, window by window; each output is the sum of what lies under the filter, each number
times the filter's.  (The filter is not turned over: what deep learning calls a convolution is a cross-correlation.)
Along an axis of n numbers, a filter of k, with padding p on each side, stride s and dilation d, has

    ⌊(n + 2p − d(k − 1) − 1) / s⌋ + 1

places.  The small image below can be checked by hand; the sizes are those of 32×32×3 images.

    graphc compile examples/convolution_arithmetic.py
    python examples/convolution_arithmetic.py
"""

from __future__ import annotations

import numpy as np

import graphc as G

IMAGE = np.array([list(row) for row in ("13524", "60213", "63136", "73213", "53002")], "float32")
FILTER = np.array([[0.2, 0.7], [-0.5, 0.7]], "float32")

VARIANTS = {
    "plain": {},
    "stride": {"strides": 3},
    "padding": {"padding": 2},
    "same": {"padding": "same"},
    "dilation": {"dilation": 2},
    "all": {"strides": 2, "padding": 1, "dilation": 3},
}
"""Ways to lay six filters of 5×5×3 over an image; ``groups`` below has filters of another depth."""


def model(size: int = 32) -> G.Model:
    """The small convolution, and a large one laid out in every way."""
    small = G.input("image", (1, 5, 5, 1))
    kernel = G.parameter("filter", FILTER[:, :, None, None])
    images = G.input("images", (1, size, size, 3))
    filters = G.parameter("filters", "glorot_uniform", shape=(5, 5, 3, 6))
    each = G.parameter("filters_of_one_channel", "glorot_uniform", shape=(5, 5, 1, 6))
    laid = {name: G.conv2d(images, filters, **options) for name, options in VARIANTS.items()}
    laid["groups"] = G.conv2d(images, each, groups=3)
    laid["transposed"] = G.conv2d_transpose(laid["plain"], filters)
    return G.Model(convolve=G.conv2d(small, kernel)[0, :, :, 0], layouts=laid)


def places(n: int, k: int = 5, strides: int = 1, padding: int | str = 0, dilation: int = 1) -> int:
    """The formula above; ``"same"`` pads so that only the stride counts."""
    if padding == "same":
        return -(-n // strides)
    return (n + 2 * padding - dilation * (k - 1) - 1) // strides + 1


def main() -> int:
    """Work the first row out, print all of it, and the sizes."""
    m = G.compile(model())
    result = m.convolve(IMAGE[None, :, :, None])
    for column in range(2):
        window = IMAGE[:2, column : column + 2]
        terms = " + ".join(f"{f:g}·{value:g}" for f, value in zip(FILTER.ravel(), window.ravel(), strict=True))
        print(f"window {column}: {terms} = {result[0, column]:.1f}")
    print("\n" + "\n".join(" ".join(f"{value:5.1f}" for value in row) for row in result))

    made = m.layouts(np.zeros((1, 32, 32, 3), "float32"))
    right = True
    print("\nsix 5×5 filters over 32×32×3:")
    for name, array in made.items():
        options = VARIANTS.get(name, {})
        expected = 32 if name == "transposed" else places(32, **options)
        right = right and array.shape[1:3] == (expected, expected)
        note = ", ".join(f"{option} {value}" for option, value in options.items())
        note = {"groups": "groups 3: two filters for each channel", "transposed": "plain, and back"}.get(name, note)
        print(f"  {'×'.join(map(str, array.shape[1:])):<9} {note or 'side by side'}")
    first = [f"{value:.1f}" for value in result[0, :2]]
    return 0 if right and first == ["-0.7", "5.5"] and made["plain"].shape == (1, 28, 28, 6) else 1


if __name__ == "__main__":
    raise SystemExit(main())
