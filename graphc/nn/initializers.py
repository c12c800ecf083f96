"""The public face of ``graphc.frontends.nn.initializers``."""

from graphc.frontends.nn.initializers import *  # noqa: F403
