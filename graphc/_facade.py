"""Lazy façades: a module whose public names live elsewhere and load on first use."""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

_Getattr = Callable[[str], Any]
_Dir = Callable[[], Iterable[str]]


def lazy_names(facade: str, table: Mapping[str, str]) -> tuple[_Getattr, _Dir]:
    """Return ``__getattr__`` and ``__dir__`` for a module that takes each name from the module the table gives.

    Args:
        facade: the ``__name__`` of the module that gets them.
        table: public name → the module that defines it. A name that maps to ``<facade>.<name>`` is a submodule.
    """

    def load(name: str) -> Any:
        module = table.get(name)
        if module is None:
            raise AttributeError(f"module {facade!r} has no attribute {name!r}")
        loaded = import_module(module)
        value = loaded if module == f"{facade}.{name}" else getattr(loaded, name)
        setattr(sys.modules[facade], name, value)  # the next access is an ordinary attribute
        return value

    def names() -> Iterable[str]:
        return sorted({*vars(sys.modules[facade]), *table})

    return load, names


def forwarded_names(facade: str, target: str) -> tuple[_Getattr, _Dir]:
    """Return ``__getattr__`` and ``__dir__`` for a module that shows every public name of ``target``."""

    def load(name: str) -> Any:
        # Of the special names only __all__ is the target's: a borrowed __path__ would let `import facade.x`
        # load the target's submodules a second time under another name.
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {facade!r} has no attribute {name!r}")
        return getattr(import_module(target), name)

    def names() -> Iterable[str]:
        return sorted(name for name in dir(import_module(target)) if not name.startswith("_"))

    return load, names
