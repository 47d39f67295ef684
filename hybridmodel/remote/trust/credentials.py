"""Where the secret of a call comes from: looked up when needed, kept only as long as it is fresh.

It is never part of an endpoint, a repr, a message, a pickle, or of what `vars` shows.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hybridmodel.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointTimeout,
    HybridModelError,
    MissingDependency,
)
from hybridmodel.process.bounded import Crew, NotDone, call_with_timeout
from hybridmodel.remote.concurrency import ConcurrencyLimiter
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.redaction import Redaction, fit_cause
from hybridmodel.remote.resilience import Clock, Deadline
from hybridmodel.remote.trust.grants import CREDENTIAL, ENTRA
from hybridmodel.remote.trust.key_sources import (
    GrantedKey,
    KeySource,
    VariableKey,
    checked_key,
    variable_key,
)
from hybridmodel.remote.trust.origin import is_paired, pair, place_is_codes
from hybridmodel.remote.trust.permission import Permission, permission_of

_FRESH_S = 300.0
"""A key without a date is renewed after this time, and a token so long before it expires."""

_REMEMBERED = 8
"""Number of earlier keys that are still hidden in what a server says."""

_MOST_ASKING = 2
"""Threads: the second is for when the first hangs."""

_NAMES = ("token", "access_token", "primary_key")
"""Attributes with the key; a str has none of them and is the key itself."""

_log = logging.getLogger("hybridmodel")


def key_source(endpoint: Endpoint, credential: Any = None) -> KeySource:
    """Return what gives the key or token for each request.

    The credential has ``get_token``, as those of azure-identity have, or it is a function without
    arguments that returns the key, or what azure-ai-ml's ``online_endpoints.get_keys`` does: an
    object with ``access_token`` or ``primary_key``. It is not a string: a key in a variable of the
    program ends up in logs and pickles. Without one, the endpoint says where the key is.
    """
    permission = permission_of(endpoint)
    if credential is None and not endpoint.entra_id:
        return variable_key(endpoint, permission)
    instead = endpoint.origin.instead
    if instead and not (credential is None and _may_have_token(permission)):
        # What the program gives is meant for another host, so it is not even asked.
        return VariableKey(instead)
    given = _default_azure_credential() if credential is None else credential
    source, secret = _asked_source(given, endpoint.token_scope)
    if permission is not None and (credential is None or not _is_named(endpoint)):
        return GrantedKey(source, permission, secret)
    pair(secret, endpoint.place)
    return source


def _is_named(endpoint: Endpoint) -> bool:
    """Tell whether the program has named the place as well, now or before."""
    return place_is_codes(endpoint) or is_paired(None, endpoint.place)


def _may_have_token(permission: Permission | None) -> bool:
    return permission is not None and permission.allows(ENTRA)


def _asked_source(credential: Any, scope: str) -> tuple[KeySource, str]:
    """Return what asks a credential, and the name of that secret in grants."""
    get_token = getattr(credential, "get_token", None)
    if inspect.iscoroutinefunction(get_token or credential):
        raise ConfigurationError(
            "credential is asynchronous (azure.identity.aio?); pass one that is not"
        )
    if get_token is not None:
        return AskedKey(partial(get_token, scope)), ENTRA
    if hasattr(credential, "other_than"):
        return credential, CREDENTIAL
    if callable(credential):
        return AskedKey(credential), CREDENTIAL
    raise ConfigurationError(
        "credential is an object with get_token (such as azure-identity's) or a function that "
        f"returns the key, not a {type(credential).__name__}"
    )


def _default_azure_credential() -> Any:
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise MissingDependency(
            "entra_id needs azure-identity: pip install 'hybridmodel[azure]', or pass a credential"
        ) from error
    return DefaultAzureCredential()


@dataclass(frozen=True)
class _Token:
    """Keys that were given together, when to ask again, and when they expire (POSIX seconds)."""

    keys: tuple[str, ...] = field(repr=False)
    ask_again: float
    expires: float


class AskedKey:
    """A key or token that somebody is asked for, and that is kept until it should be renewed.

    Asking is bounded by the deadline of the call, and one thread at a time asks. `now` tells the
    date as POSIX seconds.
    """

    __slots__ = ("_ask", "_asking", "_before", "_crew", "_now", "_token")

    def __init__(self, ask: Callable[[], Any], now: Clock = time.time) -> None:
        self._ask = ask
        self._now = now
        self._token: _Token | None = None
        self._before: tuple[str, ...] = ()
        self._asking = ConcurrencyLimiter(1)
        self._crew = Crew(_MOST_ASKING)

    def key(self, deadline: Deadline) -> str | None:
        """Return the key or token, asked for anew where it is about to expire."""
        token = self._token
        if token is None or self._now() >= token.ask_again:
            token = self._renewed(token, deadline)
        return token.keys[0]

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:
        """Ask again, and return a key that was not refused."""
        token = self._token
        if token is None or token.keys[0] == refused:
            token = self._renewed(token, deadline, wanted=True)
        keys = sorted(token.keys, key=lambda key: key == refused)
        if keys[0] == refused:
            return None
        self._token = replace(token, keys=tuple(keys))
        return keys[0]

    def known(self) -> tuple[str, ...]:
        """Return every key that may show up in what a server says, those before today's as well."""
        return (*(self._token.keys if self._token else ()), *self._before)

    def _renewed(self, known: _Token | None, deadline: Deadline, wanted: bool = False) -> _Token:
        valid = known is not None and not wanted and self._now() < known.expires
        begun: list[None] = []

        def ask() -> _Token:
            begun.append(None)
            if self._token is known or self._token is None:
                asked = self._asked(known if valid else None, deadline)
                if known is not None and asked is not known:
                    self._before = (*known.keys, *self._before)[:_REMEMBERED]
                self._token = asked
            return self._token

        try:
            return self._asking.run(deadline, ask, waits=not valid)
        except EndpointTimeout:
            if begun:
                raise
            if known is not None and valid:
                return known
            raise EndpointTimeout(
                "the deadline passed while another call waited for the credential"
            ) from None

    def _asked(self, valid: _Token | None, deadline: Deadline) -> _Token:
        try:
            given = call_with_timeout(
                deadline.remaining_s(),
                self._ask,
                crew=self._crew,
                name="hybridmodel-credential",
                too_late=self._came_late,
            )
            return _token(given, self._now())
        except HybridModelError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever whoever is asked may raise
            redaction = Redaction(self.known())
            what = f"{type(error).__name__}: {redaction(str(error))}"
            if valid is not None:
                _log.warning("the credential could not be renewed (%s); the old one is valid", what)
                return valid
            if isinstance(error, NotDone):
                raise EndpointTimeout(
                    f"the deadline of {deadline.timeout_s:g} s passed while the credential was "
                    "asked for the key",
                    attempts=0,
                ) from None
            failed = AuthenticationFailed(f"the credential gave no key: {what}", attempts=0)
            failed.__cause__ = error
            raise failed from fit_cause(failed, redaction)

    def _came_late(self, given: Any) -> None:
        """Keep for the next call what the last one could not wait for."""
        with suppress(HybridModelError):
            self._token = _token(given, self._now())


def _token(given: Any, now: float) -> _Token:
    """Read what a credential returned, by the attributes that it has."""
    name = next((name for name in _NAMES if hasattr(given, name)), None)
    keys = [checked_key(given if name is None else getattr(given, name))]
    if other := getattr(given, "secondary_key", None):
        keys.append(checked_key(other))
    expires = getattr(given, "expires_on", None) or getattr(given, "expiry_time_utc", None)
    again = getattr(given, "refresh_on", None) or getattr(given, "refresh_after_time_utc", None)
    if not expires:
        return _Token(tuple(keys), now + _FRESH_S, float("inf"))
    if not again:
        again = expires - min(_FRESH_S, max(0.0, expires - now) / 2)
    return _Token(tuple(keys), float(again), float(expires))
