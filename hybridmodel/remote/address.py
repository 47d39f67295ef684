"""Addresses of endpoints: read once, strictly, and compared as places. No I/O.

Libraries read odd spellings of hosts in different ways (a backslash, ``%65vil``, ``0x7f.1``), and a
check by one of them says nothing about where another one connects. So there is one spelling: what
is shown is what is dialled.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import quote

from hybridmodel.exceptions import ConfigurationError

PORTS = {"https": 443, "http": 80}

UNIX = "unix"
"""The scheme of a socket that is a file of this machine."""

_TAILS = re.compile(r"(?:/score|/v2(?:/.*)?)$")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]{0,5}))?")
_PLAIN_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")
_UNIX = re.compile(r"unix:(?://(?=/))?(?P<path>.*)", re.IGNORECASE | re.DOTALL)

_LONGEST_PREFIX = 256
_LONGEST_HOST = 253
_LONGEST_SOCKET = 107
"""Linux takes no longer path for a socket."""

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Place(NamedTuple):
    """Where something may be sent; equal only to a place that is the same in every part.

    `host` is what `normal_host` returns, or the path of a `UNIX` socket, whose `port` is 0.
    `prefix` is the path before ``/v2``.
    """

    scheme: str
    host: str
    port: int
    prefix: str

    def __str__(self) -> str:
        if self.scheme == UNIX:
            return f"{UNIX}:{self.host}"
        host = in_url(self.host)
        if self.scheme == "http":
            return f"http://{host}:{self.port}{self.prefix}"
        return f"{host}{'' if self.port == PORTS['https'] else f':{self.port}'}{self.prefix}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is a port of this machine; a socket, which is a file, is not."""
        return self.scheme != UNIX and is_loopback(self.host)

    @property
    def is_plain(self) -> bool:
        """Whether what is sent there can be read on its way."""
        return self.scheme == "http" and not self.is_loopback

    @property
    def is_guarded(self) -> bool:
        """Whether what a saved model names there gets no data that nobody has granted.

        Behind a path, which costs nobody anything to write, any service of this machine may listen.
        """
        return self.is_plain or self.scheme == UNIX

    @property
    def can_be_named(self) -> bool:
        """Whether a grant can name it: short, nothing that a shell would read, and no way up."""
        short = len(self.prefix) <= _LONGEST_PREFIX
        return short and _PLAIN_PREFIX.fullmatch(self.prefix) is not None


class Address(NamedTuple):
    """An address in its normal form, and its place."""

    uri: str
    place: Place


def read_address(uri: Any) -> Address:
    """Read an address as people write it, without a query, a final ``/score`` and ``/v2``.

    ``unix:///path`` and ``unix:/path`` name the socket with exactly this path. Raises
    `ConfigurationError` for anything else, and does not show what might be a password.
    """
    socket = _UNIX.fullmatch(text := _legible(uri))
    if socket is not None:
        return _socket(socket["path"])
    scheme, host, port, path = _parsed(text)
    path = _TAILS.sub("", path.rstrip("/")).rstrip("/")
    path = quote(path, safe="/%:!$&'()*+,;=~-._")
    shown = f"{in_url(host)}{'' if port is None else f':{port}'}"
    place = Place(scheme, host, PORTS[scheme] if port is None else port, path)
    return Address(f"{scheme}://{shown}{path}", place)


def _socket(path: str) -> Address:
    if not 0 < len(path) <= _LONGEST_SOCKET or not _PLAIN_PREFIX.fullmatch(path):
        raise ConfigurationError(
            "uri is not unix:///PATH with the absolute path of a socket: at most "
            f"{_LONGEST_SOCKET} letters, digits and '.', '_', '~', '-' between single slashes, "
            "without '..' and a slash at the end"
        )
    return Address(f"{UNIX}://{path}", Place(UNIX, path, 0, ""))


def _parsed(text: str) -> tuple[str, str, int | None, str]:
    scheme, mark, rest = text.partition("://")
    # Without query and fragment.
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    scheme = scheme.lower()
    if not mark or scheme not in PORTS or not authority:
        known = re.fullmatch(r"[a-z][a-z0-9+.-]{0,15}", scheme) if mark else None
        raise ConfigurationError(
            "uri is an https:// address such as https://name.region.inference.ml.azure.com, "
            f"not {scheme if known else 'one without a scheme'}; unix:///PATH names a socket"
        )
    if not authority.isascii():
        raise ConfigurationError(f"uri has the host {authority!r}; write it as DNS does, with xn--")
    host, port = _host_and_port(authority)
    return scheme, host, port, slash + path


def _legible(uri: Any) -> str:
    """Return the text of a URI that every program reads in the same way, and without a secret."""
    if not isinstance(uri, str):
        raise ConfigurationError(f"uri is a str, not a {type(uri).__name__}")
    text = str(uri).strip()
    if "@" in text.partition("?")[0]:
        raise ConfigurationError("uri must not hold a user or password; name a variable instead")
    if any(ord(char) <= 32 or ord(char) == 127 for char in text):
        raise ConfigurationError("uri holds blanks or control characters")
    if "\\" in text:
        raise ConfigurationError("uri holds a backslash, which programs read in different ways")
    return text


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


def normal_host(text: str) -> str | None:
    """Return the one spelling of a host in a URL, None for what is not a host.

    ==========================  ===============  =====================================
    written                     taken as         because
    ==========================  ===============  =====================================
    ``A.Example``               ``a.example``    DNS ignores case
    ``a.example.``              ``a.example``    one dot at the end is the root of DNS
    ``127.1``, ``0x7f.1``       nothing          resolvers disagree on such numbers
    ``[::0001]``                ``::1``          one address, one spelling
    ``[::ffff:10.0.0.1]``       nothing          it is the IPv4 address ``10.0.0.1``
    ``[fe80::1%eth0]``          nothing          a zone has a meaning on one machine only
    ``-a.example``, ``a..b``    nothing          such names do not exist
    letters beyond ASCII        nothing          DNS writes them with ``xn--``
    ==========================  ===============  =====================================
    """
    if text.startswith("[") and text.endswith("]"):
        return _ip(text[1:-1]) if ":" in text else None
    text = text.lower().removesuffix(".")
    labels = text.split(".")
    if len(text) > _LONGEST_HOST or not text.isascii() or not all(map(_LABEL.fullmatch, labels)):
        return None
    return _ip(text) if _NUMBER.fullmatch(labels[-1]) else text


def in_url(host: str) -> str:
    """Return a normal host as URLs write it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Tell whether a normal host is this machine, whatever any name server says."""
    return bool(loopback_addresses(host))


def loopback_addresses(host: str) -> tuple[str, ...]:
    """Return the addresses to dial for a normal host that is this machine; none for others.

    Names below ``localhost`` are never looked up (RFC 6761, 6.3): a name server could send them
    anywhere.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return ("127.0.0.1", "::1")
    try:
        return (host,) if ip_address(host).is_loopback else ()
    except ValueError:
        return ()


def _ip(text: str) -> str | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A zone is this machine's own business.
    is_other = address.version == 6 and (address.scope_id or address.ipv4_mapped)
    return None if is_other else str(address)
