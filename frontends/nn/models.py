"""What can be trained, measured, asked and saved, under Keras' names."""

from graphc.frontends.nn.functional_model import Model
from graphc.frontends.nn.sequential import Sequential

__all__ = ["Model", "Sequential"]
