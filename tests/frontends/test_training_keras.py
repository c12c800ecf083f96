"""Keras' listings run as they stand: summaries with Keras' counts, training, evaluation, prediction."""

import io
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine

import graphc as G
from graphc import nn, optim
from graphc.nn import (
    LSTM,
    Bidirectional,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    MaxPooling2D,
    Sequential,
)


def printed(model: Any) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        model.summary()
    return out.getvalue()


def test_the_convolutional_listing() -> None:
    input_shape = (28, 28, 1)
    model_cnn = Sequential(
        [
            Conv2D(32, kernel_size=(3, 3), activation="relu", input_shape=input_shape),
            MaxPooling2D(pool_size=(2, 2)),
            Conv2D(64, kernel_size=(3, 3), activation="relu"),
            MaxPooling2D(pool_size=(2, 2)),
            Flatten(),
            Dropout(0.5),
            Dense(10, activation="softmax"),
        ]
    )
    table = printed(model_cnn)
    for line in (
        "│ conv2d (Conv2D)                │ (None, 26, 26, 32) │     320 │",
        "│ max_pooling2d (MaxPooling2D)   │ (None, 13, 13, 32) │       0 │",
        "│ conv2d_1 (Conv2D)              │ (None, 11, 11, 64) │  18,496 │",
        "│ flatten (Flatten)              │ (None, 1600)       │       0 │",
        "│ dense (Dense)                  │ (None, 10)         │  16,010 │",
        " Total params: 34,826 (136.04 KB)",
        " Trainable params: 34,826 (136.04 KB)",
        " Non-trainable params: 0 (0.00 B)",
    ):
        assert line in table
    rows = {row.name: row for row in model_cnn.summary_rows()}
    # Two operations a term, then bias and activation.
    assert str(rows["conv2d"].flops) == f"{26 * 26 * 32 * (2 * 9 + 2)}*batch"
    assert str(rows["dense"].bytes) == f"{4 * (1600 + 10)}*batch + {4 * 16010}"
    model_cnn.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"], backend="numpy")
    random = np.random.default_rng(0)
    x, y = random.random((20, 28, 28, 1)), random.integers(0, 10, 20)
    history = model_cnn.fit(x, y, batch_size=8, epochs=2)
    assert list(history.history) == ["loss", "accuracy"]
    assert history.history["loss"][1] < history.history["loss"][0]
    assert " Total params: 104,480" in printed(model_cnn)
    assert " Optimizer params: 69,654" in printed(model_cnn)


