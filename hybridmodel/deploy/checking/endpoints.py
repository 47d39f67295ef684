"""Rules for endpoints: their names, who may call them, and how traffic is shared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hybridmodel.checks import printable
from hybridmodel.deploy.azure.limits import (
    AUTH_MODES,
    LEAST_NAME,
    MOST_MIRRORED_PERCENT,
    MOST_NAME,
    NAME,
)
from hybridmodel.deploy.checking.documents import SCHEMA_HOST, SCHEMAS, Document, schema_name
from hybridmodel.deploy.checking.findings import Finding
from hybridmodel.deploy.checking.keys import word
from hybridmodel.deploy.checking.yaml_tree import Node

WHOLE = 100

_OFFERED: Mapping[str, tuple[str, ...]] = {**AUTH_MODES, "batch": ("aad_token",)}


def check(endpoint: Document) -> Iterator[Finding]:
    """Yield what is wrong with an endpoint by itself."""
    yield from check_identity(endpoint)
    yield from _check_auth(endpoint)
    yield from _check_traffic(endpoint)
    yield from _check_mirror(endpoint)


def check_identity(document: Document) -> Iterator[Finding]:
    """Yield what is wrong with the name of an endpoint or deployment, and with its schema."""
    yield from _check_schema(document)
    for key in ("name", "endpoint_name"):
        node = document.root.get(key)
        if node is not None and isinstance(node.value, str):
            yield from _check_name(document, node, key)


def _check_name(document: Document, node: Node, key: str) -> Iterator[Finding]:
    name = node.value
    if not LEAST_NAME <= len(name) <= MOST_NAME:
        yield document.place.found(
            "name-length",
            node.line,
            f"{key} {printable(name, 60)!r} has {len(name)} characters",
            f"write a name of {LEAST_NAME} to {MOST_NAME} characters",
        )
    if not NAME.fullmatch(name):
        yield document.place.found(
            "name-characters",
            node.line,
            f"{key} {printable(name, 60)!r} is no name at Azure",
            "write letters, digits and single dashes, a letter first and no dash last"
            + (f", such as {better}" if (better := _better(name)) else ""),
        )


def _better(name: str) -> str:
    """Return a name like the given one that Azure takes; empty if there is none."""
    better = re.sub(r"[^A-Za-z0-9]+", "-", name[: 2 * MOST_NAME]).strip("-")[:MOST_NAME]
    fits = NAME.fullmatch(better) and len(better) >= LEAST_NAME
    return better if fits else ""


def _check_schema(document: Document) -> Iterator[Finding]:
    node = document.root.get("$schema")
    what, _ = SCHEMAS.get(schema_name(document.root) or "", (None, None))
    if node is not None and what != document.what:
        expected = next(
            name for name, kind in SCHEMAS.items() if kind == (document.what, document.platform)
        )
        article = "an" if document.what == "endpoint" else "a"
        yield document.place.found(
            "schema-url",
            node.line,
            f"$schema is not the address of a schema for {article} {document.what}",
            f"write $schema: {SCHEMA_HOST}{expected}.schema.json",
        )


def _check_auth(endpoint: Document) -> Iterator[Finding]:
    node = endpoint.root.get("auth_mode")
    offered = _OFFERED[endpoint.platform]
    # azure-ai-ml takes aad_token as AADToken, too.
    plain = {mode.replace("_", "") for mode in offered}
    if node is None or not isinstance(node.value, str):
        return
    if node.value.replace("_", "").lower() not in plain:
        kind = f"{endpoint.platform} endpoints"
        yield endpoint.place.found(
            "auth-mode",
            node.line,
            f"{kind} do not offer auth_mode {printable(node.value, 30)!r}",
            f"write auth_mode: {' or '.join(offered)}",
        )


def _check_traffic(endpoint: Document) -> Iterator[Finding]:
    node = endpoint.root.get("traffic")
    if node is None or not node.members:
        return
    yield from _check_shares(endpoint, node)
    shares = _shares(node)
    if shares is None:
        return
    if sum(shares.values()) not in (0, WHOLE):
        yield endpoint.place.found(
            "traffic-sum",
            node.line,
            f"the shares of traffic add up to {sum(shares.values())}",
            f"write shares that add up to {WHOLE}, or 0 for all",
        )
    if any(shares.values()):
        yield _at_creation(endpoint, node, "--traffic", shares)


def _check_mirror(endpoint: Document) -> Iterator[Finding]:
    node = endpoint.root.get("mirror_traffic")
    if node is None or not node.members:
        return
    if endpoint.platform == "kubernetes":
        yield endpoint.place.found(
            "mirror-kubernetes",
            node.line,
            "an endpoint on Kubernetes cannot mirror traffic",
            "leave mirror_traffic out",
        )
    if len(node.members) > 1:
        yield endpoint.place.found(
            "mirror-count",
            node.line,
            f"{len(node.members)} deployments get mirrored traffic",
            "keep one of them",
        )
    yield from _check_shares(endpoint, node)
    for name, share in node.members.items():
        yield from _check_mirrored(endpoint, name, share)
    shares = _shares(node)
    if shares and any(shares.values()):
        yield _at_creation(endpoint, node, "--mirror-traffic", shares)


def _check_mirrored(endpoint: Document, name: str, share: Node) -> Iterator[Finding]:
    if type(share.value) is int and MOST_MIRRORED_PERCENT < share.value <= WHOLE:
        yield endpoint.place.found(
            "mirror-share",
            share.line,
            f"{share.value} % of the traffic is mirrored",
            f"write a number from 0 to {MOST_MIRRORED_PERCENT}",
        )
    live, shown = endpoint.root.number("traffic", name) or 0, printable(name, 40)
    if live > 0 and share.value:
        yield endpoint.place.found(
            "mirror-live",
            share.line,
            f"{shown} gets {live} % of the live traffic and mirrored traffic",
            f"write 0 for {shown} under traffic or under mirror_traffic",
        )


def _at_creation(endpoint: Document, node: Node, option: str, shares: Mapping[str, int]) -> Finding:
    pairs = " ".join(f"{printable(name, 40)}={share}" for name, share in shares.items())
    name = printable(endpoint.name or "NAME", 40)
    return endpoint.place.found(
        "traffic-at-creation",
        node.line,
        "an endpoint that is being created has no deployment that could get traffic",
        f"leave it out, and when the deployments are there run az ml online-endpoint update "
        f'-n {name} {option} "{pairs}"',
    )


def _check_shares(endpoint: Document, node: Node) -> Iterator[Finding]:
    """Yield what is wrong with single shares of live or mirrored traffic."""
    for name, share in node.members.items():
        shown = printable(name, 40)
        if type(share.value) is not int:
            yield endpoint.place.found(
                "traffic-type",
                share.line,
                f"the share of {shown} is {word(share.value)}",
                f"write a whole number without quotes, such as {shown}: 0",
            )
        elif not 0 <= share.value <= WHOLE:
            yield endpoint.place.found(
                "traffic-range",
                share.line,
                f"the share of {shown} is {share.value} %",
                f"write a number from 0 to {WHOLE}",
            )


def _shares(node: Node) -> dict[str, int] | None:
    """Return the shares by deployment; None if one is no number."""
    values = {name: share.value for name, share in node.members.items()}
    return values if all(type(value) is int for value in values.values()) else None
