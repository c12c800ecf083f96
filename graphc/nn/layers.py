"""The public face of ``graphc.frontends.nn.layers``."""

from graphc.frontends.nn.layers import *  # noqa: F403
