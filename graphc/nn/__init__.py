"""Layers, cells and losses under their Keras names: the public face of ``graphc.frontends.nn``.

Its submodules (``graphc.nn.layers``, ``graphc.nn.callbacks``, …) are those that Keras has; none is loaded before it is
asked for.
"""

from typing import TYPE_CHECKING

from graphc._facade import forwarded_names

if TYPE_CHECKING:
    from graphc.frontends.nn import *  # noqa: F403

__getattr__, __dir__ = forwarded_names(__name__, "graphc.frontends.nn")
