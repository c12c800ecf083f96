"""``Module``: a layer of one's own, written as in PyTorch."""

from __future__ import annotations

from typing import Any

from graphc.frontends.nn.layer import Layer


class Module(Layer):
    """A layer whose subclasses define ``forward`` in place of ``call``.

    Layers among its attributes are its parts::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(784, 128)
                self.out = nn.Linear(128, 10)

            def forward(self, x):
                return self.out(G.relu(self.hidden(x)))

    It trains as any layer does: ``nn.Sequential(Net())`` with ``compile`` and ``fit``, or by its result in a loss.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "forward" in vars(cls):
            cls.call = vars(cls)["forward"]  # type: ignore[method-assign]
