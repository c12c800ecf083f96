"""Shared configuration: the verifier is on in every test, and golden files are compared in one way."""

import os
from collections.abc import Callable
from pathlib import Path

# Before anything imports graphc, whose configuration reads it once.
os.environ.setdefault("GRAPHC_DEBUG", "verify")
# Nothing that an earlier run compiled may decide a verdict; the tests of the cache have folders of their own.
os.environ["GRAPHC_CACHE"] = "off"

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

# The machine's load must not decide a verdict, and neither may chance.
settings.register_profile(
    "graphc", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("explore", parent=settings.get_profile("graphc"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "graphc"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files with what the tests produce")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slowest tests, marked ``slow(ci=False)``, out of a landing (GRAPHC_CI=1): they have no time there."""
    if not os.environ.get("GRAPHC_CI"):
        return
    left_out = [item for item in items if any(not mark.kwargs.get("ci", True) for mark in item.iter_markers("slow"))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden("passes/roll-lstm.gir", text)``: text must equal that file; a missing file fails."""
    update = request.config.getoption("--update-golden")

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        assert path.is_file(), f"no golden file {path.relative_to(ROOT)}: run with --update-golden and read it"
        assert text == path.read_text(encoding="utf-8"), f"differs from {path.relative_to(ROOT)}"

    return check
