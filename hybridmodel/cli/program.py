"""The program `hybridmodel`: its commands in one group, with one way to end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from hybridmodel.cli.calibrate import calibrate
from hybridmodel.cli.check import check
from hybridmodel.cli.compare import compare
from hybridmodel.cli.convert import convert
from hybridmodel.cli.doctor import doctor
from hybridmodel.cli.errors import exit_status, quiet_pipe
from hybridmodel.cli.export import export
from hybridmodel.cli.inspect import inspect
from hybridmodel.cli.ping import ping
from hybridmodel.cli.predict import predict
from hybridmodel.cli.progress import warnings_in_lines
from hybridmodel.cli.promote import promote
from hybridmodel.cli.rehearse import rehearse
from hybridmodel.cli.report import report
from hybridmodel.cli.serve import serve
from hybridmodel.cli.submit import submit
from hybridmodel.cli.trust import trust
from hybridmodel.flavor.requirements import package_version


class Program(click.Group):
    """A group of commands that reports every error as one line."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run a command and end the process; takes what ``click.Group.main`` does."""
        options["standalone_mode"] = False
        run: Callable[..., Any] = super().main
        sys.exit(exit_status(lambda: run(*args, **options)))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the context names, and write out what it printed."""
        with quiet_pipe(), warnings_in_lines():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@click.group(
    "hybridmodel",
    cls=Program,
    no_args_is_help=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
    epilog=(
        "MODEL_URI is a folder, an ONNX file, models:/name/1, models:/name@alias or runs:/id/name. "
        "Errors are one line on stderr; HYBRIDMODEL_TRACEBACK=1 adds the traceback."
    ),
)
@click.version_option(package_version(), message="%(prog)s %(version)s")
def program() -> None:
    """One model, answered from a local ONNX file or from a Triton endpoint."""


for _command in (
    inspect,
    predict,
    ping,
    compare,
    calibrate,
    report,
    serve,
    convert,
    export,
    check,
    rehearse,
    promote,
    submit,
    doctor,
    trust,
):
    program.add_command(_command)
