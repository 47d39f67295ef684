"""The keys and tokens of a rehearsal: made for it, and worth nothing anywhere else."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hybridmodel.deploy.rehearsal.behaviours import Switches

RESOURCE = "https://ml.azure.com"
"""What tokens for endpoints are asked for; those for Azure's management are refused."""

_BEARER = "Bearer "
_WORD = "r"
"""The beginning of a token: no word, because that would be hidden wherever it is shown."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and when it expires (POSIX seconds)."""

    token: str = field(repr=False)
    expires_on: int


class Keys:
    """Makes and checks what requests carry; `now` tells the date as POSIX seconds.

    A token is its date and what it is for, signed, so that nothing has to be remembered.
    """

    def __init__(
        self,
        auth_mode: str,
        switches: Switches,
        token_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.auth_mode, self.token_s = auth_mode, token_s
        self.primary, self.secondary = (secrets.token_urlsafe(32) for _ in range(2))
        self._secret = secrets.token_bytes(32)
        self._switches, self._now = switches, now

    def token(self, resource: str = RESOURCE) -> Token:
        """Make a token for a resource, as Entra ID and Azure's management do."""
        expires_on = int(self._now() + self.token_s)
        named = hashlib.sha256(resource.removesuffix("/.default").rstrip("/").encode()).hexdigest()
        said = f"{_WORD}.{expires_on}.{named[:16]}"
        return Token(f"{said}.{self._signature(said)}", expires_on)

    def problem(self, authorization: str | None) -> str | None:
        """Return why a request with this header gets 401; None where it is accepted."""
        if "auth-401" not in self._switches:
            return None
        if authorization is None:
            return "the Authorization header is missing"
        if not authorization.startswith(_BEARER):
            return "the Authorization header is not: Bearer KEY"
        given = authorization.removeprefix(_BEARER)
        return self._key_problem(given) if self.auth_mode == "key" else self._token_problem(given)

    def _key_problem(self, given: str) -> str | None:
        known = [hmac.compare_digest(given.encode(), key.encode()) for key in self._keys()]
        return None if any(known) else "the key is not one of the endpoint's"

    def _token_problem(self, given: str) -> str | None:
        said, _, signature = given.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(said).encode()):
            return "the token is not valid"
        _, expires_on, named = said.split(".")
        if named != hashlib.sha256(RESOURCE.encode()).hexdigest()[:16]:
            return f"the token is for another resource than {RESOURCE}"
        if "token-expiry" in self._switches and self._now() >= int(expires_on):
            return "the token has expired"
        return None

    def _keys(self) -> tuple[str, str]:
        return self.primary, self.secondary

    def _signature(self, said: str) -> str:
        return hmac.new(self._secret, said.encode(), "sha256").hexdigest()

    def __repr__(self) -> str:
        return f"Keys({self.auth_mode})"