def test_the_recurrent_listing() -> None:
    VOCAB_SIZE, EMBEDDING_DIM, MAX_LEN, LSTM_UNITS = 50, 128, 5, 64
    model_lstm = Sequential(
        [
            Embedding(input_dim=VOCAB_SIZE, output_dim=EMBEDDING_DIM, input_length=MAX_LEN),
            Bidirectional(LSTM(units=LSTM_UNITS, dropout=0.2, recurrent_dropout=0.2)),
            Dense(64, activation="relu"),
            Dropout(0.5),
            Dense(1, activation="sigmoid"),
        ]
    )
    table = printed(model_lstm)
    for name, shape, count in (
        ("embedding (Embedding)", "(None, 5, 128)", "6,400"),
        ("bidirectional (Bidirectional)", "(None, 128)", "98,816"),
        ("dense (Dense)", "(None, 64)", "8,256"),
        ("dense_1 (Dense)", "(None, 1)", "65"),
    ):
        assert any(name in line and shape in line and f" {count} │" in line for line in table.splitlines())
    assert " Total params: 113,537 (443.50 KB)" in table
    model_lstm.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"], backend="numpy")
    x = np.random.default_rng(0).integers(0, 50, (24, 5))
    history = model_lstm.fit(x, x[:, 0] > 25, batch_size=8, epochs=3)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model_lstm.predict(x).shape == (24, 1)


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_a_classifier_learns_wine(backend: str) -> None:
    x, y = load_wine(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    model = Sequential([Dense(16, activation="relu", input_shape=(13,)), Dense(3, activation="softmax")])
    model.compile(optim.Adam(0.02), "sparse_categorical_crossentropy", ["accuracy"], backend=backend)
    # 134 samples are four batches and 6 samples more; 44 are one and 12 more.
    history = model.fit(x, y, epochs=20, validation_split=0.25)
    assert history.history["val_accuracy"][-1] > 0.9
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    measured = model.evaluate(x, y, batch_size=50, return_dict=True)
    assert model.evaluate(x, y, batch_size=50) == list(measured.values())
    predicted = model.predict(x, batch_size=50)
    assert measured["accuracy"] == pytest.approx(np.mean(predicted.argmax(1) == y))
    assert measured["loss"] == pytest.approx(-np.log(predicted[np.arange(len(y)), y]).mean(), rel=1e-5)


def test_the_shape_comes_with_the_data_where_no_layer_says_it() -> None:
    x, y = load_digits(return_X_y=True)
    model = Sequential([Dense(4)])
    with pytest.raises(G.GraphcValueError, match="does not know the shape of its input"):
        model.summary()
    model.add(Dense(10))
    model.compile(
        "sgd",
        lambda truth, made: nn.losses.sparse_categorical_crossentropy(truth, made, from_logits=True),
        backend="numpy",
    )
    model.fit(x[:64] / 16, y[:64])
    assert model.get_weights()[0].shape == (64, 4)
    with pytest.raises(G.GraphcValueError, match="has run already"):
        model.add(Dense(1))
    with pytest.raises(G.GraphcValueError, match=r"x must have shape \(batch, 64\)"):
        model.predict(np.zeros((3, 5)))


def test_weights_in_keras_order_and_frozen_layers() -> None:
    x = nn.Input((3,))
    first = Dense(4, name="first", trainable=False)
    model = nn.Model(x, Dense(2, name="second")(first(x)))
    weights = model.get_weights()
    assert [w.shape for w in weights] == [(3, 4), (4,), (4, 2), (2,)]
    assert " Trainable params: 10" in printed(model)
    assert " Non-trainable params: 16" in printed(model)
    changed = [w + 1 for w in weights]
    model.set_weights(changed)
    model.compile("sgd", "mse", backend="numpy")
    model.fit(np.ones((8, 3)), np.zeros((8, 2)), epochs=2)
    after = model.get_weights()
    assert np.array_equal(after[0], changed[0])
    assert not np.array_equal(after[2], changed[2])
    with pytest.raises(G.GraphcValueError, match="has 4 weights, got 1"):
        model.set_weights(weights[:1])
    with pytest.raises(G.GraphcValueError, match="second/bias"):
        model.set_weights([*weights[:3], np.zeros(3)])


def test_a_network_with_two_inputs_and_two_outputs() -> None:
    left, right = nn.Input((3,), name="left"), nn.Input((2,), dtype="int64", name="right")
    both = G.concat([Dense(4, activation="tanh")(left), right.astype("float32")], axis=-1)
    model = nn.Model({"left": left, "right": right}, {"score": Dense(1)(both), "kind": Dense(3)(both)})
    model.compile(
        "adam",
        {"score": "mse", "kind": lambda t, p: nn.losses.sparse_categorical_crossentropy(t, p, from_logits=True)},
        metrics={"kind": "accuracy"},
        loss_weights={"score": 0.5},
        backend="numpy",
    )
    random = np.random.default_rng(0)
    x = {"left": random.random((20, 3)), "right": random.integers(0, 3, (20, 2))}
    y = {"y_score": random.random(20), "y_kind": x["right"][:, 0]}
    logs = model.fit(x, y, epochs=2).history
    assert list(logs) == ["loss", "score_loss", "kind_loss", "kind_accuracy"]
    assert logs["loss"][0] == pytest.approx(0.5 * logs["score_loss"][0] + logs["kind_loss"][0], rel=1e-5)
    made = model.predict([x["left"], x["right"]])
    assert {name: value.shape for name, value in made.items()} == {"score": (20, 1), "kind": (20, 3)}


def test_a_model_called_on_other_tensors_shares_its_weights() -> None:
    x = nn.Input((4,))
    encoder = nn.Model(x, Dropout(0.5)(Dense(3, activation="tanh")(x)))
    other = nn.Input((4,), name="other")
    model = nn.Model([x, other], encoder(x) - encoder(other))
    assert len(model.get_weights()) == 2
    a, b = np.random.default_rng(0).random((2, 6, 4), dtype=np.float32)
    kernel, bias = model.get_weights()
    model.compile("sgd", "mse", backend="numpy")
    expected = np.tanh(a @ kernel + bias) - np.tanh(b @ kernel + bias)
    np.testing.assert_allclose(model.predict([a, b]), expected, atol=1e-6)


def test_errors_name_what_is_wrong() -> None:
    model = Sequential([Dense(2, input_shape=(3,))])
    x, y = np.zeros((4, 3)), np.zeros((4, 2))
    with pytest.raises(G.GraphcValueError, match="is not compiled"):
        model.fit(x, y)
    with pytest.raises(G.GraphcValueError, match="unknown loss 'mxe'") as caught:
        model.compile("sgd", "mxe")
    assert caught.value.code == "E213"
    model.compile("sgd", "mse", backend="numpy")
    with pytest.raises(G.GraphcValueError, match="nothing to compare"):
        model.fit(x)
    with pytest.raises(G.GraphcValueError, match="x has 4 samples, y has 3"):
        model.fit(x, y[:3])
    with pytest.raises(G.GraphcTypeError, match="array of numbers"):
        model.fit(np.array([["a", "b", "c"]]), y)
    with pytest.raises(G.GraphcValueError, match="batch_size"):
        model.fit(x, y, batch_size=0)
    with pytest.raises(G.GraphcValueError, match="leaves 0 of 4 samples"):
        model.fit(x, y, validation_split=0.9)


def test_a_frozen_encoder_with_statistics_in_another_model() -> None:
    x = nn.Input((4,))
    base = Sequential([Dense(3, activation="relu"), nn.BatchNormalization(), Dropout(0.5)], name="base")
    whole = nn.Model(x, Dense(1)(base(x)))
    whole.compile("adam", "mse", backend="numpy")
    data = np.random.default_rng(0).random((12, 4))
    whole.fit(data, data.sum(1), epochs=2)
    assert " Non-trainable params: 6 " in printed(whole)
    encoder = nn.Model(x, base(x))
    encoder.trainable = False
    encoder.set_weights(whole.get_weights()[:6])
    z = nn.Input((4,), name="z")
    head = nn.Model(z, Dense(2)(encoder(z, training=False)))
    head.set_weights([*encoder.get_weights(), *head.get_weights()[6:]])
    # As inference has it, in training too: no statistics change, nothing is dropped.
    assert [row.flops for row in head.summary_rows()][1] == [row.flops for row in encoder.summary_rows()][1]
    head.compile("sgd", "mse", backend="numpy")
    before = head.get_weights()
    head.fit(data, np.zeros((12, 2)), epochs=2)
    unchanged = [np.array_equal(a, b) for a, b in zip(before, head.get_weights(), strict=True)]
    assert unchanged == [True] * 6 + [False] * 2
    kernel, bias = head.get_weights()[6:]
    np.testing.assert_allclose(head.predict(data), encoder.predict(data) @ kernel + bias, rtol=1e-5)


def test_sizes_that_the_data_say_and_weights_outside_of_layers() -> None:
    model = Sequential([nn.Input((None, 4)), nn.GlobalAveragePooling1D(), Dense(2)])
    model.compile("sgd", "mse", backend="numpy")
    for steps in (5, 2):
        model.fit(np.ones((6, steps, 4)), np.zeros((6, 2)))
    x = nn.Input((3,))
    scaled = nn.Model(x, x * G.parameter("scale", 2.0, (3,)))
    assert [w.tolist() for w in scaled.get_weights()] == [[2.0, 2.0, 2.0]]
    np.testing.assert_array_equal(scaled.predict(np.ones((2, 3))), np.full((2, 3), 2.0))
    with pytest.raises(G.GraphcValueError, match="also need the input 'x'"):
        nn.Model(nn.Input((1,)), scaled(x))


def test_layers_are_found_and_counted() -> None:
    model = Sequential([Dense(4, name="first", input_shape=(3,)), Dropout(0.5), Dense(2)])
    assert model.get_layer("first") is model.get_layer(index=0) is model.layers[0]
    assert model.count_params() == 16 + 10
    assert model.get_layer("first").count_params() == 16
    with pytest.raises(G.GraphcKeyError, match="did you mean 'first'"):
        model.get_layer("frist")


def test_one_hot_vectors_and_padded_sequences() -> None:
    np.testing.assert_array_equal(nn.utils.to_categorical([0, 2, 1]), np.eye(3)[[0, 2, 1]])
    assert nn.utils.to_categorical(np.zeros((4, 1)), 5).shape == (4, 5)
    with pytest.raises(G.GraphcValueError, match=r"lie in \[0, 3\)"):
        nn.utils.to_categorical([3], 3)
    sequences = [[1, 2, 3], [4], []]
    np.testing.assert_array_equal(nn.utils.pad_sequences(sequences), [[1, 2, 3], [0, 0, 4], [0, 0, 0]])
    made = nn.utils.pad_sequences(sequences, 2, padding="post", truncating="post", value=9)
    np.testing.assert_array_equal(made, [[1, 2], [4, 9], [9, 9]])
    assert nn.utils.pad_sequences([np.ones((2, 3)), np.ones((1, 3))], dtype="float32").shape == (2, 2, 3)
