"""Networks as a PyTorch user writes them: names, order of arguments, losses, modules; torch is not needed."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import graphc as G
import graphc.nn.functional as F
from graphc import nn, optim

IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES = (IMAGES.reshape(-1, 1, 8, 8) / 16).astype(np.float32)


class Net(nn.Module):
    """Parts as attributes, and ``forward``."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(inplace=True))
        self.heads = [nn.Linear(width * 16, 10), nn.Dropout(p=0.1)]

    def forward(self, x: G.Tensor) -> G.Tensor:
        x = F.max_pool2d(F.relu(self.features(x)), 2)
        x = nn.Flatten()(x)
        for head in self.heads:
            x = head(x)
        return x


def test_a_module_has_the_weights_of_its_parts() -> None:
    net = Net()
    out = net(G.input("x", (2, 1, 8, 8)))
    assert out.shape == (2, 10)
    assert [weight.name for weight in net.weights] == ["conv2d/weight", "conv2d/bias", "linear/weight", "linear/bias"]
    net.features.trainable = False
    assert len(net.trainable_weights) == 2


@pytest.mark.parametrize("form", ["one by one", "a list", "an OrderedDict", "layers="])
def test_sequential(form: str) -> None:
    parts = [nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)]
    model = {
        "one by one": lambda: nn.Sequential(*parts),
        "a list": lambda: nn.Sequential(parts),
        "an OrderedDict": lambda: nn.Sequential(OrderedDict(zip("abc", parts, strict=True))),
        "layers=": lambda: nn.Sequential(layers=parts),
    }[form]()
    assert list(model) == parts
    assert (model[1], model[-1], len(model)) == (parts[1], parts[2], 3)
    assert model(G.input("x", (5, 4))).shape == (5, 2)


def test_a_network_is_trained_with_a_loss_of_pytorch() -> None:
    model = nn.Sequential(
        nn.Conv2d(in_channels=1, out_channels=8, kernel_size=3, stride=1, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding="same", bias=False),
        nn.GroupNorm(4, 16),
        nn.LeakyReLU(0.1, inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    model.compile(optim.Adam(lr=1e-2), nn.CrossEntropyLoss(label_smoothing=0.05), ["accuracy"], backend="numpy")
    history = model.fit(IMAGES[:600], LABELS[:600], epochs=4, batch_size=32).history
    assert history["accuracy"][-1] > 0.9
    assert model.evaluate(IMAGES[600:900], LABELS[600:900], return_dict=True)["accuracy"] > 0.8
    weighted = model.fit(IMAGES[:64], LABELS[:64], class_weight={0: 3.0}).history
    assert np.isfinite(weighted["loss"]).all()


def test_a_training_step_by_hand() -> None:
    x, y = G.input("x", (32, 1, 8, 8)), G.input("y", (32,), "int64")
    logits = Net()(x)
    loss = nn.CrossEntropyLoss()(logits, y)
    model = G.compile(G.Model(predict=logits, train=optim.SGD(lr=0.1, momentum=0.9).minimize(loss)), backend="numpy")
    losses = [float(model.train(IMAGES[n : n + 32], LABELS[n : n + 32])) for _ in range(4) for n in range(0, 320, 32)]
    assert losses[-1] < losses[0] / 4


def test_arguments_have_two_names() -> None:
    tokens, x = G.input("tokens", (2, 3), "int64"), G.input("x", (2, 3, 4))
    assert nn.Embedding(num_embeddings=5, embedding_dim=4)(tokens).shape == (2, 3, 4)
    assert nn.Softmax(dim=1).axis == 1
    assert nn.LogSoftmax(dim=-1)(x).shape == (2, 3, 4)
    assert nn.Dropout(p=0.3).rate == 0.3
    assert nn.Flatten(start_dim=0)(x).shape == (24,)
    assert nn.Flatten(start_dim=1, end_dim=2)(x).shape == (2, 12)
    assert nn.GELU(approximate="tanh")(x).shape == (2, 3, 4)
    assert (nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish) == (nn.HardTanh, nn.HardSigmoid, nn.HardSwish)
    with pytest.raises(G.GraphcTypeError, match="did you mean inplace"):
        nn.ReLU(inplce=True)


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (nn.MSELoss(), "numbers"),
        (nn.L1Loss(), "numbers"),
        (nn.SmoothL1Loss(), "numbers"),
        (nn.HuberLoss(delta=0.5), "numbers"),
        (nn.BCEWithLogitsLoss(), "bits"),
        (nn.CrossEntropyLoss(), "classes"),
        (nn.CrossEntropyLoss, "classes"),
        (nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0]), "classes"),
        (nn.losses.SparseCategoricalCrossentropy(from_logits=True), "classes"),
        (nn.losses.MeanSquaredError, "numbers"),
    ],
)
def test_compile_takes_every_kind_of_loss(loss: Any, target: str) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(24, 4))
    y = {
        "numbers": x[:, :3] @ np.array([[1.0, 2, 0], [0, 1, 1], [1, 0, 1]]),
        "bits": (x[:, :3] > 0).astype(float),
        "classes": x[:, :3].argmax(1),
    }[target]
    model = nn.Sequential(nn.Linear(4, 3))
    model.compile(optim.Adam(lr=0.05), loss, backend="numpy")
    history = model.fit(x, y, epochs=15, batch_size=8).history["loss"]
    assert history[-1] < 0.8 * history[0]


def test_errors_of_losses() -> None:
    x, y = G.input("x", (4, 3)), G.input("y", (4,), "int64")
    for wrong, code, words in (
        (lambda: nn.MSELoss()(x, G.input("z", (4, 2))), "E211", "(4, 2)"),
        (lambda: nn.NLLLoss()(x, G.input("f", (4,))), "E213", "numbers of classes"),
        (lambda: nn.CrossEntropyLoss()(x, G.input("w", (5,), "int64")), "E211", "(5,)"),
        (lambda: nn.L1Loss(reduction="average"), "E213", "mean, sum, none"),
    ):
        with pytest.raises(G.GraphcError) as caught:
            wrong()
        assert caught.value.code == code
        assert words in str(caught.value)
        assert caught.value.location is not None
        assert caught.value.location.file == __file__
    assert nn.CrossEntropyLoss(reduction="none")(x, y).shape == (4,)


def test_a_network_as_entry_points() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert list(network.to_model().module.entries) == ["predict"]
    network.compile(optim.SGD(lr=0.1), nn.CrossEntropyLoss(), ["accuracy"])
    model = network.to_model()
    assert isinstance(model, G.Model)
    compiled = G.compile(model, backend="numpy", dims={"batch": 5})
    assert compiled.predict(np.ones((5, 4), np.float32)).shape == (5, 2)
    assert set(compiled.train(np.ones((5, 4), np.float32), np.zeros(5, np.int64))) == {"loss", "accuracy"}
    images = nn.Sequential(nn.Conv2d(1, 2, 3))
    with pytest.raises(G.GraphcValueError, match="does not know the shape"):
        images.to_model()
