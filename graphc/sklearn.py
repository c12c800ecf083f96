"""Estimators for scikit-learn: the public face of ``graphc.frontends.sklearn``."""

from typing import TYPE_CHECKING

from graphc._facade import forwarded_names

if TYPE_CHECKING:
    from graphc.frontends.sklearn import *  # noqa: F403

__getattr__, __dir__ = forwarded_names(__name__, "graphc.frontends.sklearn")
