"""What one endpoint may be sent: decided where a request is made, remembered while nothing changes.

==============================  ============  ====================================================
who says so                     may be sent   until
==============================  ============  ====================================================
the program said both           all           for ever
the program paired them before  all           the process ends
the host's own variable is set  key and data  it is no longer set
``load_model(allow=[...])``     as it says    for ever, with its copies and pickles
``HYBRIDMODEL_ALLOW``           as it says    it says something else
the user's file                 as it says    the file changes
it is this machine              data          for ever
==============================  ============  ====================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.address import Place
from hybridmodel.remote.trust import trust_file
from hybridmodel.remote.trust.grants import (
    CREDENTIAL,
    ENTRA,
    EVERYTHING,
    Grant,
    parse_grants,
    shell_line,
)
from hybridmodel.remote.trust.key_names import host_key_names
from hybridmodel.remote.trust.origin import is_codes, is_paired, place_is_codes
from hybridmodel.remote.trust.variables import value_of

if TYPE_CHECKING:
    from hybridmodel.remote.endpoint import TritonEndpoint

ALLOW_ENV = "HYBRIDMODEL_ALLOW"

_FIELDS = ("auth_key_env", "secondary_key_env")
_WORDS = {ENTRA: "Entra ID tokens", CREDENTIAL: "what the credential returns", None: "data"}
_told = False


class Ground(NamedTuple):
    """Why something may be sent.

    Attributes
    ----------
    words : str
        For people.
    holds : callable
        Tells whether it is still so.
    """

    words: str
    holds: Callable[[], bool]


def _always() -> bool:
    return True


class Permission:
    """Decides for one endpoint; safe to share between threads.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Its origin says which of its values come from a saved model.
    """

    def __init__(self, endpoint: TritonEndpoint) -> None:
        self._endpoint = endpoint
        self.place = endpoint.place
        self.host_keys = host_key_names(self.place)
        self._place_is_codes = place_is_codes(endpoint)
        named = {field: getattr(endpoint, field) for field in _FIELDS}
        self._variables = tuple(name for name in named.values() if name is not None)
        self._of_code = {
            name for field, name in named.items() if name and is_codes(endpoint, field)
        }
        self._base = f"{endpoint.uri}/"
        self._known: dict[str | None, Ground] = {}

    @property
    def is_needed(self) -> bool:
        """Whether any of it comes from a saved model, so that there is something to decide."""
        return bool(self._endpoint.origin.stored)

    @property
    def host_key(self) -> str | None:
        """The host's own variable that is set, None if none is."""
        return next((name for name in self.host_keys if value_of(name)), None)

    def allows(self, secret: str | None) -> bool:
        """Tell whether a secret may be sent there: a variable's name, or None for data."""
        known = self._known.get(secret)
        return (known is not None and known.holds()) or self.ground(secret) is not None

    def ground(self, secret: str | None) -> Ground | None:
        """Return why a secret, or data, may be sent there; None if it may not."""
        found = self._by_code(secret) or self._by_grant(secret)
        if found is None:
            self._known.pop(secret, None)
        else:
            self._known[secret] = found
        return found

    def check(self, *secrets: str | None) -> None:
        """Make sure that one of several secrets may be sent there.

        Raises
        ------
        ConfigurationError
            If none may; says the line that grants the first ones.
        """
        if not any(map(self.allows, secrets)):
            raise ConfigurationError(self.refusal(secrets))

    def wanted(self) -> tuple[str | None, ...]:
        """Return what the endpoint would be sent: secrets, or data alone (None)."""
        return (ENTRA,) if self._endpoint.entra_id else self._variables or (None,)

    def check_request(self, url: str) -> None:
        """Make sure that a request goes to this very place, and that data may go there at all.

        Raises
        ------
        ConfigurationError
            If it goes elsewhere, or a saved model wants it to go unencrypted and nobody allowed it.
        """
        if not url.startswith(self._base):
            raise ConfigurationError(f"a request of the endpoint {self._base} went elsewhere")
        if self.place.is_plain:
            self.check(None)

    def refusal(self, secrets: Iterable[str | None]) -> str:
        """Say what is not granted, and the line that grants it."""
        wanted = [Grant(secret, self.place) for secret in secrets]
        what = " or ".join(_WORDS.get(item.secret, f"the key in {item.secret}") for item in wanted)
        said = f"the saved model wants {what} sent to {self._base[:-1]}"
        named = any(item.secret in self._variables for item in wanted)
        fields = "uri and auth_key_env" if named else "uri"
        in_code = f"say {fields} yourself in load_model(model_config={{...}})"
        if not self.place.can_be_named:
            return f"{said}, whose path no grant can name; {in_code}"
        line = shell_line(wanted, ALLOW_ENV, value_of(ALLOW_ENV))
        own = f"set {self.host_keys[0]}, or " if self.host_keys and named else ""
        return (
            f"{said}, and nobody has granted that on this machine; if it is meant: {line} (or "
            f"{own}run `hybridmodel trust` on the model, or {in_code})"
        )

    def _by_code(self, secret: str | None) -> Ground | None:
        if self._place_is_codes and (secret is None or secret in self._of_code):
            return Ground("said in code", _always)
        if secret == ENTRA and self._place_is_codes and is_codes(self._endpoint, "entra_id"):
            return Ground("said in code", _always)
        if is_paired(secret, self.place):
            return Ground("said in code of this process", _always)
        if secret is None and self.place.is_loopback:
            return Ground("on this machine", _always)
        return None

    def _by_grant(self, secret: str | None) -> Ground | None:
        if secret is None and (name := self.host_key) is not None:
            return Ground(f"{name} is set", lambda: self.host_key is not None)
        if _covered(self._endpoint.origin.allow, secret, self.place):
            return Ground("allowed at load", _always)
        text = value_of(ALLOW_ENV)
        if text and _covered(_parsed(text), secret, self.place):
            return Ground(f"granted in {ALLOW_ENV}", partial(_is_still, text))
        stamp = trust_file.stamp()
        if stamp is not None and _covered(trust_file.read(), secret, self.place):
            words = f"granted in {trust_file.path()}"
            return Ground(words, lambda: trust_file.stamp() == stamp)
        return None


def permission_of(endpoint: TritonEndpoint) -> Permission | None:
    """Return what decides for an endpoint; None where the program itself has said everything."""
    permission = Permission(endpoint)
    return permission if permission.is_needed else None


def _is_still(text: str) -> bool:
    return value_of(ALLOW_ENV) == text


@lru_cache(maxsize=8)
def _parsed(text: str) -> tuple[Grant, ...]:
    return parse_grants(text, f"the environment variable {ALLOW_ENV}")


def _covered(grants: tuple[Grant, ...], secret: str | None, place: Place) -> bool:
    global _told  # noqa: PLW0603 - one warning for each process
    for grant in grants:
        if grant.covers(secret, place):
            if grant == EVERYTHING and not _told:
                _told = True
                warnings.warn(
                    "'*' is granted: any saved model may send any variable of this environment "
                    "anywhere",
                    stacklevel=2,
                )
            return True
    return False
