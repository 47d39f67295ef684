"""How the command line shows a rehearsal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hybridmodel.checks import printable
from hybridmodel.cli import options

_COLUMNS = (
    "deployment",
    "condition",
    "traffic",
    "mirror",
    "instances",
    "in flight",
    "median",
    "p99",
    "answers",
)
_JOB_COLUMNS = ("job", "state", "deployment", "files", "attempts", "said")


def show(snapshot: Mapping[str, Any], as_json: bool) -> None:
    """Print a snapshot, as `Snapshot.as_json` makes it, for people or for machines."""
    if as_json:
        options.echo_json(snapshot)
        return
    options.echo_pairs(
        [
            ("endpoint", f"{snapshot['endpoint']} at {snapshot['uri']} ({snapshot['auth_mode']})"),
            ("server", snapshot["server"]),
            ("for", f"{snapshot['elapsed_s']:.0f} s, {snapshot['connections']} connections"),
            ("answers", _counts(snapshot["codes"])),
        ]
    )
    if snapshot["deployments"] or not snapshot["jobs"]:
        _echo_table([_COLUMNS, *map(_row, snapshot["deployments"])])
    if snapshot["jobs"]:
        _echo_table([_JOB_COLUMNS, *map(_job_row, snapshot["jobs"])])


def _echo_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _job_row(seen: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        seen["name"],
        seen["state"],
        seen["deployment"],
        f"{seen['done']} of {seen['files']}",
        str(seen["attempts"]),
        printable(seen["said"]),
    )


def _row(seen: Mapping[str, Any]) -> tuple[str, ...]:
    wanted, now = seen["wanted_instances"], seen["instances"]
    later = "" if wanted == now else f" ({wanted} in {seen['instances_in_s']:.0f} s)"
    slow = f" by {seen['delay_s']:g} s" if seen["delay_s"] else ""
    return (
        seen["name"],
        f"{seen['condition']}{slow}",
        f"{seen['traffic']} %",
        f"{seen['mirror']} %",
        f"{now}{later}",
        f"{seen['in_flight']} of {seen['limit']}",
        _milliseconds(seen["latency"]["median_s"]),
        _milliseconds(seen["latency"]["p99_s"]),
        _counts(seen["codes"]),
    )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.1f} ms"


def _counts(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {code}" for code, count in codes.items()) or "none"
