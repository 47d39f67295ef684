"""What is said on stderr while a command works: how far it is, and what is worth a warning."""

from __future__ import annotations

import logging
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hybridmodel.cli.errors import one_line


def _ignore(_rows: int) -> None:
    pass


@contextmanager
def progress(total: int | None, *, streams: bool = False) -> Iterator[Callable[[int], object]]:
    """Show how many rows are done, on stderr, when it is a terminal and tqdm is installed.

    Parameters
    ----------
    total : int or None
        Rows to be done, None when not known.
    streams : bool, default=False
        Whether results go to stdout meanwhile: then there is a bar only where stdout is a file,
        since anything else may come out on the same terminal.

    Yields
    ------
    callable
        To be called with the number of rows that were done since the last call.
    """
    if not sys.stderr.isatty() or (streams and not _stdout_is_file()):
        yield _ignore
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield _ignore
        return
    with tqdm(total=total, unit=" rows", leave=False, file=sys.stderr) as bar:
        yield bar.update


def say(text: str) -> None:
    """Print a line on stderr, above the bar where there is one."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if tqdm is None:
        print(text, file=sys.stderr)  # noqa: T201 - this is where it is printed
    else:
        tqdm.write(text, file=sys.stderr)


@contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Say warnings and the package's log lines in one line each, without secrets."""
    handler = _Lines(logging.WARNING)
    logger = logging.getLogger("hybridmodel")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            # Those that are addressed to these modules, which is whom the package's own reach.
            warnings.filterwarnings("default", module="hybridmodel")
            warnings.showwarning = _show
            yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    """Log records as a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"Warning: {one_line(record.getMessage())}")


def _show(message: Warning | str, *_where: Any, **_more: Any) -> None:
    say(f"Warning: {one_line(str(message))}")


def _stdout_is_file() -> bool:
    try:
        return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False
