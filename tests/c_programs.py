"""Programs in C that link an artifact's library."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def run_c(source: str, folder: Path, place: Path) -> list[float] | None:
    """The numbers that a program prints that is given the weights of the artifact in ``folder``; None without ``cc``.

    Args:
        source: of the program, without a warning in C99.
        folder: of the artifact, whose name its library and its header have.
        place: where the program is built.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program, target = place / "use.c", place / "use"
    program.write_text(source)
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-std=c99"]
    link = [str(folder / f"{folder.name}.so"), f"-Wl,-rpath,{folder}", "-lm", "-o", str(target)]
    subprocess.run([compiler, *warnings, "-I", str(folder), str(program), *link], check=True)
    done = subprocess.run([target, folder / "weights.safetensors"], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]
