"""Addresses of endpoints: read once, strictly, and compared as places. No I/O."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.host import in_url, is_loopback, normal_host

PORTS = {"https": 443, "http": 80}

_TAILS = re.compile(r"(?:/score|/v2(?:/.*)?)$")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{0,5}))?")
_PLAIN_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")

_LONGEST_PREFIX = 256


class Place(NamedTuple):
    """Where something may be sent, down to the last sign: nothing is like it but itself.

    Attributes
    ----------
    scheme : str
        ``https`` or ``http``; ``unix`` is kept for sockets.
    host : str
        Normal, as `hybridmodel.remote.host` has it; of ``unix``, the path.
    port : int
        0 for ``unix``.
    prefix : str
        Of the path, before ``/v2``; empty as a rule.
    """

    scheme: str
    host: str
    port: int
    prefix: str

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.host}"
        host = in_url(self.host)
        if self.scheme == "http":
            return f"http://{host}:{self.port}{self.prefix}"
        return f"{host}{'' if self.port == PORTS['https'] else f':{self.port}'}{self.prefix}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        return is_loopback(self.host)

    @property
    def is_plain(self) -> bool:
        """Whether what is sent there can be read on its way."""
        return self.scheme == "http" and not self.is_loopback

    @property
    def can_be_named(self) -> bool:
        """Whether a grant can name it: short, nothing that a shell would read, and no way up."""
        short = len(self.prefix) <= _LONGEST_PREFIX
        return short and _PLAIN_PREFIX.fullmatch(self.prefix) is not None


class Address(NamedTuple):
    """An address in its normal form, and the place that it stands for."""

    uri: str
    place: Place


def read_address(uri: Any) -> Address:
    """Read an address as people write it.

    Parameters
    ----------
    uri : str
        A query, a final ``/score`` and anything from ``/v2`` on are dropped.

    Raises
    ------
    ConfigurationError
        If it is none. What might be a password is not shown.
    """
    scheme, host, port, path = _parsed(uri)
    path = _TAILS.sub("", path.rstrip("/")).rstrip("/")
    path = quote(path, safe="/%:!$&'()*+,;=~-._")
    shown = f"{in_url(host)}{'' if port is None else f':{port}'}"
    place = Place(scheme, host, PORTS[scheme] if port is None else port, path)
    return Address(f"{scheme}://{shown}{path}", place)


def _parsed(uri: Any) -> tuple[str, str, int | None, str]:
    if not isinstance(uri, str):
        raise ConfigurationError(f"uri is a str, not a {type(uri).__name__}")
    uri = uri.strip()
    if "@" in uri.partition("?")[0]:
        raise ConfigurationError("uri must not hold a user or password; name a variable instead")
    if any(ord(char) <= 32 or ord(char) == 127 for char in uri):
        raise ConfigurationError("uri holds blanks or control characters")
    if "\\" in uri:
        raise ConfigurationError("uri holds a backslash, which programs read in different ways")
    scheme, mark, rest = uri.partition("://")
    authority, path = _halves(rest)
    scheme = scheme.lower()
    if not mark or scheme not in PORTS or not authority:
        known = re.fullmatch(r"[a-z][a-z0-9+.-]{0,15}", scheme) if mark else None
        raise ConfigurationError(
            "uri is an https:// address such as https://name.region.inference.ml.azure.com, "
            f"not {scheme if known else 'one without a scheme'}"
        )
    if not authority.isascii():
        raise ConfigurationError(f"uri has the host {authority!r}; write it as DNS does, with xn--")
    host, port = _host_and_port(authority)
    return scheme, host, port, path


def _halves(rest: str) -> tuple[str, str]:
    """Return what stands before the path, and the path without query and fragment."""
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    return authority, slash + path


def _host_and_port(authority: str) -> tuple[str, int | None]:
    found = _AUTHORITY.fullmatch(authority)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port < 65536):
        # What stands in place of the port may be a password, so nothing is shown.
        raise ConfigurationError("uri is not a URL: its host or port cannot be read")
    host = normal_host(found["host"])
    if host is None:
        raise ConfigurationError(
            "uri is not a URL: its host cannot be read; it is a name of letters, digits, '-' and "
            "'_', four numbers as in 10.0.0.1, or an IPv6 address in brackets"
        )
    return host, port
