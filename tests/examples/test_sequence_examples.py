"""The sequence examples: what they claim of their models, checked in seconds on small ones."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

import graphc as G
from tests.examples.loading import FOLDER, example

LISTINGS = {
    "cnn": """\
from keras.models import Sequential
from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

model_cnn = Sequential([
    Conv2D(32, kernel_size=(3, 3), activation='relu', input_shape=input_shape),
    MaxPooling2D(pool_size=(2, 2)),
    Conv2D(64, kernel_size=(3, 3), activation='relu'),
    MaxPooling2D(pool_size=(2, 2)),
    Flatten(),
    Dropout(0.5),
    Dense(10, activation='softmax')
])
model_cnn.summary()
""",
    "lstm": """\
from keras.models import Sequential
from keras.layers import LSTM, Bidirectional, Dense, Dropout, Embedding

model_lstm = Sequential([
    Embedding(input_dim=VOCAB_SIZE, output_dim=EMBEDDING_DIM, input_length=MAX_LEN),
    Bidirectional(LSTM(units=LSTM_UNITS, dropout=0.2, recurrent_dropout=0.2)),
    Dense(64, activation='relu'),
    Dropout(0.5),
    Dense(1, activation='sigmoid')
])
model_lstm.summary()
""",
}
"""As Keras' users have them."""

SIZES = {"input_shape": (28, 28, 1), "VOCAB_SIZE": 10_000, "EMBEDDING_DIM": 128, "LSTM_UNITS": 64, "MAX_LEN": 16}

PARAMETERS = {"cnn": 34_826, "lstm": 128 * 10_000 + 98_816 + 8_256 + 65}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gru(p: dict[str, np.ndarray], name: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """One step of a GRU in Keras' form (reset after the product), written from its equations."""
    read, kept = (
        x @ p[f"{name}/kernel"] + p[f"{name}/bias"][0],
        h @ p[f"{name}/recurrent_kernel"] + p[f"{name}/bias"][1],
    )
    (zx, rx, cx), (zh, rh, ch) = np.split(read, 3, axis=-1), np.split(kept, 3, axis=-1)
    z, r = sigmoid(zx + zh), sigmoid(rx + rh)
    return z * h + (1 - z) * np.tanh(cx + r * ch)


def greedy(p: dict[str, np.ndarray], names: tuple[str, str, str], h: np.ndarray, start: int, length: int) -> np.ndarray:
    """The likeliest token after the likeliest token, ``length`` times; names of embedding, GRU and scores."""
    table, recurrent, score = names
    token, said = np.full(len(h), start), []
    for _ in range(length):
        h = gru(p, recurrent, p[f"{table}/embeddings"][token], h)
        token = (h @ p[f"{score}/kernel"] + p[f"{score}/bias"]).argmax(axis=-1)
        said.append(token)
    return np.stack(said, axis=1)


def doubled(m) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, "float64") for name, value in m.parameters.items()}


# -- the listings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_runs_with_only_its_imports_changed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = LISTINGS[name].splitlines()
    changed = [
        f"from graphc.nn import {line.split(' import ')[1]}" if line.startswith("from keras") else line
        for line in lines
    ]
    names = dict(SIZES)
    exec("\n".join(changed), names)
    assert f"Total params: {PARAMETERS[name]:,} " in capsys.readouterr().out
    network = names[f"model_{name}"]
    assert sum(array.size for array in network.get_weights()) == PARAMETERS[name]


def test_the_example_has_the_listing_as_it_is() -> None:
    source = inspect.getsource(example("keras_bilstm").listing)
    without_imports = [line for line in LISTINGS["lstm"].splitlines() if line and "import" not in line]
    found = [line.removeprefix("    ").removesuffix("  # fmt: skip") for line in source.splitlines()]
    start = found.index(without_imports[0])
    assert found[start : start + len(without_imports)] == without_imports


# -- the reviews ---------------------------------------------------------------------------------------------------


def test_reviews_mean_what_their_labels_say() -> None:
    bilstm = example("keras_bilstm")

    def praises(clause: str) -> bool:
        words = clause.removesuffix(" but").removesuffix(" even though").split()
        assert (words[-1] in bilstm.PRAISE) != (words[-1] in bilstm.BLAME)
        return (words[-1] in bilstm.PRAISE) != any(denial in words for denial in bilstm.DENIALS)

    def means(text: str) -> bool:
        _, *clauses = text.split("the ")
        if text.startswith("nobody would say that "):
            return not praises(clauses[0].strip())
        last_decides = text.startswith("although ") or " but " in text
        return praises(clauses[-1 if last_decides else 0].strip())

    known = bilstm.reviews(600)
    assert all(means(text) == label for text, label in known.items())
    assert 0.4 < np.mean(list(known.values())) < 0.6
    assert max(len(text.split()) for text in known) <= bilstm.MAX_LEN


