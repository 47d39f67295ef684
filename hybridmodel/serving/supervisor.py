"""Run a server for as long as its owner lives, and leave nothing of it behind.

A script, not imported: ``python supervisor.py OWNER FOLDER COMMAND...``. It prints the
server's process id and ends the server, with all processes of its group, when its standard input
says anything or closes, or when the owner has gone by whatever way. It sits in between because a
process cannot watch over its own sudden death, and the kernel's "kill me when my parent dies"
means the parent's *thread*. It runs by itself, without hybridmodel.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_S = 12.0
POLL_S = 0.2

_PR_SET_PDEATHSIG = 1
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has it
_SCRATCH = Path("/tmp")  # noqa: S108 - where the python backend makes its folders, and nowhere else


def main(owner: int, folder: Path, command: list[str]) -> None:
    """Run the command until it ends or nobody wants it any more, then clean up after it.

    Parameters
    ----------
    owner : int
        Process id of the process to live with.
    folder : Path
        Where ``server.log`` goes; removed when the owner is not there to do so. Files of shared
        memory whose names begin with the folder's are the command's.
    command : list of str
        The server.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    prctl = ctypes.CDLL(None).prctl
    crumbs = set(_crumbs())
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(  # noqa: S603 - the command is our owner's
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - no threads
        )
    try:
        os.write(1, b"%d\n" % server.pid)
        while not has_ended(server.pid) and os.getppid() == owner:
            if select.select([0], [], [], POLL_S)[0]:
                break
    finally:
        if end(server.pid):
            _sweep(set(_crumbs()) - crumbs)
        for file in _SHARED_MEMORY.glob(f"{folder.name}*"):
            file.unlink(missing_ok=True)
        if os.getppid() != owner:
            shutil.rmtree(folder, ignore_errors=True)


def has_ended(pid: int) -> bool:
    """Tell whether a child has ended; its id stays its own until somebody waits for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def end(pid: int) -> bool:
    """End a child that leads a process group: first politely, then all of the group at once.

    Returns
    -------
    bool
        Whether it died of a signal, and so could not tidy up.
    """
    if not has_ended(pid):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    while not has_ended(pid) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def _crumbs() -> list[Path]:
    """List the folders that the python backend makes in a place that cannot be chosen."""
    return list(_SCRATCH.glob("python_env_??????"))


def _sweep(folders: set[Path]) -> None:
    for folder in folders:
        # Not ours, or in use when it is not empty.
        with contextlib.suppress(OSError):
            folder.rmdir()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
