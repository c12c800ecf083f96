"""The public face of ``graphc.frontends.nn.models``."""

from graphc.frontends.nn.models import *  # noqa: F403
