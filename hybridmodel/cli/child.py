"""Runs a program for as long as a command lives, and ends as it does."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from hybridmodel.cli.errors import BY_SIGNAL
from hybridmodel.exceptions import ConfigurationError

GRACE_S = 10.0


def run_child(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program to its end and return its exit status, 128 and more for a signal.

    An interrupt of the terminal reaches it as well; whatever else ends this process ends it too.
    Raises `ConfigurationError` if it cannot be started.
    """
    try:
        child = subprocess.Popen(words, env=dict(environment))  # noqa: S603 - the user's program
    except OSError as error:
        raise ConfigurationError(f"{words[0]}: cannot be run: {error.strerror}") from error
    try:
        status = child.wait()
    except KeyboardInterrupt:
        status = _ended(child)
    except BaseException:
        child.terminate()
        _ended(child)
        raise
    return BY_SIGNAL - status if status < 0 else status


def _ended(child: subprocess.Popen[bytes]) -> int:
    """Wait for a program that has been told to end, and then no longer."""
    with suppress(subprocess.TimeoutExpired):
        return child.wait(GRACE_S)
    child.kill()
    return child.wait()
