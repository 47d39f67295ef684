"""``hybridmodel rehearse``: an exported folder as the endpoint that Azure makes of it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options
from hybridmodel.cli.child import run_child
from hybridmodel.cli.rehearsed import show
from hybridmodel.cli.serve import ended_well_by_signals
from hybridmodel.exceptions import ConfigurationError

if TYPE_CHECKING:
    from hybridmodel.deploy import Rehearsal
    from hybridmodel.deploy.rehearsal.control import Control

_RUN = "run"


class Rehearse(click.Group):
    """A group whose first word may be a folder: then it is rehearsed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in front where the first word is none."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_RUN, *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show both ways to use it."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] DIR [-- PROGRAM ...]")
        formatter.write_usage(ctx.command_path, "COMMAND DIR ...", prefix="       ")


@click.group(cls=Rehearse, no_args_is_help=True)
def rehearse() -> None:
    """Rehearse an exported folder as Azure's endpoint, on this machine.

    Its models run in a real Triton behind a gateway at https://localhost, which does what Azure's
    documents say. `hybridmodel rehearse run --help` lists the options. Give a folder named like a
    command as ./NAME.

    Exit status: 0 done, 2 error; with a PROGRAM, that of the program.
    """


def _limit(_context: Any, _option: Any, given: tuple[str, ...]) -> Any:
    from hybridmodel.deploy.rehearsal.settings import GatewayLimits

    kinds: dict[str, Callable[[str], Any]] = {
        field.name: float if "float" in str(field.type) else int for field in fields(GatewayLimits)
    }
    chosen = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            chosen[name] = kinds[name](value)
        except (KeyError, ValueError):
            raise click.BadParameter(
                f"NAME=NUMBER is expected, with one of {', '.join(kinds)}"
            ) from None
    return GatewayLimits(**chosen)


def _shares(_context: Any, option: click.Parameter, given: str | None) -> dict[str, int] | None:
    from hybridmodel.deploy.rehearsal.traffic import parse_shares

    return None if given is None else parse_shares([given], str(option.name))


def _list(context: click.Context, _option: Any, wanted: bool) -> None:
    if wanted:
        from hybridmodel.deploy.rehearsal.behaviours import table

        click.echo(table())
        context.exit()


@rehearse.command(_RUN)
@click.argument("folder", metavar="DIR", type=options.PATH)
@click.argument("words", metavar="[-- PROGRAM ...]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of https://localhost; 0 takes a free one.",
)
@click.option(
    "--for",
    "asked",
    metavar="HOST|MODEL_URI",
    multiple=True,
    help="The endpoint that PROGRAM believes it asks: its host or address, or a saved model that "
    "names it. Repeatable.",
)
@click.option(
    "--traffic",
    metavar="SHARES",
    callback=_shares,
    help="Percent at the start, as in 'blue=90 green=10'; default is all for the first deployment.",
)
@click.option("--mirror", metavar="SHARE", callback=_shares, help="As in 'green=10'.")
@click.option(
    "--without",
    metavar="NAME",
    multiple=True,
    help="Switch off something that the gateway does; --list shows the names. Repeatable.",
)
@click.option(
    "--limit",
    "limits",
    metavar="NAME=NUMBER",
    multiple=True,
    callback=_limit,
    help="Another number than Azure's, such as token_s=60 or bandwidth_bytes_per_s=1000000. "
    "Repeatable.",
)
@click.option(
    "--server",
    type=click.Choice(["auto", "triton", "embedded"]),
    default="auto",
    help="What runs the models; auto is a real Triton where it runs.",
)
@click.option(
    "--data",
    metavar="DIR",
    type=options.PATH,
    default=".",
    show_default="the current folder",
    help="Jobs of a batch endpoint read and write below this folder only.",
)
@click.option(
    "--page/--no-page",
    default=None,
    help="Print a link to the page that shows it, which lets in who has it, once; default is where "
    "a terminal shows it.",
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="Show what the gateway does, and what of it is documented, and end.",
)
def run(
    folder: Path,
    words: tuple[str, ...],
    asked: tuple[str, ...],
    page: bool | None,
    **settings: Any,
) -> int:
    """Rehearse a folder until Ctrl-C or SIGTERM, or while a program runs.

    PROGRAM is run with variables that let it trust and ask the rehearsal instead of the endpoints
    named by --for; no key of another host is sent there.

    Exit status: 0 ended by Ctrl-C or SIGTERM, 2 error; with PROGRAM, that of the program.
    """
    from hybridmodel.deploy import rehearse as begin

    hosts = tuple(map(_host, asked))
    if words:
        with begin(folder, **settings) as rehearsal:
            _greet(rehearsal, hosts, page)
            return run_child(words, _environment(rehearsal, hosts))
    with ended_well_by_signals(), begin(folder, **settings) as rehearsal:
        _greet(rehearsal, hosts, page)
        file = rehearsal.write_environment(hosts)
        click.echo(f"ask it from another shell after: . {shlex.quote(str(file))}", err=True)
        rehearsal.wait()
    return 0


def _environment(rehearsal: Rehearsal, hosts: tuple[str, ...]) -> Mapping[str, str]:
    from hybridmodel.deploy.rehearsal.environment import without_identities

    own = dict(os.environ)
    if rehearsal.uses_tokens:
        own = without_identities(own)
    return {**own, **rehearsal.environment(hosts)}


