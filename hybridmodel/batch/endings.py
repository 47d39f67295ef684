"""How a job ends that could not be finished: with an error that says how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hybridmodel.exceptions import ConfigurationError, HybridModelError

_TO_GO_ON = "what is done is kept: --resume (resume=True) goes on with it"


@contextmanager
def clear_errors(output: str) -> Iterator[None]:
    """Turn what the system says of files and disks into a `ConfigurationError`."""
    try:
        yield
    except HybridModelError:
        raise  # Some are errors of the system as well, such as a timeout.
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ConfigurationError(f"{output}: {error.strerror or error}{where}") from error


@contextmanager
def told_how_to_go_on(output: str) -> Iterator[None]:
    """Add to any error how the job goes on: to errors of a full disk in the message itself."""
    try:
        with clear_errors(output):
            yield
    except ConfigurationError as error:
        if isinstance(error.__cause__, OSError):
            raise ConfigurationError(f"{error}; {_TO_GO_ON}") from error.__cause__
        error.add_note(_TO_GO_ON)
        raise
    except BaseException as error:
        error.add_note(_TO_GO_ON)
        raise
