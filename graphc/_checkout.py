"""Finds ``graphc.frontends`` and ``graphc.backends`` when graphc runs from a checkout.

In an installed graphc the two packages lie inside ``graphc/`` and this module does nothing. In a checkout they lie
beside it, at the top level; one finder then gives each of them its real name, so that every module is loaded once,
under one name, whatever is on ``sys.path``. What lies inside them is found through their ``__path__`` as usual.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

_PACKAGES = ("frontends", "backends")


class CheckoutFinder(MetaPathFinder):
    """Maps ``graphc.<name>`` to the top-level folder ``<name>`` of a checkout."""

    def __init__(self, root: Path) -> None:
        self._folders = {f"graphc.{name}": root / name for name in _PACKAGES}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of one of the two packages, and nothing for any other name."""
        folder = self._folders.get(fullname)
        if folder is None:
            return None
        return spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])


def install() -> None:
    """Add the finder if graphc lies in a checkout and does not have one yet."""
    package = Path(__file__).resolve().parent
    if any((package / name / "__init__.py").is_file() for name in _PACKAGES):
        return  # installed: both are ordinary subpackages
    if not all((package.parent / name / "__init__.py").is_file() for name in _PACKAGES):
        return
    if not any(isinstance(finder, CheckoutFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, CheckoutFinder(package.parent))
