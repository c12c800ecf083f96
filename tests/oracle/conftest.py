"""Comparisons with torch are collected where torch is: the default suite does without it."""

import importlib.util

import pytest

_HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore_glob = [] if _HAS_TORCH else ["test_*.py"]


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    """Refuse to report an empty success: asking for the comparisons without torch is a mistake."""
    if config.option.markexpr == "oracle" and not _HAS_TORCH:
        raise pytest.UsageError("the comparisons need torch: pip install '.[oracle]'")
