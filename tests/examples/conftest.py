"""What the tests of the examples share: a fresh graph a test, so that automatic names do not depend on other tests."""

from collections.abc import Iterator

import pytest

from graphc.frontends.dsl.session import graph


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    with graph():
        yield
