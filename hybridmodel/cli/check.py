"""``hybridmodel check``: the files of a deployment, before they go to Azure."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hybridmodel.checks import counted
from hybridmodel.cli import options
from hybridmodel.cli.errors import NO

if TYPE_CHECKING:
    from hybridmodel.deploy.checking import Finding


@click.command()
@click.argument("folder", metavar="DIR", type=options.PATH)
@options.as_json
def check(folder: Path, as_json: bool) -> int:
    """Find what is wrong with the files of a deployment.

    Reads endpoints, deployments (*.yml, *.yaml), config.pbtxt, and what the ONNX files beside it
    declare. Says for each mistake where it is, what is wrong and what to write. Nothing is run,
    and no network is asked.

    Exit status: 0 no error found, 1 errors found, 2 the folder cannot be checked.
    """
    from hybridmodel.deploy.checking import check as checked

    findings = checked(folder)
    if as_json:
        # ASCII, as names of files may hold what no terminal should get, and bytes that are no text.
        said = {"findings": [finding.to_dict() for finding in findings]}
        click.echo(json.dumps(said, indent=2, allow_nan=False))
    else:
        encoding = sys.stdout.encoding or "utf-8"
        for line in describe(findings):
            click.echo(line.encode(encoding, "backslashreplace").decode(encoding))
    return NO if any(finding.severity == "error" for finding in findings) else 0


def describe(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines in which people read findings."""
    for file, group in groupby(findings, lambda finding: finding.file):
        yield file
        for finding in group:
            place = f"line {finding.line}: " if finding.line is not None else ""
            yield f"  {place}{finding.severity}: {finding.what} [{finding.rule}]"
            yield f"    {finding.write}"
        yield ""
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = len(findings) - errors
    yield f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
