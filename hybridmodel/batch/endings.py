"""Errors of a job that was not finished: they tell how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hybridmodel.exceptions import ConfigurationError, HybridModelError

_TO_GO_ON = "what is done is kept: --resume (resume=True) goes on with it"


@contextmanager
def clear_errors(output: str) -> Iterator[None]:
    """Turn errors of files and disks into a `ConfigurationError`."""
    try:
        yield
    except HybridModelError:
        raise  # Some of these are an OSError too, such as a timeout.
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ConfigurationError(f"{output}: {error.strerror or error}{where}") from error


@contextmanager
def told_how_to_go_on(output: str, has_parts: Callable[[], bool]) -> Iterator[None]:
    """Add to an error how to go on with the job, if any part is done."""
    try:
        with clear_errors(output):
            yield
    except BaseException as error:
        if not has_parts():
            raise
        if isinstance(error, ConfigurationError) and isinstance(error.__cause__, OSError):
            raise ConfigurationError(f"{error}; {_TO_GO_ON}") from error.__cause__
        error.add_note(_TO_GO_ON)
        raise
