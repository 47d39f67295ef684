"""Keys in environment variables, and what stands between a secret and a place of a saved model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint import DEFAULT_KEY_ENV, TritonEndpoint
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.trust.key_names import host_key_names
from hybridmodel.remote.trust.permission import Permission
from hybridmodel.remote.trust.variables import is_set, value_of


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


def variable_key(endpoint: TritonEndpoint, permission: Permission | None) -> VariableKey:
    """Return what reads the variables of an endpoint, named or its host's own."""
    named = [name for name in (endpoint.auth_key_env, endpoint.secondary_key_env) if name]
    host_keys = host_key_names(endpoint.place) if named else ()
    if endpoint.auth_key_env == DEFAULT_KEY_ENV:
        # Nobody named another variable, so the host's own one counts first.
        return VariableKey(*named, permission=permission, before=host_keys)
    # A variable that the program names is meant; one that was stored may not be there, or granted.
    return VariableKey(*named, permission=permission, after=host_keys if permission else ())


class VariableKey:
    """A key in an environment variable, and perhaps a second one for while the first is rotated.

    The variables are read for every call: a rotated key needs no restart.

    Parameters
    ----------
    *names : str or None
        Variables that were named, the first one first.
    permission : Permission, optional
        Says which of `names` may be sent; None where all may.
    before, after : sequence of str
        The host's own variables, which may always be sent to it, and whether they count before the
        named ones or after them. Where one of a group is set, the other group is not looked at.
    """

    def __init__(
        self,
        *names: str | None,
        permission: Permission | None = None,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
    ) -> None:
        self._permission = permission
        self._named = tuple(name for name in names if name is not None)
        self._groups = tuple(group for group in (tuple(before), self._named, tuple(after)) if group)
        self._accepted = ""

    def key(self, deadline: Deadline) -> str | None:  # noqa: ARG002 - asks nobody
        """Return the key, None where no variable is named."""
        names = self._usable()
        if names:
            return _read(self._accepted if self._accepted in names else names[0])
        if not self._groups:
            return None
        raise self._missing()

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:  # noqa: ARG002
        """Return what a variable holds that was not refused, and read that one first from now."""
        for name in self._usable():
            if (key := _read(name)) != refused:
                self._accepted = name
                return key
        return None

    def known(self) -> tuple[str, ...]:
        """Return every key that may show up in what a server says."""
        return tuple(
            value.strip() for group in self._groups for name in group if (value := value_of(name))
        )

    def check(self) -> None:
        """Make sure that a key may still be sent; raises what `key` does."""
        if self._groups and not self._usable():
            raise self._missing()

    def _usable(self) -> list[str]:
        """Return the variables that are set and may be sent, of the first group with any."""
        for group in self._groups:
            names = [name for name in group if is_set(name)]
            if names and group is self._named and self._permission is not None:
                names = list(filter(self._permission.allows, names))
            if names:
                return names
        return []

    def _missing(self) -> ConfigurationError:
        named = [name for name in self._named if is_set(name)] or list(self._named[:1])
        if self._permission is not None and not any(map(self._permission.allows, named)):
            return ConfigurationError(self._permission.refusal(named))
        first = [group[0] for group in self._groups if group is not self._named]
        return ConfigurationError(
            "the endpoint's key is expected in the environment variable "
            f"{' or '.join([*first, *self._named])}, which is not set; set it, pass credential=, "
            "or use auth_key_env=None for a server without keys"
        )


class GrantedKey:
    """What a credential gives, asked for only while a grant lets it be sent to the endpoint.

    Parameters
    ----------
    source : KeySource
        Asks the credential.
    permission : Permission
        Of the endpoint.
    secret : str
        The secret's name in grants.
    """

    __slots__ = ("_permission", "_secret", "_source")

    def __init__(self, source: KeySource, permission: Permission, secret: str) -> None:
        self._source = source
        self._permission = permission
        self._secret = secret

    def key(self, deadline: Deadline) -> str | None:
        """Return the key or token; raises `ConfigurationError` where it is not granted."""
        self.check()
        return self._source.key(deadline)

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:
        """Return another one; raises `ConfigurationError` where it is not granted."""
        self.check()
        return self._source.other_than(refused, deadline)

    def known(self) -> tuple[str, ...]:
        """Return every key that may show up in what a server says."""
        known: Callable[[], tuple[str, ...]] = getattr(self._source, "known", tuple)
        return known()

    def check(self) -> None:
        """Make sure that it may still be sent; raises what `key` does."""
        self._permission.check(self._secret)


def _read(name: str) -> str:
    return checked_key(os.environ.get(name), f"the environment variable {name}")
