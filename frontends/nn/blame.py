"""Errors that say which layer they are about."""

from __future__ import annotations

import re
from abc import ABCMeta
from collections.abc import Mapping
from typing import Any

from graphc.errors import GraphcError, GraphcTypeError, Location
from graphc.frontends.dsl.tensor import fail


class LayerType(ABCMeta):
    """Makes layers: takes PyTorch's names of arguments, and lets errors say which layer it is."""

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        """A layer."""
        own: Mapping[str, str | None] = cls.torch_names  # type: ignore[attr-defined]
        given: dict[str, Any] = {}
        for name, value in options.items():
            meant = own.get(name, name)
            if meant is not None:
                given[meant] = value
        try:
            made = super().__call__(*arguments, **given)
            if "name" not in vars(made):
                hint = "call super().__init__(**options) first in its __init__"
                raise fail(GraphcTypeError, "E213", "the layer's own __init__ was never called", hint)
            return made
        except GraphcError as error:
            raise blamed(error, cls.__name__)  # noqa: B904  (it is the same error)
        except TypeError as fault:
            # Python's own words on a missing or doubled argument; any other type error is somebody's mistake inside.
            if "__init__() " not in str(fault):
                raise
            words = str(fault).split("__init__() ", 1)[1]
            raise blamed(fail(GraphcTypeError, "E213", words), cls.__name__) from None


def blamed(error: GraphcError, name: str, made: Location | None = None, built_for: Any = None) -> GraphcError:
    """``error``, saying which layer it is about, and of the innermost one where it was made and for which inputs."""
    innermost = "layer" not in vars(error)
    vars(error)["layer"] = name
    if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", error.message):
        error.message = f"{name}: {error.message}"
    if not innermost:
        made = built_for = None
    if built_for is not None and error.code == "E211":
        error.message = f"{error.message}; its weights are for inputs of shape {built_for}"
    if made is not None and made != error.location:
        error.message = f"{error.message}; {name} was made at {made}"
    error.args = (error.code, error.message, error.location, error.hint)
    return error