def _host(asked: str) -> str:
    """Return a host that can be redirected, or that of the endpoint of a saved model."""
    from hybridmodel.remote.trust.redirection import redirection_names

    host = _named(asked)
    redirection_names(host)
    return host


def _named(asked: str) -> str:
    from hybridmodel.remote.address import read_address

    if "/" not in asked and not Path(asked).exists():
        return asked
    if asked.startswith(("https://", "http://")):
        return str(read_address(asked).place)
    with options.open_model(asked, {}) as model:
        if model.endpoint is None:
            raise ConfigurationError(f"{asked} has no endpoint; --for names one to be replaced")
        if len(model.endpoints) > 1:
            hosts = ", ".join(str(endpoint.place) for endpoint in model.endpoints)
            raise ConfigurationError(
                f"{asked} has several endpoints; --for names each host that is to be replaced, of "
                f"{hosts}"
            )
        return str(model.endpoint.place).removeprefix("http://")


def _greet(rehearsal: Rehearsal, hosts: tuple[str, ...], page: bool | None) -> None:
    seen = rehearsal.snapshot()
    shares = " ".join(f"{name}={percent}" for name, percent in seen.traffic.items())
    given = ", ".join(filter(None, (f"({seen.auth_mode})", shares)))
    lines = [
        f"rehearsing {seen.endpoint} at {seen.uri} {given}; Ctrl-C ends it",
        f"  {seen.server}",
        *(f"  {note}" for note in seen.notes),
        *(f"  {host} is redirected here" for host in hosts),
    ]
    if not hosts:
        lines.append("  no endpoint is redirected here; --for HOST or --for MODEL_URI says which")
    # What is no terminal may be a log that others read.
    if page or (page is None and sys.stderr.isatty()):
        lines.append(f"  its page: {rehearsal.page()} (once)")
    else:
        lines.append(f"  its page: hybridmodel rehearse page {shlex.quote(str(rehearsal.folder))}")
    click.echo("\n".join(lines), err=True)


def _controlling(*own: click.Parameter) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command that watches or changes the rehearsal of a folder, and shows it then."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        def callback(folder: Path, as_json: bool, **given: Any) -> int:
            from hybridmodel.deploy.rehearsal.control import Control

            show(function(Control(folder), **given), as_json)
            return 0

        folder = click.Argument(["folder"], metavar="DIR", type=options.PATH)
        as_json = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
        command = click.Command(
            function.__name__,
            callback=callback,
            params=[folder, *own, as_json],
            help=f"{function.__doc__}\n\nExit status: 0 done, 2 error.",
        )
        rehearse.add_command(command)
        return command

    return decorate


def _deployment() -> click.Argument:
    return click.Argument(["deployment"])


@rehearse.command("page")
@click.argument("folder", metavar="DIR", type=options.PATH)
def page_(folder: Path) -> None:
    """Print a link to the page that shows the rehearsal of DIR; it works once.

    Exit status: 0 done, 2 error.
    """
    from hybridmodel.deploy.rehearsal.control import Control

    click.echo(Control(folder).page())


@_controlling()
def status(control: Control) -> dict[str, Any]:
    """Show the rehearsal of DIR."""
    return control.snapshot()


@_controlling(click.Argument(["shares"], nargs=-1, required=True))
def traffic(control: Control, shares: tuple[str, ...]) -> dict[str, Any]:
    """Share the requests anew, as in: traffic DIR blue=90 green=10."""
    from hybridmodel.deploy.rehearsal.traffic import parse_shares

    return control.set_traffic(parse_shares(shares, "traffic"))


@_controlling(click.Argument(["share"], nargs=-1))
def mirror(control: Control, share: tuple[str, ...]) -> dict[str, Any]:
    """Copy requests to one deployment, as in: mirror DIR green=10; without a share, end that."""
    from hybridmodel.deploy.rehearsal.traffic import parse_shares

    return control.set_mirror(parse_shares(share, "mirror"))


@_controlling(_deployment())
def kill(control: Control, deployment: str) -> dict[str, Any]:
    """End the server of a deployment at once, like a crash."""
    return control.kill(deployment)


@_controlling(_deployment())
def hang(control: Control, deployment: str) -> dict[str, Any]:
    """Let a deployment accept requests and answer none."""
    return control.hang(deployment)


@_controlling(_deployment(), click.Argument(["seconds"], type=click.FloatRange(min=0)))
def slow(control: Control, deployment: str, seconds: float) -> dict[str, Any]:
    """Let a deployment take longer for each request."""
    return control.slow(deployment, seconds)


@_controlling(_deployment())
def revive(control: Control, deployment: str) -> dict[str, Any]:
    """Let a deployment work again that was killed, hung or slow."""
    return control.revive(deployment)


@_controlling(_deployment(), click.Argument(["instances"], type=click.IntRange(min=1)))
def scale(control: Control, deployment: str, instances: int) -> dict[str, Any]:
    """Ask for another number of instances, which count after a while."""
    return control.scale(deployment, instances)


@_controlling(_deployment())
def default(control: Control, deployment: str) -> dict[str, Any]:
    """Let jobs of a batch endpoint that name no deployment run on another one."""
    return control.set_default(deployment)


@_controlling(click.Argument(["job"]))
def evict(control: Control, job: str) -> dict[str, Any]:
    """Take the machine of a running job away, as Azure does with cheap ones."""
    return control.evict(job)


@_controlling(click.Argument(["job"]))
def cancel(control: Control, job: str) -> dict[str, Any]:
    """End a job; what is finished of its output stays."""
    return control.cancel(job)
