"""The command line: `hybridmodel.cli.program` has its commands, one small module each.

The other modules of this package import click when they are imported; only `main` imports them.
"""

from __future__ import annotations

import sys

from hybridmodel.checks import needed_for
from hybridmodel.exceptions import MissingDependency


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        with needed_for("the command line"):
            import click  # noqa: F401
    except MissingDependency as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(2)
    from hybridmodel.cli.program import program

    program.main(prog_name="hybridmodel")