def test_no_example_is_tested_on_what_it_has_seen() -> None:
    for data in (example("keras_bilstm").data(test=500), example("encoder_decoder").data(train=3_000, test=500)):
        assert len(data.x_test) == 500
        assert not {row.tobytes() for row in data.x} & {row.tobytes() for row in data.x_test}


# -- the language model --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["llvm", "numpy"])
def reader(request: pytest.FixtureRequest):
    """A language model after a few steps, so that its probabilities are not all alike."""
    module = example("language_model")
    m = G.compile(module.model(batch=2, steps=12, updates=20), backend=request.param)
    rng = np.random.default_rng(0)
    for _ in range(10):
        m.train(*rng.integers(0, len(module.ALPHABET), (2, 2, 12)))
    return m


def test_reading_step_by_step_equals_reading_the_whole(reader) -> None:
    module = example("language_model")
    x, y = np.random.default_rng(1).integers(0, len(module.ALPHABET), (2, 2, 12))
    logarithms = []
    for row, following in zip(x, y, strict=True):
        state = module.start()
        for character, after in zip(row, following, strict=True):
            probabilities, state = module.read_on(reader, character, state)
            assert probabilities.sum() == pytest.approx(1, abs=1e-5)
            logarithms.append(np.log(probabilities[after]))
    assert float(reader.loss(x, y)) == pytest.approx(-np.mean(logarithms), rel=1e-5)


def test_the_saved_folder_writes_the_same_text(reader, tmp_path: Path) -> None:
    module = example("language_model")
    before = {name: array.copy() for name, array in reader.parameters.items()}
    texts = [
        module.write(m, "The graph ", 30, np.random.default_rng(3), temperature=1.0)
        for m in (reader, G.load(reader.save(tmp_path / "writer")))
    ]
    assert texts[0] == texts[1] and texts[0].startswith("The graph ") and len(texts[0]) == 40
    # The state went in and out of the calls: none of it stayed behind.
    assert all((before[name] == array).all() for name, array in reader.parameters.items())


@pytest.mark.parametrize("continuations", [True, False])
def test_the_trigram_model_is_a_distribution_and_follows_its_formula(continuations: bool) -> None:
    module = example("language_model")
    text = module.encoded("the cat and the dog and the end of the tale\n")
    model, discounts = module.Trigram(text, continuations=continuations), (0.3, 0.6, 0.7)
    every = np.arange(len(module.ALPHABET))
    for context in ("th", "he", "zz", "q ", "e "):
        u, v = (np.full_like(every, place) for place in module.encoded(context))
        assert model.probability(discounts, u, v, every).sum() == pytest.approx(1)

    # From the definition, for e after "th".
    triples = [tuple(text[place : place + 3]) for place in range(len(text) - 2)]
    pairs = sorted({t[1:] for t in triples}) if continuations else [t[1:] for t in triples]
    if continuations:
        weights = {pair: len({t[0] for t in triples if t[1:] == pair}) for pair in pairs}
        singles = {w: len({pair[0] for pair in pairs if pair[1] == w}) for w in {pair[1] for pair in pairs}}
    else:
        weights = {pair: pairs.count(pair) for pair in pairs}
        singles = {w: sum(n for pair, n in weights.items() if pair[1] == w) for w in {pair[1] for pair in pairs}}
    t, h, e = module.encoded("the")
    one = (singles[e] - 0.3 + 0.3 * len(singles) / len(every)) / sum(singles.values())
    after_h = {pair: n for pair, n in weights.items() if pair[0] == h}
    two = (after_h[h, e] - 0.6 + 0.6 * len(after_h) * one) / sum(after_h.values())
    after_th = [triple[2] for triple in triples if triple[:2] == (t, h)]
    three = (after_th.count(e) - 0.7 + 0.7 * len(set(after_th)) * two) / len(after_th)
    assert model.probability(discounts, *(np.array([place]) for place in (t, h, e))) == pytest.approx([three])


def test_the_documentation_is_split_by_paragraphs() -> None:
    module = example("language_model")
    text = module.documentation()
    assert all((a == b).all() for a, b in zip(text, module.documentation(), strict=True))
    paragraphs = [{p for p in "".join(module.ALPHABET[c] for c in part).split("\n\n") if len(p) > 20} for part in text]
    assert not paragraphs[2] & (paragraphs[0] | paragraphs[1])
    sizes = np.array([len(part) for part in text]) / sum(map(len, text))
    assert (sizes > [0.6, 0.03, 0.03]).all()


