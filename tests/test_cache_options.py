"""Where the environment puts the compile cache, and how large it may be."""

import os

import pytest

from graphc.config import cache_options
from graphc.errors import GraphcError


def test_the_folder_of_the_cache():
    home = os.path.expanduser("~")
    assert cache_options({}).folder == os.path.join(home, ".cache", "graphc")
    assert cache_options({"XDG_CACHE_HOME": "/var/mine"}).folder == "/var/mine/graphc"
    assert cache_options({"XDG_CACHE_HOME": "mine"}).folder == os.path.join(home, ".cache", "graphc")
    assert cache_options({"GRAPHC_CACHE": "here"}).folder == os.path.abspath("here")
    assert cache_options({"GRAPHC_CACHE": "~/here"}).folder == os.path.join(home, "here")
    assert cache_options({"GRAPHC_CACHE": "OFF"}).folder is None
    assert cache_options({}).limit == 1 << 30
    assert cache_options({"GRAPHC_CACHE_LIMIT": "5"}).limit == 5 << 20


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e3", "²"])
def test_a_limit_is_a_number(text):
    with pytest.raises(GraphcError, match="GRAPHC_CACHE_LIMIT"):
        cache_options({"GRAPHC_CACHE_LIMIT": text})
