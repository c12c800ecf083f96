"""Layers by their names: shapes, weights, masks, statistics, penalties, errors; torch and Keras are not needed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc import nn, optim
from graphc.frontends.dsl.session import graph

Run = Callable[..., Any]
_rng = np.random.default_rng(0)


def count(layer: nn.Layer) -> int:
    return sum(state.type.static_size for state in layer.states)


def weights_of(layer: nn.Layer) -> dict[str, tuple[int, ...]]:
    return {state.name: state.type.static_shape for state in layer.states}


# (how it is made, shape of the input, of the output, weights)
LAYERS: list[tuple[Callable[[], nn.Layer], tuple[int, ...], tuple[int, ...], dict[str, tuple[int, ...]]]] = [
    (lambda: nn.Conv1D(5, 3), (2, 8, 3), (2, 6, 5), {"kernel": (3, 3, 5), "bias": (5,)}),
    (lambda: nn.Conv3D(2, 2), (1, 3, 4, 5, 3), (1, 2, 3, 4, 2), {"kernel": (2, 2, 2, 3, 2), "bias": (2,)}),
    (lambda: nn.Conv2DTranspose(4, 3, 2, "same"), (1, 5, 6, 3), (1, 10, 12, 4), {"kernel": (3, 3, 4, 3), "bias": (4,)}),
    (lambda: nn.Conv1DTranspose(4, 2, 3), (1, 5, 3), (1, 15, 4), {"kernel": (2, 4, 3), "bias": (4,)}),
    (lambda: nn.Conv3DTranspose(1, 2), (1, 2, 2, 2, 3), (1, 3, 3, 3, 1), {"kernel": (2, 2, 2, 1, 3), "bias": (1,)}),
    (
        lambda: nn.SeparableConv2D(6, 3, depth_multiplier=2),
        (1, 5, 5, 3),
        (1, 3, 3, 6),
        {"depthwise_kernel": (3, 3, 3, 2), "pointwise_kernel": (1, 1, 6, 6), "bias": (6,)},
    ),
    (
        lambda: nn.DepthwiseConv2D(3, depth_multiplier=2),
        (1, 5, 5, 3),
        (1, 3, 3, 6),
        {"kernel": (3, 3, 3, 2), "bias": (6,)},
    ),
    (lambda: nn.MaxPooling1D(2), (2, 7, 3), (2, 3, 3), {}),
    (lambda: nn.AveragePooling3D(padding="same"), (2, 3, 3, 3, 1), (2, 2, 2, 2, 1), {}),
    (lambda: nn.GlobalMaxPool2D(keepdims=True), (2, 3, 4, 5), (2, 1, 1, 5), {}),
    (lambda: nn.GlobalAveragePooling3D("channels_first"), (2, 3, 4, 5, 6), (2, 3), {}),
    (lambda: nn.ZeroPadding1D((1, 2)), (2, 3, 4), (2, 6, 4), {}),
    (lambda: nn.ZeroPadding2D((1, 2)), (2, 3, 4, 1), (2, 5, 8, 1), {}),
    (lambda: nn.ZeroPadding3D(), (1, 2, 3, 4, 1), (1, 4, 5, 6, 1), {}),
    (lambda: nn.Cropping2D(((1, 0), (0, 2)), "channels_first"), (1, 2, 4, 5), (1, 2, 3, 3), {}),
    (lambda: nn.Cropping3D(), (1, 3, 4, 5, 2), (1, 1, 2, 3, 2), {}),
    (lambda: nn.UpSampling1D(3), (2, 4, 5), (2, 12, 5), {}),
    (lambda: nn.UpSampling2D((2, 3), interpolation="bilinear"), (1, 2, 2, 3), (1, 4, 6, 3), {}),
    (lambda: nn.UpSampling3D(), (1, 2, 2, 2, 3), (1, 4, 4, 4, 3), {}),
    (lambda: nn.RepeatVector(4), (2, 3), (2, 4, 3), {}),
    (lambda: nn.Flatten(), (2, 3, 4), (2, 12), {}),
    (lambda: nn.Embedding(7, 4), (2, 5), (2, 5, 4), {"embeddings": (7, 4)}),
    (
        lambda: nn.BatchNormalization(),
        (2, 3, 4),
        (2, 3, 4),
        {"gamma": (4,), "beta": (4,), "moving_mean": (4,), "moving_variance": (4,)},
    ),
    (lambda: nn.LayerNormalization([1, 2]), (2, 3, 4), (2, 3, 4), {"gamma": (3, 4), "beta": (3, 4)}),
    (lambda: nn.GroupNormalization(2), (2, 3, 4), (2, 3, 4), {"gamma": (4,), "beta": (4,)}),
    (lambda: nn.PReLU(shared_axes=[1]), (2, 3, 4), (2, 3, 4), {"alpha": (1, 4)}),
    (lambda: nn.Linear(4, 6), (2, 3, 4), (2, 3, 6), {"weight": (6, 4), "bias": (6,)}),
    (
        lambda: nn.Conv2d(in_channels=3, out_channels=4, kernel_size=(3, 2), stride=2),
        (1, 3, 7, 6),
        (1, 4, 3, 3),
        {"weight": (4, 3, 3, 2), "bias": (4,)},
    ),
    (lambda: nn.ConvTranspose2d(3, 4, 2, stride=2), (1, 3, 3, 3), (1, 4, 6, 6), {"weight": (3, 4, 2, 2), "bias": (4,)}),
    (lambda: nn.MaxPool2d(2), (1, 3, 5, 4), (1, 3, 2, 2), {}),
    (lambda: nn.AvgPool1d(2, 1), (1, 3, 5), (1, 3, 4), {}),
    (
        lambda: nn.BatchNorm2d(3),
        (2, 3, 4, 4),
        (2, 3, 4, 4),
        {"weight": (3,), "bias": (3,), "running_mean": (3,), "running_var": (3,)},
    ),
    (lambda: nn.LayerNorm(4), (2, 3, 4), (2, 3, 4), {"weight": (4,), "bias": (4,)}),
    (lambda: nn.LSTM(4), (2, 5, 3), (2, 4), {"kernel": (3, 16), "recurrent_kernel": (4, 16), "bias": (16,)}),
    (
        lambda: nn.GRU(4, return_sequences=True),
        (2, 5, 3),
        (2, 5, 4),
        {"kernel": (3, 12), "recurrent_kernel": (4, 12), "bias": (2, 12)},
    ),
    (
        lambda: nn.RNN(nn.PeepholeLSTMCell(4)),
        (2, 5, 3),
        (2, 4),
        {
            "peephole_lstm_cell/kernel": (3, 16),
            "peephole_lstm_cell/recurrent_kernel": (4, 16),
            "peephole_lstm_cell/bias": (16,),
            "peephole_lstm_cell/peephole_kernel": (12,),
        },
    ),
    (lambda: nn.TimeDistributed(nn.Dense(5, name="inner")), (2, 3, 4), (2, 3, 5), {}),
]


@pytest.mark.parametrize(("make", "before", "after", "weights"), LAYERS)
def test_shapes_and_weights(make: Callable[[], nn.Layer], before: Any, after: Any, weights: Any) -> None:
    layer = make()
    result = layer(G.input("x", before, "int64" if isinstance(layer, nn.Embedding) else "float32"))
    assert result.shape == after
    if not isinstance(layer, nn.TimeDistributed):
        assert weights_of(layer) == {f"{layer.name}/{name}": shape for name, shape in weights.items()}


@pytest.mark.parametrize(("make", "before", "after", "weights"), LAYERS)
def test_a_symbolic_batch(make: Callable[[], nn.Layer], before: Any, after: Any, weights: Any) -> None:
    layer = make()
    x = G.input("x", ("batch", *before[1:]), "int64" if isinstance(layer, nn.Embedding) else "float32")
    assert layer(x).shape == (x.shape[0], *after[1:])


def test_names_follow_keras() -> None:
    made = [nn.Conv2D(1, 1), nn.Conv2D(1, 1), nn.LSTM(1), nn.MaxPooling2D(), nn.BatchNormalization(), nn.GRU(1)]
    names = ["conv2d", "conv2d_1", "lstm", "max_pooling2d", "batch_normalization", "gru"]
    assert [layer.name for layer in made] == names


def test_the_convolutional_listing() -> None:
    input_shape = (28, 28, 1)
    model = nn.Sequential(
        [
            nn.Conv2D(32, kernel_size=(3, 3), activation="relu", input_shape=input_shape),
            nn.MaxPooling2D(pool_size=(2, 2)),
            nn.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            nn.MaxPooling2D(pool_size=(2, 2)),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Dense(10, activation="softmax"),
        ]
    )
    x = G.input("x", ("batch", *input_shape))
    assert model(x).shape == (x.shape[0], 10)
    assert count(model) == 34_826


def test_the_recurrent_listing() -> None:
    vocabulary = 10_000
    model = nn.Sequential(
        [
            nn.Embedding(input_dim=vocabulary, output_dim=128, input_length=4),
            nn.Bidirectional(nn.LSTM(units=64, dropout=0.2, recurrent_dropout=0.2)),
            nn.Dense(64, activation="relu"),
            nn.Dropout(0.5),
            nn.Dense(1, activation="sigmoid"),
        ]
    )
    assert model(G.input("x", (3, 4), "int64")).shape == (3, 1)
    assert count(model) == 128 * vocabulary + 98_816 + 8_256 + 65


# -- masks -------------------------------------------------------------------------------------------------------------


def test_masks_travel() -> None:
    tokens = G.input("tokens", (2, 4), "int64")
    x = nn.Embedding(5, 3, mask_zero=True)(tokens)
    assert nn.mask_of(x).dtype is G.bool_
    assert nn.mask_of(nn.Embedding(5, 3)(tokens)) is None
    for layer in (nn.Dropout(0.5), nn.Dense(2), nn.LayerNormalization(), nn.ReLU(), nn.LSTM(2, return_sequences=True)):
        assert nn.mask_of(layer(x)) is not None
    assert nn.mask_of(nn.LSTM(2)(x)) is None
    assert nn.mask_of(x * 2) is None
    with pytest.warns(UserWarning, match="does not keep the mask"):
        assert nn.mask_of(nn.Flatten()(x)) is None


def test_masked_steps(value: Run) -> None:
    data = np.array([[[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 0.0], [4.0, 4.0]]])
    x = G.input("x", data.shape, "float64")
    masked = nn.Masking()(x)
    mean = nn.GlobalAveragePooling1D()(masked)
    got = value(masked, nn.mask_of(masked), mean, x=data)
    np.testing.assert_array_equal(got[0], data)
    np.testing.assert_array_equal(got[1], [[True, False, True], [False, False, True]])
    np.testing.assert_allclose(got[2], [[2.0, 1.0], [4.0, 4.0]])


def test_masks_of_merged_tensors(value: Run) -> None:
    a, b = (nn.Masking()(G.input(name, (1, 3, 1), "float64")) for name in "ab")
    both, one = nn.Add()([a, b]), nn.Add()([a, b * 1])
    assert nn.mask_of(one) is None
    largest, joined = nn.Maximum()([a, b]), nn.Concatenate()([a, b])
    data = {"a": np.array([[[-1.0], [0.0], [0.0]]]), "b": np.array([[[0.0], [-2.0], [0.0]]])}
    got = value(nn.mask_of(both), nn.mask_of(joined), largest, **data)
    np.testing.assert_array_equal(got[0], [[True, True, False]])
    np.testing.assert_array_equal(got[1], got[0])
    np.testing.assert_array_equal(got[2], [[[-1.0], [-2.0], [0.0]]])  # masked zeros do not win


# -- what training changes ---------------------------------------------------------------------------------------------


def test_batch_statistics_in_the_artifact() -> None:
    x = G.input("x", (8, 3))
    layer = nn.BatchNormalization(momentum=0.5)
    out = layer(x)
    model = G.compile(
        G.Model(predict=out, train=optim.SGD(0.0).minimize((out * out).sum(), outputs=out)), backend="numpy"
    )
    data = (_rng.normal(size=(8, 3)) * 2 + 5).astype(np.float32)
    trained = model.train(data)
    np.testing.assert_allclose(trained.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(trained.var(0), 1, atol=1e-2)
    mean, variance = 0.5 * data.mean(0), 0.5 + 0.5 * data.var(0)
    np.testing.assert_allclose(model.parameters["batch_normalization/moving_mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(model.parameters["batch_normalization/moving_variance"], variance, rtol=1e-5)
    np.testing.assert_allclose(model.predict(data), (data - mean) / np.sqrt(variance + 1e-3), rtol=1e-4, atol=1e-5)
    assert [state.trainable for state in layer.states] == [True, True, False, False]


def test_a_shared_batch_normalization_sees_both_batches() -> None:
    a, b = G.input("a", (4, 1)), G.input("b", (4, 1))
    layer = nn.BatchNormalization(momentum=0.5, center=False, scale=False)
    step = G.Step({"a": layer(a), "b": layer(b)}, training=True)
    model = G.compile(G.Model(run=step), backend="numpy")
    model.run(np.full((4, 1), 2, np.float32), np.full((4, 1), 8, np.float32))
    assert float(model.parameters["batch_normalization/moving_mean"][0]) == 0.5 * (0.5 * 2) + 0.5 * 8


def test_frozen_and_forced_normalization() -> None:
    x = G.input("x", (4, 2))
    frozen, forced = nn.BatchNormalization(trainable=False), nn.BatchNormalization()
    step = G.Step({"frozen": frozen(x), "forced": forced(x, training=False)}, training=True)
    model = G.Model(run=step, predict=nn.BatchNormalization()(x, training=True))
    assert not model.entries["run"].updates
    data = _rng.normal(size=(4, 2)).astype(np.float32)
    compiled = G.compile(model, backend="numpy")
    np.testing.assert_allclose(compiled.run(data)["frozen"], data / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_allclose(compiled.predict(data).mean(0), 0, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Dropout(0.5),
        lambda: nn.SpatialDropout1D(0.5),
        lambda: nn.GaussianNoise(1.0),
        lambda: nn.GaussianDropout(0.5),
        lambda: nn.AlphaDropout(0.5),
    ],
)
def test_noise_is_for_training(make: Callable[[], nn.Layer]) -> None:
    x = G.input("x", (64, 8, 16))
    out = make()(x)
    model = G.compile(G.Model(predict=out, run=G.Step(out, training=True)), backend="numpy")
    data = np.ones((64, 8, 16), np.float32)
    np.testing.assert_array_equal(model.predict(data), data)
    first, second = model.run(data), model.run(data)
    assert not np.array_equal(first, second)
    assert abs(first.mean() - 1) < (0.6 if "alpha" in make().name else 0.1)


def test_spatial_dropout_drops_whole_channels() -> None:
    x = G.input("x", (8, 5, 6, 4))
    out = nn.SpatialDropout2D(0.5)(x)
    made = G.compile(G.Model(run=G.Step(out, training=True)), backend="numpy").run(np.ones((8, 5, 6, 4), np.float32))
    assert set(np.unique(made)) == {0.0, 2.0}
    assert (made == made[:, :1, :1]).all()


def test_penalties_join_the_loss() -> None:
    x = G.input("x", (2, 3))
    layer = nn.Dense(2, kernel_regularizer=nn.regularizers.L2(0.1), bias_regularizer="l1", name="d")
    out = nn.ActivityRegularization(l2=0.5)(layer(x))
    loss = (out * 0).sum()
    model = G.compile(G.Model(train=optim.SGD(1.0).minimize(loss), evaluate=loss), backend="numpy")
    kernel = np.array(model.parameters["d/kernel"])
    data = _rng.normal(size=(2, 3)).astype(np.float32)
    expected = 0.1 * (kernel**2).sum() + 0.5 * ((data @ kernel) ** 2).sum() / 2
    assert float(model.evaluate(data)) == 0
    np.testing.assert_allclose(model.train(data), expected, rtol=1e-5)
    slope = 0.2 * kernel + 0.5 * data.T @ (data @ kernel)
    np.testing.assert_allclose(model.parameters["d/kernel"], kernel - slope, rtol=1e-4, atol=1e-6)


def test_a_penalty_counts_once_and_not_on_frozen_weights() -> None:
    x = G.input("x", (2, 3))
    layer = nn.Dense(2, kernel_regularizer="l2", name="d")
    loss = layer(x).sum()
    assert len(layer.losses) == 1
    whole = nn.regularizers.penalized(loss)
    assert whole is not loss
    assert nn.regularizers.penalized(whole) is whole
    layer.trainable = False
    assert layer.losses == []
    assert nn.regularizers.penalized(loss) is loss


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        (lambda x: nn.Dense(3, activaton="relu"), "E213", "did you mean activation"),
        (lambda x: nn.Dense(3, kernel_regularizer="l3"), "E213", "one of l1, l2, l1_l2"),
        (lambda x: nn.Conv2D(3, 3)(x), "E211", "needs 4 dimensions"),
        (lambda x: nn.Linear(5, 3)(x), "E211", "needs inputs with 5"),
        (lambda x: nn.Conv2d(3, 4, 3, groups=2), "E218", "do not divide"),
        (lambda x: nn.Cropping1D(3)(x), "E218", "leaves nothing"),
        (lambda x: nn.Add()(x), "E213", "takes a list"),
        (lambda x: nn.Dot(1)([x, x[:, :2]]), "E211", "cannot sum"),
        (lambda x: nn.LSTM(3)(x, mask=x), "E211", "a mask has"),
        (lambda x: nn.LSTM(3)(x, masks=x), "E213", "did you mean mask"),
        (lambda x: nn.LSTM(3, recurrent_dropuot=0.1), "E213", "did you mean recurrent_dropout"),
        (lambda x: nn.RNN(3), "E213", "state_size"),
        (lambda x: nn.Attention(score_mode="cosine"), "E213", "score_mode"),
        (lambda x: nn.BatchNormalization(momentum=2), "E213", "momentum"),
        (lambda x: nn.UpSampling2D(interpolation="cubic"), "E213", "interpolation"),
        (lambda x: nn.LSTM(3, stateful=True)(G.input("s", ("n", 2, 3))), "E214", "stateful"),
        (lambda x: nn.TimeDistributed(nn.Dense(2))(x[0]), "E211", "at least 3"),
        (lambda x: nn.MaxPool2d(2, padding=2), "E218", "half the window"),
    ],
)
def test_errors_name_the_line(wrong: Callable[[G.Tensor], Any], code: str, words: str) -> None:
    with graph():
        x = G.input("x", (2, 5, 3))
        with pytest.raises(G.GraphcError) as caught:
            wrong(x)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert caught.value.location is not None
    assert caught.value.location.file == __file__
