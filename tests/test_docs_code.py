"""Every ``python`` block of the README and of docs/ runs; a block marked ``python no-run`` is left alone.

The blocks of one file share a namespace and a folder, in order, as a reader would type them.
"""

import re
import runpy
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)``` *$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A code block and the line its code begins at."""

    line: int
    code: str


def python_blocks(text: str) -> list[Block]:
    """Return the blocks of a Markdown text that are to be run."""
    blocks = []
    for fence in _FENCE.finditer(text):
        words = fence["info"].split()
        if not words or words[0] != "python" or "no-run" in words[1:]:
            continue
        width = len(fence["indent"])
        code = "".join(line[width:] for line in fence["body"].splitlines(keepends=True))
        blocks.append(Block(text.count("\n", 0, fence.start("body")) + 1, code))
    return blocks


def _pages_with_code() -> list[Path]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in pages if page.name == "README.md" or python_blocks(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", _pages_with_code(), ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # a block may import what an earlier one compiled
    namespace: dict[str, object] = {"__name__": "__docs__"}
    for block in python_blocks(page.read_text(encoding="utf-8")):
        # Blank lines before the code make a traceback name the line of the page.
        exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


def test_blocks_are_found_with_their_lines() -> None:
    ignored = "```python no-run\n1/0\n```\n```sh\nls\n```\n"
    text = f"# t\n```python\nx = 1\n```\n{ignored}* item\n\n  ```python\n  y = 2\n  ```\n"
    assert python_blocks(text) == [Block(3, "x = 1\n"), Block(14, "y = 2\n")]


@pytest.mark.parametrize("number", [1, 2])
def test_the_readme_opens_with_two_command_lines(number: int) -> None:
    sh_block = runpy.run_path(str(ROOT / ".ci" / "readme_command.py"))["sh_block"]
    assert sh_block((ROOT / "README.md").read_text(encoding="utf-8"), number)
