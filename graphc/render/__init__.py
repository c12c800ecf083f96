"""Pictures of models, from the source graph to the memory of the compiled code.  See ``docs/RENDERING.md``."""

from graphc.render.output import render, to_dot
from graphc.render.stages import STAGES

__all__ = ["STAGES", "render", "to_dot"]