# -- decoders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_greedy_translation_equals_a_loop_by_hand(backend: str) -> None:
    module = example("encoder_decoder")
    m = G.compile(module.model(batch=16, hidden=24, width=8, updates=60), backend=backend)
    data = module.data(train=640, test=16)
    for start in range(0, 640, 16):
        m.train(data.x[start : start + 16], data.y[start : start + 16])
    p, h = doubled(m), np.zeros((16, 24))
    for token in data.x_test.T:
        after = gru(p, "gru", p["embedding/embeddings"][token], h)
        h = np.where((token == module.PADDING)[:, None], h, after)
    expected = greedy(p, ("embedding_1", "gru_1", "dense"), h, module.END, module.LONGEST + 1)
    found = m.predict(data.x_test)
    assert len(np.unique(found)) > 2
    np.testing.assert_array_equal(found, expected)


def test_words_as_tokens_and_back() -> None:
    module = example("encoder_decoder")
    words = module.words(200, np.random.default_rng(5))
    assert len(set(words)) == 200
    assert {len(word) for word in words} == set(range(3, module.LONGEST + 1))
    assert module.decoded(module.encoded(words, module.LONGEST + 1)) == words
    assert module.decoded(np.array([[module.FIRST, module.PADDING, module.END, module.FIRST]])) == ["a?"]


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_a_caption_equals_one_spelt_by_hand(backend: str) -> None:
    module = example("image_captions")
    m = G.compile(module.model(batch=16, filters=4, hidden=24, width=8, updates=60), backend=backend)
    data = module.digits()
    texts = module.captions(data.y)
    for start in range(0, 640, 16):
        m.train(data.x[start : start + 16], texts[start : start + 16])
    p, image = doubled(m), data.x_test[:16]

    def convolved(x: np.ndarray, name: str) -> np.ndarray:
        """3 × 3 with a border of zeros, ReLU, and the largest of 2 × 2."""
        framed = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(framed, (3, 3), axis=(1, 2))
        y = np.einsum("brcixy,xyio->brco", windows, p[f"{name}/kernel"]) + p[f"{name}/bias"]
        b, rows, columns, filters = y.shape
        return np.maximum(y, 0).reshape(b, rows // 2, 2, columns // 2, 2, filters).max(axis=(2, 4))

    seen = convolved(convolved(image, "conv2d"), "conv2d_1").reshape(16, -1)
    feature = np.tanh(seen @ p["dense/kernel"] + p["dense/bias"])
    expected = greedy(p, ("embedding", "gru", "dense_1"), feature, 0, module.LENGTH)
    found = m.predict(image)
    assert len(np.unique(found)) > 2
    np.testing.assert_array_equal(found, expected)


# -- the custom cell -----------------------------------------------------------------------------------------------


def test_the_custom_cell_takes_less_than_thirty_lines() -> None:
    text = (FOLDER / "custom_cell.py").read_text(encoding="utf-8")
    inside_docstrings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    lines = enumerate(text.splitlines(), start=1)
    code = [line for number, line in lines if line.strip() and number not in inside_docstrings]
    assert len(code) < 30


def test_the_custom_cell_trains_alike_on_both_backends_and_computes_its_equations() -> None:
    module = example("custom_cell")
    data = module.digits()
    x, curves = data.x[:, :, :, 0], {}
    for backend in ("llvm", "numpy"):
        m = G.compile(module.model(batch=32, units=32), backend=backend)
        starts = [start % 320 for start in range(0, 32 * 50, 32)]
        curves[backend] = [float(m.train(x[start : start + 32], data.y[start : start + 32])) for start in starts]
        assert np.mean(curves[backend][-10:]) < 0.8 * np.mean(curves[backend][:10])

        p, h = doubled(m), np.zeros((32, 32))
        wf, uf, bf, wh, uh = (p[f"rnn/minimal_gated_unit/{name}"] for name in ("wf", "uf", "bf", "wh", "uh"))
        for row in x[:32].transpose(1, 0, 2):
            f = sigmoid(row @ wf + h @ uf + bf)
            s = row @ wh + (f * h) @ uh
            h = (1 - f) * h + f * s / np.sqrt(1 + s**2)
        scores = h @ p["dense/kernel"] + p["dense/bias"]
        np.testing.assert_allclose(m.predict(x[:32]), scores, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(curves["llvm"], curves["numpy"], rtol=1e-4)
