"""``graphc cache``."""

import json

import pytest

from graphc.cli.main import main


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GRAPHC_DEBUG")
    monkeypatch.setattr("graphc.cache._LOADED", float("inf"))  # whoever edits graphc meanwhile
    return tmp_path / "cache"


def test_it_is_shown_and_emptied(cache, graphc):
    assert graphc("cache").out == f"{cache}: 0 entries, 0 B of 1.0 GiB\n"
    assert graphc("compile", "recurrent.py", "-q").code == 0
    figures = json.loads(graphc("cache", "--json").out)
    assert (figures["folder"], figures["entries"], figures["limit"]) == (str(cache), 1, 1 << 30)
    assert figures["bytes"] == sum(path.stat().st_size for path in cache.iterdir())
    assert graphc("cache", "--clear").out == f"{cache}: removed 1 entry\n"
    assert list(cache.iterdir()) == []
    assert json.loads(graphc("cache", "--clear", "--json").out)["removed"] == 0


def test_where_there_is_none_it_says_why(cache, graphc, monkeypatch):
    cache.touch()
    assert graphc("cache").out.startswith("the compile cache is off: ")
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    assert json.loads(graphc("cache", "--json").out)["reason"] == "GRAPHC_CACHE"
    assert graphc("cache", "-q").out == ""


def test_a_damaged_entry_is_one_line_and_no_more(cache, folder, capsys):
    assert main(["compile", "recurrent.py", "-q"]) == 0
    [entry] = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    capsys.readouterr()
    assert main(["compile", "recurrent.py", "-q", "--force"]) == 0
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert line.startswith("graphc: warning: the cache entry ")
    assert captured.out == ""


def test_a_wrong_limit_is_an_error_of_the_user(cache, refused, monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE_LIMIT", "much")
    refused(["compile", "recurrent.py"], 2, "E106")
