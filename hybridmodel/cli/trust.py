"""``hybridmodel trust``: grants a saved model to send a key and data to its endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from hybridmodel.cli import options
from hybridmodel.cli.errors import NO
from hybridmodel.cli.sending import sent_to, wanted_grants
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.trust import trust_file
from hybridmodel.remote.trust.grants import ENTRA, Grant, parse_grants
from hybridmodel.remote.trust.permission import ALLOW_ENV


@click.command()
@click.argument("model_uri", metavar="[MODEL_URI]", required=False)
@click.option("--list", "listed", is_flag=True, help="Print what is granted in your file.")
@click.option(
    "--revoke",
    metavar="GRANT",
    multiple=True,
    help="Take a grant out of your file, as --list prints it; a place alone takes out all of that "
    "place. Repeatable.",
)
@click.option(
    "--print-env",
    is_flag=True,
    help=f"Print {ALLOW_ENV}=... for a container or Spark, and write nothing: for MODEL_URI, or "
    "for all of your file.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.model_config
def trust(
    model_uri: str | None,
    listed: bool,
    revoke: tuple[str, ...],
    print_env: bool,
    yes: bool,
    config: dict[str, Any],
) -> int:
    """Let a saved model send data, and the key that it names, to its endpoint.

    Shows what would be sent where, asks, and writes it into a file of yours. What is granted is
    a variable and a place, whichever saved model names the two. Calls no endpoint, reads no key.

    Exit status: 0 granted or shown, 1 not granted, or no such grant to revoke, 2 error.
    """
    _check_usage(model_uri or print_env, listed, revoke)
    if revoke:
        return _revoke(parse_grants(revoke, "--revoke"))
    if listed:
        click.echo("".join(f"{grant}\n" for grant in trust_file.read()), nl=False)
        return 0
    if model_uri is None:
        return _print_env(trust_file.read())
    with options.open_model(model_uri, config) as model:
        endpoints = model.endpoints
    if not endpoints:
        raise ConfigurationError(f"{model_uri}: the model has no endpoint, so it sends nothing")
    for endpoint in endpoints:
        if not endpoint.place.can_be_named:
            raise ConfigurationError(f"{endpoint.uri}: no grant can name a path of this kind")
    if print_env:
        return _print_env(_wanted(endpoints))
    return _grant(model_uri, endpoints, yes)


def _check_usage(more: object, listed: bool, revoke: tuple[str, ...]) -> None:
    if (listed or revoke) and (more or (listed and revoke)):
        raise click.UsageError("--list and --revoke take no other options or arguments")
    if not (listed or revoke or more):
        raise click.UsageError("name a model, or --list, --revoke or --print-env")


def _wanted(endpoints: Sequence[Endpoint]) -> tuple[Grant, ...]:
    """Return the grants that all endpoints of a model want, each of them once."""
    return tuple(dict.fromkeys(grant for item in endpoints for grant in wanted_grants(item)))


def _grant(model_uri: str, endpoints: Sequence[Endpoint], yes: bool) -> int:
    urls = [("endpoint", endpoint.model_url) for endpoint in endpoints]
    options.echo_pairs([("model", model_uri), *urls])
    questions = "\n".join(map(_question, endpoints))
    click.echo(f"\n{questions}\n")
    known, wanted = trust_file.read(), _wanted(endpoints)
    if set(wanted) <= set(known):
        click.echo(f"granted in {trust_file.path()} already")
        return 0
    click.echo("This holds for every saved model that names the same, not only for this one.")
    if not yes and not click.confirm(f"Allow it, in {trust_file.path()}?"):
        return NO
    trust_file.write([*known, *wanted])
    click.echo("\n".join(f"granted: {grant}" for grant in wanted))
    return 0


def _question(endpoint: Endpoint) -> str:
    place = endpoint.place
    lines = [f"It wants to send to {place}", "  the rows of calls"]
    for item in sent_to(endpoint)[1:]:
        if item.what == ENTRA:
            lines.append("  tokens of Entra ID that are good for all your endpoints")
        elif item.grant in map(str, wanted_grants(endpoint)):
            state = "set" if item.is_set else "not set"
            lines.append(f"  the key in {item.what}, which is {state} here")
    if place.is_plain:
        lines.append("WITHOUT ENCRYPTION: whoever stands between can read it")
    return "\n".join(lines)


def _revoke(revoked: Iterable[Grant]) -> int:
    """Take out grants; a place alone means all of that place."""
    kept, status = set(trust_file.read()), 0
    for gone in revoked:
        found = {item for item in kept if gone in (item, Grant(None, item.place))}
        if not found:
            click.echo(f"no such grant: {gone}", err=True)
            status = NO
        kept -= found
    trust_file.write(kept)
    return status


def _print_env(grants: Iterable[Grant]) -> int:
    click.echo(f"{ALLOW_ENV}={','.join(map(str, grants))}")
    return 0
