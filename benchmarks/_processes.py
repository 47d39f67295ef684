"""What a process and all that it starts take: time, processor time, and memory together."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_EVERY_S = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Taken:
    """What one run of a program took.

    Attributes
    ----------
    cpu_s, wall_s : float
        With all of its children, from start to end.
    peak_bytes : int
        Resident, the sum over its tree of processes at the worst of many moments.
    printed : str
        On stdout.
    """

    cpu_s: float
    wall_s: float
    peak_bytes: int
    printed: str


def taken(command: Sequence[str], **variables: str) -> Taken:
    """Run a program to its end, and see what it takes.

    Raises
    ------
    SystemExit
        If it fails.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdout=out, stderr=err, env=_environment(variables)
        )
        peak = 0
        while True:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            peak = max(peak, tree_bytes(process.pid), own_peak_bytes(process.pid))
            time.sleep(_EVERY_S)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: {process.returncode}\n{err.read()[-3000:]}")
        return Taken(used.ru_utime + used.ru_stime, wall_s, peak, out.read())


def tree_bytes(root: int) -> int:
    """Return the resident memory of a process and all below it."""
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, ValueError):  # It has ended meanwhile.
            continue
    return total


def own_peak_bytes(pid: int) -> int:
    """Return the most that one process has held, as the kernel notes it since its program began.

    What `wait4` says counts the memory of the parent from which it was forked.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _environment(variables: Mapping[str, str]) -> dict[str, Any]:
    root = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": root, "MLFLOW_DISABLE_TELEMETRY": "true", **variables}
