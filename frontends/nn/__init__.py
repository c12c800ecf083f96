"""Layers, cells, losses, metrics, activations, initializers and regularizers under their Keras names.

PyTorch's layers and losses stand beside them under theirs, channels first (:mod:`graphc.frontends.nn.torch_layers`);
where both have a name, it means Keras', and PyTorch's names of its arguments are understood.
"""

from graphc.frontends import optim as optimizers
from graphc.frontends.nn import (
    activations,
    callbacks,
    constraints,
    functional,
    initializers,
    layers,
    losses,
    metrics,
    models,
    regularizers,
    torch_losses,
    utils,
)
from graphc.frontends.nn.history import History
from graphc.frontends.nn.layers import *  # noqa: F403
from graphc.frontends.nn.masking import mask_of, with_mask
from graphc.frontends.nn.models import *  # noqa: F403
from graphc.frontends.nn.torch_losses import *  # noqa: F403

__all__ = [  # noqa: PLE0604  (the starred lists hold strings)
    "History",
    "activations",
    "callbacks",
    "constraints",
    "functional",
    "initializers",
    "layers",
    "losses",
    "mask_of",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "utils",
    "with_mask",
    *layers.__all__,
    *models.__all__,
    *torch_losses.__all__,
]
