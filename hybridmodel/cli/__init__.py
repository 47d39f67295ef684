"""The command line: `hybridmodel.cli.program` has its commands, one small module each.

The other modules of this package import click when they are imported; only `main` imports them.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        import click  # noqa: F401
    except ImportError:
        sys.stderr.write("Error: the command line needs click: pip install 'hybridmodel[cli]'\n")
        sys.exit(2)
    from hybridmodel.cli.program import program

    program.main(prog_name="hybridmodel")
