"""Chains of very many nodes: no recursion, no quadratic step, bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chains import CHAINS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60.0
BYTES = 4 * 2**30


def report(kind: str, nodes: int, backend: str) -> dict[str, float]:
    """Run one chain in a process of its own, without the verifier that tests switch on."""
    environment = {**os.environ, "GRAPHC_DEBUG": ""}
    command = [sys.executable, "-m", "tests.chains", kind, str(nodes), backend]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{kind}, {nodes} nodes, {backend}:\n{done.stderr[-3000:]}"
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(kind: str, nodes: int, backend: str, seconds: float) -> None:
    found = report(kind, nodes, backend)
    assert nodes * 0.95 <= found["nodes"] <= nodes * 1.05, found
    assert found["seconds"] < seconds, found
    assert found["bytes"] < BYTES, found


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("kind", CHAINS)
def test_chain_of_20_000_nodes(kind: str, backend: str) -> None:
    check(kind, 20_000, backend, SECONDS / 2)


@pytest.mark.slow(ci=False)
@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("kind", CHAINS)
def test_chain_of_200_000_nodes(kind: str, backend: str) -> None:
    check(kind, 200_000, backend, SECONDS)
