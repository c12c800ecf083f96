"""Print the N-th fenced ``sh`` block of README.md, so that CI runs what the README tells a reader to run.

Usage: python .ci/readme_command.py N        (counted from 1)
"""

import re
import sys
from pathlib import Path

_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


def sh_block(text: str, number: int) -> str:
    """Return the ``number``-th ``sh`` block of a Markdown text.

    Raises:
        ValueError: there is no such block, or it is not one command line.
    """
    blocks = [block.strip() for block in _BLOCK.findall(text)]
    if number > len(blocks):
        raise ValueError(f"README.md has {len(blocks)} sh blocks, so none with number {number}")
    command = blocks[number - 1]
    if "\n" in command.replace("\\\n", " "):
        raise ValueError(f"sh block {number} of README.md is not one command line:\n{command}")
    return command


if __name__ == "__main__":
    readme = Path(__file__).resolve().parent.parent / "README.md"
    print(sh_block(readme.read_text(encoding="utf-8"), int(sys.argv[1])))
