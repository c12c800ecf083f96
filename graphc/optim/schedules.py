"""The public face of ``graphc.frontends.optim.schedules``."""

from graphc.frontends.optim.schedules import *  # noqa: F403
