"""Where the secret of a call comes from: looked up when needed, kept only as long as it is fresh.

It is never part of an endpoint, a repr, a message, a pickle, or of what `vars` shows.
"""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hybridmodel.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointTimeout,
    HybridModelError,
    MissingDependency,
)
from hybridmodel.per_process import reset_in_child
from hybridmodel.remote.bounded import Crew, NotDone, within
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.remote.in_flight import InFlight
from hybridmodel.remote.redaction import Redaction, fit_cause
from hybridmodel.remote.resilience import Deadline

AZURE_ML_SCOPE = "https://ml.azure.com/.default"
"""Scope of Entra ID tokens for calling (not managing) Azure Machine Learning endpoints."""

_FRESH_S = 300.0
"""A key without a date is asked for again after that, and a token so long before it expires."""

_REMEMBERED = 8
"""Keys from before, which a server may still repeat."""

_MOST_ASKING = 2
"""Threads: the second for when the first hangs for ever."""

_log = logging.getLogger("hybridmodel")


class KeySource(Protocol):
    """Gives the key or token of a request."""

    def key(self, deadline: Deadline) -> str | None:
        """Return the key, None for a server that wants none.

        Raises
        ------
        ConfigurationError
            When it is not there or cannot be sent.
        """

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:
        """Return another key than the one that the server refused, None if there is none."""


def key_source(endpoint: TritonEndpoint, credential: Any = None) -> KeySource:
    """Return what gives the key or token for each request.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Says what to do when there is no `credential`.
    credential : object with ``get_token``, callable, KeySource or None
        Such as a credential of azure-identity; or a function without arguments that returns the
        key, or what azure-ai-ml's ``online_endpoints.get_keys`` does: an object with
        ``access_token`` or ``primary_key``. Not a string: a key in a variable of the program ends
        up in logs and pickles.

    Raises
    ------
    ConfigurationError
        If `credential` is none of these.
    MissingDependency
        If the endpoint wants azure-identity and it is not installed.
    """
    if credential is None and endpoint.entra_id:
        credential = _default_azure_credential()
    if credential is None:
        return VariableKey(endpoint.auth_key_env, endpoint.secondary_key_env)
    get_token = getattr(credential, "get_token", None)
    if inspect.iscoroutinefunction(get_token or credential):
        raise ConfigurationError(
            "credential is asynchronous (azure.identity.aio?); pass one that is not"
        )
    if get_token is not None:
        return AskedKey(lambda: get_token(AZURE_ML_SCOPE))
    if hasattr(credential, "other_than"):
        source: KeySource = credential
        return source
    if callable(credential):
        return AskedKey(credential)
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


def checked_key(key: Any, what: str = "what the credential returned") -> str:
    """Return a key that can stand in a header.

    Raises
    ------
    ConfigurationError
        If it is empty, no text, or holds characters that would end the header. The message
        never shows the key.
    """
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"{what} is empty or no text")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"{what} holds control characters, blanks or letters beyond ASCII (a line break at "
            "its end, perhaps); it cannot be sent in a header"
        )
    return key


class VariableKey:
    """A key in an environment variable, and perhaps a second one for while the first is rotated.

    Parameters
    ----------
    primary, secondary : str or None
        Names of the variables. They are read for every call: a rotated key needs no restart.
    """

    def __init__(self, primary: str | None, secondary: str | None = None) -> None:
        # The one that was accepted last stands first.
        self._names = [name for name in (primary, secondary) if name is not None]

    def key(self, deadline: Deadline) -> str | None:  # noqa: ARG002 - asks nobody
        """Return the key, None where no variable is named."""
        for name in self._names:
            if name in os.environ:
                return _read(name)
        if not self._names:
            return None
        raise ConfigurationError(
            "the endpoint's key is expected in the environment variable "
            f"{' or '.join(self._names)}, which is not set; set it, pass credential=, or use "
            "auth_key_env=None for a server without keys"
        )

    def known(self) -> tuple[str, ...]:
        """Return every key that may show up in what a server says."""
        return tuple(os.environ[name].strip() for name in self._names if name in os.environ)

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:  # noqa: ARG002
        """Return what a variable holds that was not refused, and read that one first from now."""
        for name in self._names:
            if name in os.environ and (key := _read(name)) != refused:
                self._names = [name, *(other for other in self._names if other != name)]
                return key
        return None


@dataclass(frozen=True)
class _Token:
    """Keys that were given together, when to ask again, and when they expire (POSIX seconds)."""

    keys: tuple[str, ...] = field(repr=False)
    ask_again: float
    expires: float


class AskedKey:
    """A key or token that somebody is asked for, and that is kept until it should be renewed.

    Asking is bounded by the deadline of the call, and one thread at a time asks.

    Parameters
    ----------
    ask : callable
        Returns a str, an ``AccessToken`` of azure-core, or what azure-ai-ml's ``get_keys`` does.
    now : callable, default=time.time
        Tells the date as POSIX seconds.
    """

    __slots__ = ("_ask", "_asking", "_before", "_crew", "_now", "_token")

    def __init__(self, ask: Callable[[], Any], now: Callable[[], float] = time.time) -> None:
        self._ask = ask
        self._now = now
        self._token: _Token | None = None
        self._before: tuple[str, ...] = ()
        self._asking = InFlight(1)
        reset_in_child(self._asking)
        self._crew = Crew(_MOST_ASKING)

    def key(self, deadline: Deadline) -> str | None:
        """Return the key or token, asked for anew where it is about to expire.

        Raises
        ------
        AuthenticationFailed
            If whoever is asked fails.
        EndpointTimeout
            If the answer does not come before the deadline.
        ConfigurationError
            If what comes cannot be sent.
        """
        token = self._token
        if token is None or self._now() >= token.ask_again:
            token = self._renewed(token, deadline)
        return token.keys[0]

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:
        """Ask again, and return a key that was not refused."""
        token = self._token
        if token is None or token.keys[0] == refused:
            token = self._renewed(token, deadline, wanted=True)
        keys = [key for key in token.keys if key != refused]
        if not keys:
            return None
        self._token = replace(token, keys=(keys[0], *(k for k in token.keys if k != keys[0])))
        return keys[0]

    def known(self) -> tuple[str, ...]:
        """Return every key that may show up in what a server says, those before today's as well."""
        token = self._token
        return self._before if token is None else (*token.keys, *self._before)

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
                "the deadline passed while another call waits for the credential"
            ) from None

    def _asked(self, valid: _Token | None, deadline: Deadline) -> _Token:
        try:
            given = within(
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
    value = given
    if hasattr(given, "token"):
        value = given.token
    elif hasattr(given, "access_token"):
        value = given.access_token
    elif hasattr(given, "primary_key"):
        value = given.primary_key
    keys = [checked_key(value)]
    if other := getattr(given, "secondary_key", None):
        keys.append(checked_key(other))
    expires = getattr(given, "expires_on", None) or getattr(given, "expiry_time_utc", None)
    again = getattr(given, "refresh_on", None) or getattr(given, "refresh_after_time_utc", None)
    if not expires:
        return _Token(tuple(keys), now + _FRESH_S, float("inf"))
    if not again:
        again = expires - min(_FRESH_S, max(0.0, expires - now) / 2)
    return _Token(tuple(keys), float(again), float(expires))


def _read(name: str) -> str:
    return checked_key(os.environ[name], f"the environment variable {name}")
