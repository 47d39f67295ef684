"""A progress bar where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def _ignore(_rows: int) -> None:
    pass


@contextmanager
def progress(total: int | None) -> Iterator[Callable[[int], object]]:
    """Show how many rows are done, on stderr, when it is a terminal and tqdm is installed.

    Parameters
    ----------
    total : int or None
        Rows to be done, None when not known.

    Yields
    ------
    callable
        To be called with the number of rows that were done since the last call.
    """
    if not sys.stderr.isatty():
        yield _ignore
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield _ignore
        return
    with tqdm(total=total, unit=" rows", leave=False, file=sys.stderr) as bar:
        yield bar.update
