"""``graphc cache``: what the compile cache holds."""

from __future__ import annotations

import argparse

from graphc.cli.common import Console, ExitCode, Parser, add_common, readable_size


def configure(parser: Parser) -> None:
    """Add the options of ``graphc cache``."""
    parser.add_argument("--clear", action="store_true", help="empty it; compilations that run meanwhile go on")
    add_common(parser, figures=True)
    parser.example("graphc cache --clear")


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Say where the cache is and how full, after emptying it if that is asked for."""
    from graphc.artifact.store import Store
    from graphc.cache import open_store

    store = open_store()
    if not isinstance(store, Store):
        console.say(f"the compile cache is off: {store}")
        console.figures({"folder": None, "reason": store, "entries": 0, "bytes": 0, "limit": 0, "removed": 0})
        return ExitCode.DONE
    removed = store.clear() if arguments.clear else 0
    entries, size = store.usage()
    if arguments.clear:
        console.say(f"{store.folder}: removed {_entries(removed)}")
    else:
        console.say(f"{store.folder}: {_entries(entries)}, {readable_size(size)} of {readable_size(store.limit)}")
    console.figures(
        {
            "folder": store.folder,
            "reason": None,
            "entries": entries,
            "bytes": size,
            "limit": store.limit,
            "removed": removed,
        }
    )
    return ExitCode.DONE


def _entries(number: int) -> str:
    return "1 entry" if number == 1 else f"{number:,} entries"
