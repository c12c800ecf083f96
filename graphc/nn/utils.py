"""The public face of ``graphc.frontends.nn.utils``."""

from graphc.frontends.nn.utils import *  # noqa: F403
