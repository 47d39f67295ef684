"""What one endpoint may be sent: decided where a request is made.

==============================  ============  ====================================================
who says so                     may be sent   until
==============================  ============  ====================================================
the program said both           all           for ever
the program paired them before  all           the process ends
the host's own variable is set  key and data  it is no longer set
``load_model(allow=[...])``     as it says    for ever, with its copies and pickles
``HYBRIDMODEL_ALLOW``           as it says    it says something else
the user's file                 as it says    the file changes
it is a port of this machine    data          for ever
==============================  ============  ====================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.address import PORTS, Place
from hybridmodel.remote.trust import grants, trust_file
from hybridmodel.remote.trust.grants import CREDENTIAL, ENTRA, Grant
from hybridmodel.remote.trust.origin import is_codes, is_paired, place_is_codes
from hybridmodel.remote.trust.variables import value_of

if TYPE_CHECKING:
    from hybridmodel.remote.endpoint_base import Endpoint

ALLOW_ENV = "HYBRIDMODEL_ALLOW"

_HOST_KEY, _LONGEST_SPELLING = "HYBRIDMODEL_KEY_", 302
_FIELDS = ("auth_key_env", "secondary_key_env")
_WORDS = {ENTRA: "Entra ID tokens", CREDENTIAL: "what the credential returns", None: "data"}
_told = False


def host_key_names(place: Place) -> tuple[str, ...]:
    """Return the variables for the key of a host, in the order in which they count.

    In a host's name ``.`` becomes ``_`` and ``-`` becomes ``__``. No two hosts share a name: labels
    neither begin nor end with a dash, so that one underscore is always a dot, and two a dash; and a
    host cannot end in the number that the second key's name ends in, but for an IPv4 address, which
    has at least four.

    Only ``https`` on its own port, without a prefix, has such variables; hosts with an underscore
    and IPv6 addresses have none. They are in lower case, in upper case, and both with ``_2`` for
    while keys rotate.
    """
    return tuple(f"{_HOST_KEY}{spelt}{end}" for end in ("", "_2") for spelt in spellings(place))


def spellings(place: Place) -> tuple[str, ...]:
    """Return a place's host as names of variables end with it; none for places without such."""
    plain = place.scheme == "https" and place.port == PORTS["https"] and not place.prefix
    if not plain or "_" in place.host or ":" in place.host:
        return ()
    host = place.host.replace("-", "__").replace(".", "_")
    if len(host) > _LONGEST_SPELLING:
        return ()
    return tuple(dict.fromkeys((host, host.upper())))


class Permission:
    """Decides for one endpoint, by its origin, the environment and the user's file; thread-safe."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.place = endpoint.place
        self.host_keys = host_key_names(self.place)
        self._instead = endpoint.origin.instead
        self._place_is_codes = place_is_codes(endpoint)
        named = {field: getattr(endpoint, field) for field in _FIELDS}
        self._variables = tuple(filter(None, named.values()))
        self._of_code = {name for field, name in named.items() if is_codes(endpoint, field)}
        self._of_code.add(ENTRA if is_codes(endpoint, "entra_id") else None)
        self._base = f"{endpoint.uri}/"

    @property
    def host_key(self) -> str | None:
        """The host's own variable that is set, None if none is."""
        return next(filter(value_of, self.host_keys), None)

    def allows(self, secret: str | None) -> bool:
        """Tell whether a secret may be sent there: a variable's name, or None for data."""
        return self.ground(secret) is not None

    def ground(self, secret: str | None) -> str | None:
        """Return, in words, why a secret, or data, may be sent there; None if it may not."""
        if self._instead:
            return self._by_environment(secret)
        if self._place_is_codes and (secret is None or secret in self._of_code):
            return "said in code"
        if is_paired(secret, self.place):
            return "said in code of this process"
        if secret is None and self.place.is_loopback:
            return "on this machine"
        return self._by_grant(secret)

    def check(self, *secrets: str | None) -> None:
        """Make sure that one of several secrets may be sent there, or say how to grant it."""
        if not any(map(self.allows, secrets)):
            raise ConfigurationError(self.refusal(secrets))

    def wanted(self) -> tuple[str | None, ...]:
        """Return what the endpoint would be sent: secrets, or data alone (None)."""
        return (ENTRA,) if self._endpoint.entra_id else self._variables or (None,)

    def check_request(self, url: str) -> None:
        """Make sure that a request goes to this very place, and that data may go there at all."""
        if not url.startswith(self._base):
            raise ConfigurationError(f"a request to the endpoint {self._base} went elsewhere")
        if self.place.is_guarded:
            self.check(None)

    def refusal(self, secrets: Iterable[str | None]) -> str:
        """Say what is not granted, and the line that grants it."""
        if self._instead:
            return (
                f"the environment redirects this endpoint to {self._base[:-1]}, where no key of "
                f"another host is sent; set {self._instead[0]}"
            )
        wanted = [Grant(secret, self.place) for secret in secrets]
        what = " or ".join(_WORDS.get(item.secret, f"the key in {item.secret}") for item in wanted)
        said = f"the saved model wants {what} sent to {self._base[:-1]}"
        named = any(item.secret in self._variables for item in wanted)
        fields = "uri and auth_key_env" if named else "uri"
        in_code = f"say {fields} yourself in load_model(model_config={{...}})"
        if not self.place.can_be_named:
            return f"{said}, whose path no grant can name; {in_code}"
        line = grants.shell_line(wanted, ALLOW_ENV, value_of(ALLOW_ENV))
        own = f"set {self.host_keys[0]}, or " if self.host_keys and named else ""
        return (
            f"{said}, and nobody has granted that on this machine; if it is meant: {line} (or "
            f"{own}run `hybridmodel trust` on the model, or {in_code})"
        )

    def _by_environment(self, secret: str | None) -> str | None:
        """Return a ground that nobody but the environment has given, for a place it chose."""
        if secret is None:
            return "on this machine"
        # '*' was said of other places.
        named = (grant for grant in _parsed(value_of(ALLOW_ENV) or "") if grant.place is not None)
        granted = any(grant.covers(secret, self.place) for grant in named)
        return f"granted in {ALLOW_ENV}" if granted else None

    def _by_grant(self, secret: str | None) -> str | None:
        if secret is None and (name := self.host_key) is not None:
            return f"{name} is set"
        if _covered(self._endpoint.origin.allow, secret, self.place):
            return "allowed at load"
        text = value_of(ALLOW_ENV)
        if text and _covered(_parsed(text), secret, self.place):
            return f"granted in {ALLOW_ENV}"
        if _covered(trust_file.read(), secret, self.place):
            return f"granted in {trust_file.path()}"
        return None


def permission_of(endpoint: Endpoint) -> Permission | None:
    """Return what decides for an endpoint; None where the program itself has said everything."""
    return Permission(endpoint) if endpoint.origin.stored else None


@lru_cache(maxsize=8)
def _parsed(text: str) -> tuple[Grant, ...]:
    return grants.parse_grants(text, f"the environment variable {ALLOW_ENV}")


def _covered(granted: tuple[Grant, ...], secret: str | None, place: Place) -> bool:
    global _told  # noqa: PLW0603 - one warning for each process
    for grant in granted:
        if grant.covers(secret, place):
            if grant == grants.EVERYTHING and not _told:
                _told = True
                warnings.warn(
                    "'*' is granted: any saved model may send any variable of this environment "
                    "anywhere",
                    stacklevel=2,
                )
            return True
    return False
