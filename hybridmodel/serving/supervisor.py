"""Runs a server for as long as its owner lives, and cleans up after it.

A script: ``python supervisor.py OWNER FOLDER COMMAND...``. It reads a key, the first line of its
standard input, and puts it in the place of ``(key)`` in the command. It prints the server's process
id. It ends the server, with all processes of its group, when its standard input gets another byte
or closes, or when the owner has died in any way. It is a process of its own because no process can
react to its own sudden death, and because the kernel's "kill me when my parent dies" refers to the
parent's *thread*. It runs alone, without hybridmodel.

Anyone on the machine can read a process' command line, but only its own user its environment, and
the server takes its key only from the command line. So the server starts with ``(key)`` there and
is held by ptrace before its first instruction, while the pointers of its arguments are redirected
to words in its environment.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GRACE_S = 12.0
POLL_S = 0.2
PLACEHOLDER = "(key)"

_PR_SET_PDEATHSIG = 1
_PTRACE_TRACEME, _PTRACE_DETACH = 0, 17
_START_STACK, _ENV_START = 25, 47  # Fields of /proc/<pid>/stat, counted behind the name.
_POINTER_BYTES = 8
_VARIABLE = "SUPERVISED_ARGUMENT_"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - its place on Linux
_SCRATCH = Path("/tmp")  # noqa: S108 - the python backend has no other place


def main(owner: int, folder: Path, command: list[str]) -> None:
    """Run the command until it ends or is no longer wanted, then clean up after it.

    `folder` gets ``server.log``, and is removed if the owner can no longer do that. Files of shared
    memory whose names begin with the folder's name belong to the command.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    key = _read_line()
    leftovers = set(_leftovers())
    with (folder / "server.log").open("ab") as log:
        server = start(command, key, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        os.write(1, b"%d\n" % server.pid)
        while not has_ended(server.pid) and os.getppid() == owner:
            if select.select([0], [], [], POLL_S)[0]:
                break
    finally:
        if end(server.pid):
            for empty in set(_leftovers()) - leftovers:
                with contextlib.suppress(OSError):  # Another server's, and in use.
                    empty.rmdir()
        for file in _SHARED_MEMORY.glob(f"{folder.name}*"):
            file.unlink(missing_ok=True)
        if os.getppid() != owner:
            shutil.rmtree(folder, ignore_errors=True)


def start(command: list[str], key: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a server with a key in its arguments that its command line does not show.

    Where ptrace is forbidden the command line shows it too, which is better than no key.
    """
    words = {
        at: word.replace(PLACEHOLDER, key) for at, word in enumerate(command) if PLACEHOLDER in word
    }
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
        return _start_hidden(command, words, options)
    plain = [words.get(at, word) for at, word in enumerate(command)]
    return _popen(plain, _die_with_parent, options)


def _start_hidden(
    command: list[str], words: dict[int, str], options: dict[str, Any]
) -> subprocess.Popen[bytes]:
    variables = {f"{_VARIABLE}{at}": word for at, word in words.items()}
    server = _popen(command, _be_held, {**options, "env": {**os.environ, **variables}})
    try:
        os.waitpid(server.pid, 0)  # Until it is before its first instruction.
        for at in words:
            _bend(server.pid, at, f"{_VARIABLE}{at}=".encode())
        _ptrace(_PTRACE_DETACH, server.pid)
    except BaseException:
        with server:
            server.kill()
        raise
    return server


def _popen(command: list[str], prepare: Any, options: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the owner's command
        command,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 - no threads
        **options,
    )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _be_held() -> None:
    _die_with_parent()
    _ptrace(_PTRACE_TRACEME)


def _ptrace(request: int, pid: int = 0) -> None:
    word = ctypes.c_long
    if ctypes.CDLL(None, use_errno=True).ptrace(word(request), word(pid), word(0), word(0)) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def _bend(pid: int, at: int, variable: bytes) -> None:
    """Point an argument to the value of a variable, in a process before its first instruction."""
    process = Path("/proc", str(pid))
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    environment = (process / "environ").read_bytes()
    value = int(fields[_ENV_START]) + environment.index(variable) + len(variable)
    # The number of arguments comes first, then a pointer for each.
    slot = int(fields[_START_STACK]) + (1 + at) * _POINTER_BYTES
    with (process / "mem").open("r+b", buffering=0) as memory:
        memory.seek(slot)
        memory.write(value.to_bytes(_POINTER_BYTES, sys.byteorder))


def _read_line() -> str:
    """Read one line from standard input, and nothing beyond it."""
    with open(0, "rb", buffering=0, closefd=False) as unbuffered:
        return unbuffered.readline().decode().removesuffix("\n")


def has_ended(pid: int) -> bool:
    """Tell whether a child has ended; its id stays reserved until somebody waits for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def end(pid: int) -> bool:
    """End a child and its process group, first with SIGTERM; return whether a signal killed it."""
    if not has_ended(pid):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    while not has_ended(pid) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def _leftovers() -> Iterator[Path]:
    """Return the folders that the python backend makes, and leaves behind when it is killed."""
    return _SCRATCH.glob("python_env_??????")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
