"""What a run must be reported with: the machine, the date, the versions."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.util import find_spec
from pathlib import Path

from benchmarks.processes import ROOT


def describe() -> dict[str, str]:
    """The machine, the date and graphc's revision."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "revision": _revision(),
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name", platform.machine())
    numbers = f"family {facts['cpu family']}, model {facts['model']}" if "cpu family" in facts else ""
    vectors = "AVX-512" if "avx512f" in facts.get("flags", "") else "AVX2" if "avx2" in facts.get("flags", "") else ""
    return ", ".join(part for part in (name, numbers, vectors) if part)


def _revision() -> str:
    """The commit of the graphc that is measured, with ``+`` where files differ from it."""
    found = find_spec("graphc")
    folder = Path(found.origin).parent if found and found.origin else ROOT
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed else "")
