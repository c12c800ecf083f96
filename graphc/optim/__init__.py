"""Optimizers and schedules under their Keras and PyTorch names: the public face of ``graphc.frontends.optim``."""

from typing import TYPE_CHECKING

from graphc._facade import forwarded_names

if TYPE_CHECKING:
    from graphc.frontends.optim import *  # noqa: F403

__getattr__, __dir__ = forwarded_names(__name__, "graphc.frontends.optim")
