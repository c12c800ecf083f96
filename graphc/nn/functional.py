"""The public face of ``graphc.frontends.nn.functional``."""

from graphc.frontends.nn.functional import *  # noqa: F403
