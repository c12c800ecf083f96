"""The public face of ``graphc.frontends.nn.metrics``."""

from graphc.frontends.nn.metrics import *  # noqa: F403
