"""The public face of ``graphc.frontends.nn.losses``."""

from graphc.frontends.nn.losses import *  # noqa: F403
