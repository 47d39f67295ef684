"""Grants: what the machine lets a saved model send where. Parsing and matching, no I/O.

==========================================  ======================================================
text                                        means
==========================================  ======================================================
``host``                                    data may be sent to that host
``VAR@host``                                data, and the key in the variable VAR
``VAR@host:8443``, ``VAR@[::1]:8443``       the same on another port
``VAR@host/api/v1/endpoint/digits``         the same below that prefix, and nowhere else
``VAR@http://host:8000``                    the same without encryption
``entra@host``                              data, and Entra ID tokens
``credential@host``                         data, and what the function given as credential returns
``unix:/path``, ``VAR@unix:/path``          the same for a Unix socket, exactly this path
``*``                                       everything
==========================================  ======================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.address import UNIX, Place, read_address

ENTRA = "entra"
"""Stands for tokens of Entra ID, in the place of a variable."""
CREDENTIAL = "credential"
"""Stands for what a function that was given as credential returns."""
RESERVED = (ENTRA, CREDENTIAL)
"""Names that no variable may have."""

_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,319}")
_HOW = "a grant is host, VAR@host[:port][/prefix], entra@host, VAR@http://host:port or unix:/path"


class Grant(NamedTuple):
    """A place, and what may be sent there besides data; without a place, everything everywhere.

    `secret` is the name of a variable, `ENTRA`, `CREDENTIAL`, or None for data alone.
    """

    secret: str | None
    place: Place | None

    def __str__(self) -> str:
        if self.place is None:
            return "*"
        return str(self.place) if self.secret is None else f"{self.secret}@{self.place}"

    def covers(self, secret: str | None, place: Place) -> bool:
        """Tell whether a secret, or data (None), may be sent to a place."""
        if self.place is None:
            return True
        return self.place == place and (secret is None or self.secret == secret)


EVERYTHING = Grant(None, None)


def parse_grants(text: str | Iterable[str], where: str) -> tuple[Grant, ...]:
    """Read grants, separated by commas or white space; `where` is named in the error.

    An invalid one is not shown: people put keys where names belong.
    """
    texts = [text] if isinstance(text, str) else list(text)
    if not all(isinstance(item, str) for item in texts):
        raise ConfigurationError(f"{where}: {_HOW}, as text")
    words = [word for item in texts for word in re.split(r"[\s,]+", item) if word]
    return tuple(_grant(word, f"{where}: entry {at}") for at, word in enumerate(words, 1))


def _grant(word: str, where: str) -> Grant:
    if word == "*":
        return EVERYTHING
    secret, at, rest = word.rpartition("@")
    if at and not _SECRET.fullmatch(secret):
        raise ConfigurationError(f"{where} is not a grant: {_HOW}")
    return Grant(secret if at else None, _place(rest, where))


def _place(text: str, where: str) -> Place:
    whole = "://" in text or text.startswith(f"{UNIX}:/")
    try:
        place = read_address(text if whole else f"https://{text}").place
    except ConfigurationError:
        raise ConfigurationError(f"{where} is not a grant: {_HOW}") from None
    if not place.can_be_named:
        raise ConfigurationError(f"{where} is not a grant: a path of this kind cannot be named")
    return place


def shell_line(wanted: Iterable[Grant], variable: str, known: str | None) -> str:
    """Return the shell command that adds grants to those a variable holds already.

    Their grammar has nothing that a shell would execute.
    """
    added = ", ".join(map(str, wanted))
    return f'export {variable}="{f"${variable}, " if known else ""}{added}"'


def checked_allow(allow: Any) -> tuple[Grant, ...]:
    """Return the grants that a caller gives in ``allow``."""
    if allow is None:
        return ()
    if not isinstance(allow, (str, list, tuple, set, frozenset)):
        raise ConfigurationError(f"allow: {_HOW}, in a list")
    return parse_grants(allow, "allow")
