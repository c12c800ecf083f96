"""Optimizers, gradient clipping and learning-rate schedules."""

from graphc.frontends.optim import schedules
from graphc.frontends.optim.clipping import clip_by_global_norm, clip_by_norm, clip_by_value, global_norm
from graphc.frontends.optim.optimizer import Optimizer, Slots
from graphc.frontends.optim.rules import SGD, Adagrad, Adam, AdamW, RMSprop, get

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "Slots",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "get",
    "global_norm",
    "schedules",
]
