"""The public face of ``graphc.frontends.nn.regularizers``."""

from graphc.frontends.nn.regularizers import *  # noqa: F403
