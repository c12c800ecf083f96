"""The public face of ``graphc.frontends.nn.constraints``."""

from graphc.frontends.nn.constraints import *  # noqa: F403
