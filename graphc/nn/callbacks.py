"""The public face of ``graphc.frontends.nn.callbacks``."""

from graphc.frontends.nn.callbacks import *  # noqa: F403
