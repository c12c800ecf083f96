"""The public face of ``graphc.frontends.nn.activations``."""

from graphc.frontends.nn.activations import *  # noqa: F403
