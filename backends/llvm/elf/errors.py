"""The error of the linker."""

from __future__ import annotations

from graphc.errors import GraphcValueError

LINK_FAILED = "E572"


class LinkError(GraphcValueError):
    """An object file is damaged, or holds something that cannot become a shared library."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(LINK_FAILED, f"cannot link the object file: {message}", hint=hint)
