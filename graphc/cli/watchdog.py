"""``--timeout``: a build in a process of its own, which can be ended whatever it is doing.

A watching thread could not end native code that never returns, nor a model that catches every exception.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

from graphc.cli.common import ExitCode
from graphc.errors import GraphcValueError

_GRACE_S = 3.0
"""What a build has to clean up after itself."""

# The child sees the same modules as this process, and the current folder only where this one does.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from graphc.cli.main import main; sys.exit(main())"
)


def run_limited(words: Sequence[str], limit: float, output: str | None) -> int:
    """Run ``graphc`` with ``words`` in a process of its own, for ``limit`` seconds at most.

    Args:
        words: the command.
        limit: seconds.
        output: the artifact's folder; temporary files lie beside it.  None: it is in the current folder.

    Returns:
        The exit code of the command.

    Raises:
        GraphcValueError: it took longer, and was ended (E109).
    """
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), *words],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = child.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        _end(child, signal.SIGTERM)
        _remove_leftovers(child.pid, output)
        hint = "give it longer with --timeout, or find the slow part with --time"
        raise GraphcValueError("E109", f"the build was ended after {limit:g} s", hint=hint) from None
    except KeyboardInterrupt:
        _end(child, signal.SIGINT)
        _remove_leftovers(child.pid, output)
        raise
    return code if code >= 0 else ExitCode.BUG


def _end(child: subprocess.Popen[bytes], request: signal.Signals) -> None:
    """Ask the process and what it started to end, and then make them."""
    _signal_group(child, request)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=_GRACE_S)
    _signal_group(child, signal.SIGKILL)
    child.wait()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone already
        os.killpg(child.pid, number)


def _remove_leftovers(pid: int, output: str | None) -> None:
    """Remove the temporary folders of a build that was killed before it could; one that it had set aside goes back."""
    parent = os.path.dirname(os.path.abspath(output)) if output is not None else os.getcwd()
    for leftover in sorted(glob.glob(os.path.join(glob.escape(parent), f".*.{pid}-*"))):
        destination = os.path.join(parent, os.path.basename(leftover)[1:].partition(f".{pid}-")[0])
        if leftover.endswith(".old") and not os.path.lexists(destination):
            os.rename(leftover, destination)
        else:
            shutil.rmtree(leftover, ignore_errors=True)
