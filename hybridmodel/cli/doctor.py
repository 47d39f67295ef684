"""``hybridmodel doctor``: code and graphs that rely on the dead Azure execution provider."""

from __future__ import annotations

import json
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybridmodel.checks import counted, printable
from hybridmodel.cli import options
from hybridmodel.cli.errors import NO

if TYPE_CHECKING:
    from hybridmodel.doctor import Finding, Probe, Report

_MOST_SKIPPED = 20
_WIDTH = 100
_LONGEST_PATH = 4096


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@options.as_json
def doctor(paths: tuple[str, ...], as_json: bool) -> int:
    """Find code and graphs that rely on onnxruntime's dead Azure execution provider.

    Reads Python files, notebooks and ONNX files, and runs none of them. Says for each place what
    the installed onnxruntime does with it today, which is tried in a process of its own, and what
    to change. Folders such as .git, .venv and site-packages are passed by, unless they are named.

    Exit status: 0 nothing found, 1 something found, 2 error.
    """
    from hybridmodel.doctor import examine

    report = examine([_existing(path) for path in paths])
    if as_json:
        # ASCII, as names of files may hold what no terminal should get, and bytes that are no text.
        click.echo(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        for line in describe(report):
            click.echo(_printable(line))
    return NO if report.findings else 0


def describe(report: Report) -> Iterator[str]:
    """Yield the lines in which people read a report; nothing in them controls a terminal."""
    by_path = groupby(zip(report.findings, report.today, strict=True), lambda pair: pair[0].path)
    for path, pairs in by_path:
        yield printable(path, _LONGEST_PATH)
        yield from _lines_of_file(list(pairs))
        yield ""
    yield from _summary(report)
    for skipped in report.files_skipped[:_MOST_SKIPPED]:
        yield f"  {printable(skipped.path, _LONGEST_PATH)}: {skipped.reason}"
    more = len(report.files_skipped) - _MOST_SKIPPED
    if more > 0:
        yield f"  and {more} more; --json names all"


def _lines_of_file(pairs: list[tuple[Finding, str]]) -> Iterator[str]:
    """Yield findings with the same meaning together."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding, now in pairs:
        groups.setdefault((now, finding.change), []).append(finding)
    for (now, change), findings in groups.items():
        for finding in findings:
            doubt = " (possible)" if finding.level == "possible" else ""
            yield f"  {finding.place}: {finding.title}{doubt}"
        yield from _wrapped("    today   ", now)
        yield from _wrapped("    change  ", change)


def _wrapped(start: str, text: str) -> Iterator[str]:
    for line in text.splitlines():
        indent = " " * (len(start) + len(line) - len(line.lstrip()))
        yield from textwrap.wrap(
            start + line,
            _WIDTH,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        start = " " * len(start)


def _summary(report: Report) -> Iterator[str]:
    files = len({finding.path for finding in report.findings})
    yield f"{counted(len(report.findings), 'finding')} in {counted(files, 'file')}"
    if any(finding.level == "possible" for finding in report.findings):
        yield "possible: nothing in the file shows that the name reaches a session"
    if report.probe is not None:
        yield _tried(report.probe)
    yield f"{counted(len(report.files_read), 'file')} read"
    if report.folders_skipped:
        yield f"{counted(len(report.folders_skipped), 'folder')} passed by: {_folders(report)}"
    if report.files_skipped:
        yield f"{counted(len(report.files_skipped), 'file')} skipped, wholly or in part:"


def _tried(probe: Probe) -> str:
    if probe.failure is not None:
        return probe.failure
    listed = ", ".join(probe.providers)
    return f"tried with onnxruntime {probe.version} of {sys.executable}, which lists {listed}"


def _folders(report: Report) -> str:
    """Name the folders by their last part, most frequent first."""
    names = Counter(Path(skipped.path).name for skipped in report.folders_skipped)
    listed = [printable(name, 40) for name, _ in names.most_common(6)]
    return ", ".join([*listed, "…"] if len(names) > len(listed) else listed)


def _existing(text: str) -> Path:
    path = Path(text)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise click.BadParameter(f"{printable(text)}: {reason}", param_hint="PATH") from None
    return path


def _printable(line: str) -> str:
    """Return a line with characters that stdout has no bytes for written as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)
