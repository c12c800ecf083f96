"""Placeholder until generated."""
from collections.abc import Callable
TAKEN: dict[str, tuple[Callable[..., object] | None, ...]] = {}
