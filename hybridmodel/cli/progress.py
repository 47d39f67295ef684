"""Progress and warnings on stderr while a command works."""

from __future__ import annotations

import logging
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from hybridmodel.cli.errors import one_line

if TYPE_CHECKING:
    from hybridmodel.batch.summary import Counts


def _ignore(_rows: int) -> None:
    pass


@contextmanager
def progress(total: int | None, *, streams: bool = False) -> Iterator[Callable[[int], object]]:
    """Yield a function that counts rows as done, shown on stderr if it is a terminal.

    With `streams` results go to stdout at the same time. A bar is then shown only if stdout is a
    file, as the results might appear on the same terminal.
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


@contextmanager
def job_progress() -> Iterator[Callable[[Counts, int | None], object] | None]:
    """Yield what shows how far a job is on stderr; None where that is no terminal."""
    tqdm: Any = None
    if sys.stderr.isatty():
        with suppress(ImportError):
            from tqdm import tqdm
    if tqdm is None:
        yield None
        return
    with tqdm(unit=" rows", leave=False, file=sys.stderr, smoothing=0.1) as bar:
        yield partial(_show_job, bar)


def _show_job(bar: Any, counts: Counts, rows: int | None) -> None:
    """Draw rows and rows/s, the time left, the share that the endpoint answered, and bad rows."""
    if rows is not None and bar.total is None:
        bar.reset(rows)
        bar.initial = bar.n = bar.last_print_n = counts.rows
    told: dict[str, object] = {}
    if counts.remote and counts.rows:
        told["remote"] = f"{counts.remote / counts.rows:.1%}"
    if counts.errors:
        told["errors"] = counts.errors
    bar.set_postfix(told, refresh=False)
    bar.update(max(0, counts.rows - bar.n))


def say(text: str) -> None:
    """Print a line on stderr, above the bar if one is shown."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if tqdm is None:
        print(text, file=sys.stderr)  # noqa: T201 - this is where it is printed
    else:
        tqdm.write(text, file=sys.stderr)


@contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Print warnings and the package's log records as one line each, without secrets."""
    handler = _Lines(logging.WARNING)
    logger = logging.getLogger("hybridmodel")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            # The package's warnings are attributed to its own modules.
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
