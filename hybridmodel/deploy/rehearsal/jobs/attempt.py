"""One attempt of a job: a process of its own, which can be taken away like a cheap machine."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hybridmodel

_PROGRAM = "hybridmodel.deploy.rehearsal.jobs.program"
_MOST_LINE = 1 << 16


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended: `error` says why the model refused, `killed` that the process died."""

    error: str | None = None
    killed: bool = False


class Attempt:
    """Runs the batch driver over files; in the loop's thread only."""

    def __init__(
        self,
        files: Sequence[Path],
        variables: Mapping[str, str],
        log: Path,
        told: Callable[[str], None],
    ) -> None:
        self._asked = {"files": [str(file) for file in files], "variables": dict(variables)}
        self._log, self._told = log, told
        self._process: asyncio.subprocess.Process | None = None
        self._is_killed = False

    async def run(self) -> Ended:
        """Run to the end; `told` gets the driver's line for each file."""
        with self._log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _PROGRAM),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=_environment(),
                limit=_MOST_LINE,
            )
        if self._is_killed:
            self.kill()
        try:
            error = await self._heard(process)
        except BaseException:
            self.kill()
            raise
        finally:
            status = await process.wait()
        return Ended(error=error, killed=error is None and status != 0)

    async def _heard(self, process: asyncio.subprocess.Process) -> str | None:
        """Tell the process what to do, and pass on what it says; return the error that ended it."""
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        with suppress(ConnectionError):
            process.stdin.write(json.dumps(self._asked).encode() + b"\n")
            await process.stdin.drain()
        error: str | None = None
        async for line in process.stdout:
            said: dict[str, Any] = json.loads(line)
            error = said.get("error", error)
            if "done" in said:
                self._told(said["done"])
        return error

    def kill(self) -> None:
        """End the process at once, like a machine that is taken away."""
        self._is_killed = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


def _environment() -> dict[str, str]:
    """Return the environment of the process: this one's, in which this package is found."""
    root = str(Path(hybridmodel.__file__).parents[1])
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": root if not known else f"{root}{os.pathsep}{known}"}
