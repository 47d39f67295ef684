"""The options of ``predict`` that are about a job: how it goes on, bad rows, how fast it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

_OPTIONS = (
    click.option(
        "--resume",
        is_flag=True,
        help="Go on with a job that was ended before it was done; begin one where there is none.",
    ),
    click.option(
        "--overwrite",
        is_flag=True,
        help="Replace an output that is there, once all rows are answered; begin anew.",
    ),
    click.option(
        "--on-bad-rows",
        type=click.Choice(["fail", "write"]),
        default="fail",
        show_default=True,
        help="What to do with rows that the model cannot take: end, or write them with the reason "
        "to a file beside the output.",
    ),
    click.option(
        "--max-errors",
        metavar="N",
        default="0",
        show_default=True,
        help="How many rows may be bad, or which share such as 1%, before the job ends.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Threads that answer; default is found out by a short trial.",
    ),
    click.option(
        "--batch-rows",
        type=click.IntRange(min=1),
        help="Rows that are answered at a time; default is what is fast, in flat memory.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What was given; see the help of each option."""

    resume: bool
    overwrite: bool
    on_bad_rows: str
    max_errors: str
    workers: int | None
    batch_rows: int | None

    def check_stream(self) -> None:
        """Refuse what needs files to read from and one to write to.

        Raises
        ------
        click.UsageError
            If such an option was given.
        """
        given = {
            "--resume": self.resume,
            "--on-bad-rows write": self.on_bad_rows != "fail",
            "--max-errors": self.max_errors != "0",
        }
        for option, is_given in given.items():
            if is_given:
                raise click.UsageError(f"{option} needs files to read, and --output")


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as ``job``."""
    names = JobOptions.__slots__

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> Any:
        own = {name: given.pop(name) for name in names}
        return command(*args, job=JobOptions(**own), **given)

    made: Callable[..., Any] = run
    for option in reversed(_OPTIONS):
        made = option(made)
    return made
