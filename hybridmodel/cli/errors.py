"""Exit statuses of commands, and errors as one line without secrets."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from hybridmodel.cli.endings import Terminated, ended_by_signals
from hybridmodel.exceptions import HybridModelError

NO = 1  # The command's question has the answer no.
ERROR = 2  # The command failed; the message is on stderr.
INTERRUPTED = 130  # Ended by Ctrl-C: 128 plus the number of SIGINT.
BY_SIGNAL = 128  # Ended by another signal: plus its number, such as 143 for SIGTERM.
PIPE_CLOSED = 141  # The reader of stdout is gone: 128 plus the number of SIGPIPE.

TRACEBACK_ENV = "HYBRIDMODEL_TRACEBACK"

_USER_IN_URL = re.compile(r"//[^/@\s]+@")


def exit_status(run: Callable[[], Any]) -> int:
    """Run a command, print an error as one line on stderr, and return the exit status."""
    try:
        with ended_by_signals():
            status = run()
    except (click.Abort, KeyboardInterrupt) as interrupt:
        _echo_notes(interrupt)
        return INTERRUPTED
    except Terminated as signal:
        _echo_notes(signal)
        return BY_SIGNAL + signal.number
    except Exception as error:  # noqa: BLE001 - users of a command get a line, not a traceback
        if os.environ.get(TRACEBACK_ENV):
            traceback.print_exc()
        click.echo(f"Error: {one_line('; '.join([_message(error), *_notes(error)]))}", err=True)
        return ERROR
    return status if isinstance(status, int) else 0


def one_line(said: Exception | str) -> str:
    """Return an error message as one line, without passwords from addresses."""
    text = said if isinstance(said, str) else _message(said)
    return _USER_IN_URL.sub("//***@", " ".join(text.split()))


def _echo_notes(error: BaseException) -> None:
    for note in _notes(error):
        click.echo(one_line(note), err=True)


def _notes(error: BaseException) -> list[str]:
    """Return what was added to an error, or to the one that it was made of: how to go on."""
    notes: list[str] = getattr(error, "__notes__", [])
    cause = error.__cause__
    return notes or ([] if cause is None else _notes(cause))


@contextmanager
def quiet_pipe() -> Iterator[None]:
    """End silently when the reader of stdout is gone, as after ``| head -1``."""
    try:
        yield
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it exits, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(PIPE_CLOSED) from None


def _message(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "hybridmodel"
        return f"{error.format_message()} (see {command} --help)"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, HybridModelError) or type(error).__module__.startswith("mlflow."):
        return str(error)
    if isinstance(error, OSError):
        known = error.filename is not None and error.strerror
        return f"{error.filename}: {error.strerror}" if known else str(error)
    return f"{type(error).__name__}: {error}"
