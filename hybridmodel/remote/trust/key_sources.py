"""Keys in environment variables, and credentials that are asked only where a grant allows it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint_base import DEFAULT_KEY_ENV, Endpoint
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.trust.permission import Permission, host_key_names
from hybridmodel.remote.trust.variables import is_set, value_of


class KeySource(Protocol):
    """Gives the key or token of a request."""

    def key(self, deadline: Deadline) -> str | None:
        """Return the key, None for a server that wants none; raises why it cannot be sent."""

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:
        """Return another key than the one that the server refused, None if there is none."""


def checked_key(key: Any, what: str = "what the credential returned") -> str:
    """Return a key that can stand in a header, or raise an error that does not show it."""
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"{what} is empty or not text")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"{what} holds control characters, blanks or letters beyond ASCII (a line break at "
            "its end, perhaps); it cannot be sent in a header"
        )
    return key


def variable_key(endpoint: Endpoint, permission: Permission | None) -> VariableKey:
    """Return what reads the variables of an endpoint, named or its host's own."""
    named = tuple(filter(None, (endpoint.auth_key_env, endpoint.secondary_key_env)))
    if endpoint.origin.instead:
        return VariableKey(named, permission, before=endpoint.origin.instead if named else ())
    host_keys = host_key_names(endpoint.place) if named else ()
    if endpoint.auth_key_env == DEFAULT_KEY_ENV:
        # Nobody named another variable, so the host's own one counts first.
        return VariableKey(named, permission, before=host_keys)
    # A variable that the program names is meant; one that was stored may not be there, or granted.
    return VariableKey(named, permission, after=host_keys if permission else ())


@dataclass
class VariableKey:
    """A key in an environment variable, and perhaps a second one for while the first is rotated.

    The variables are read for every call: a rotated key needs no restart. Of the `named` ones, only
    those that `permission` allows may be sent; the host's own, which count `before` or `after`
    them, always may. Where one of a group is set, later groups are not used. `accepted` is the
    variable whose key a server took after it had refused another.
    """

    named: tuple[str, ...]
    permission: Permission | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    accepted: str = ""

    def key(self, deadline: Deadline) -> str | None:  # noqa: ARG002 - asks nobody
        """Return the key, None where no variable is named."""
        if not (self.named or self.before or self.after):
            return None
        names = self._usable()
        if names:
            return _read(self.accepted if self.accepted in names else names[0])
        if self.named:
            raise self._missing()
        return None

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:  # noqa: ARG002
        """Return what a variable holds that was not refused, and read that one first from now."""
        for name in self._usable():
            if (key := _read(name)) != refused:
                self.accepted = name
                return key
        return None

    def known(self) -> tuple[str, ...]:
        """Return every key that may show up in what a server says."""
        values = map(value_of, (*self.before, *self.named, *self.after))
        return tuple(value.strip() for value in values if value)

    def check(self) -> None:
        """Make sure that a key may still be sent; raises what `key` does."""
        if self.named and not self._usable():
            raise self._missing()

    def _usable(self) -> list[str]:
        """Return the variables that are set and may be sent, of the first group with any."""
        named = filter(is_set, self.named)
        if self.permission is not None:
            named = filter(self.permission.allows, named)
        for group in (filter(is_set, self.before), named, filter(is_set, self.after)):
            if names := list(group):
                return names
        return []

    def _missing(self) -> ConfigurationError:
        named = [name for name in self.named if is_set(name)] or list(self.named[:1])
        if self.permission is not None and not any(map(self.permission.allows, named)):
            return ConfigurationError(self.permission.refusal(named))
        own = self.before[:1] or self.after[:1]
        return ConfigurationError(
            "the endpoint's key is expected in the environment variable "
            f"{' or '.join((*own, *self.named))}, which is not set; set it, pass credential=, "
            "or use auth_key_env=None for a server without keys"
        )


class GrantedKey:
    """What a credential gives, asked for only while a grant lets it be sent to the endpoint."""

    __slots__ = ("_source", "check", "known")

    def __init__(self, source: KeySource, permission: Permission, secret: str) -> None:
        self._source = source
        self.check = partial(permission.check, secret)
        self.known: Callable[[], tuple[str, ...]] = getattr(source, "known", tuple)

    def key(self, deadline: Deadline) -> str | None:
        """Return the key or token; raises `ConfigurationError` where it is not granted."""
        self.check()
        return self._source.key(deadline)

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:
        """Return another one; raises `ConfigurationError` where it is not granted."""
        self.check()
        return self._source.other_than(refused, deadline)


def _read(name: str) -> str:
    return checked_key(os.environ.get(name), f"the environment variable {name}")
