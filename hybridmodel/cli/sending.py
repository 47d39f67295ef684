"""Lists what would be sent to a model's endpoint, and what grants it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.trust.grants import ENTRA, Grant
from hybridmodel.remote.trust.permission import Permission

_ASKED = "when a call asks for it; nothing is granted that would let it go unasked"
_REFUSED = "not granted, so not sent; `hybridmodel trust` grants it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Data (`what` is ``data``), tokens (``entra``), or the key in a variable of that name.

    `grant` is what a saved model needs to send it without a call that asks for the endpoint.
    """

    what: str
    grant: str
    granted: bool
    why: str
    is_set: bool | None = None

    def __str__(self) -> str:
        if self.what == "data":
            return f"to {self.grant}: {self.why}"
        where = "tokens of Entra ID" if self.what == ENTRA else f"in {self.what}"
        state = "" if self.is_set is None else f", which is {'set' if self.is_set else 'not set'}"
        return f"{where}{state}; {self.why}"


def sent_to(endpoint: Endpoint) -> list[Sent]:
    """Return what an endpoint would be sent: data first, then each secret."""
    permission = Permission(endpoint)
    secrets = [secret for secret in permission.wanted() if secret is not None]
    if permission.host_key is not None and secrets and secrets != [ENTRA]:
        secrets.append(permission.host_key)
    return [_sent(permission, secret) for secret in (None, *secrets)]


def wanted_grants(endpoint: Endpoint) -> tuple[Grant, ...]:
    """Return the grants that let a saved model send all that its endpoint names."""
    permission = Permission(endpoint)
    return tuple(Grant(secret, permission.place) for secret in permission.wanted())


def _sent(permission: Permission, secret: str | None) -> Sent:
    grant = str(Grant(secret, permission.place))
    ground = permission.ground(secret)
    is_set = None if secret in (None, ENTRA) else bool(os.environ.get(str(secret)))
    if secret is not None and secret == permission.host_key:
        granted, why = True, "the host's own variable"
    elif ground is not None:
        granted, why = True, ground
    else:
        asked = secret is None and not permission.place.is_guarded
        granted, why = False, _ASKED if asked else _REFUSED
    return Sent(what=secret or "data", grant=grant, granted=granted, why=why, is_set=is_set)
