"""The public face of ``graphc.frontends.optim``, where Keras has it."""

from graphc.frontends.optim import *  # noqa: F403
