"""The names of machines: a strict grammar, so that what is shown is what is dialled.

No I/O. Libraries read odd spellings in different ways (a backslash, ``%65vil``, ``0x7f.1``), and a
check by one of them says nothing about where another one connects. So there is one spelling.
"""

from __future__ import annotations

import ipaddress
import re

_LONGEST = 253
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def normal_host(text: str) -> str | None:
    """Return the one spelling of a host, None for what is none.

    ==========================  ===============  =====================================
    written                     taken as         because
    ==========================  ===============  =====================================
    ``A.Example``               ``a.example``    DNS knows no capitals
    ``a.example.``              ``a.example``    one dot at the end is the root of DNS
    ``127.1``, ``0x7f.1``       nothing          resolvers disagree on such numbers
    ``[::0001]``                ``::1``          one address, one spelling
    ``[::ffff:10.0.0.1]``       nothing          it is the IPv4 address ``10.0.0.1``
    ``[fe80::1%eth0]``          nothing          a zone is this machine's own business
    ``-a.example``, ``a..b``    nothing          no such names
    letters beyond ASCII        nothing          DNS writes them with ``xn--``
    ==========================  ===============  =====================================

    Parameters
    ----------
    text : str
        As it stands in a URL, IPv6 addresses in brackets.

    Returns
    -------
    str or None
        In lower case, IPv6 addresses without brackets.
    """
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1])
    text = text.lower().removesuffix(".")
    labels = text.split(".")
    if len(text) > _LONGEST or not text.isascii() or not all(map(_LABEL.fullmatch, labels)):
        return None
    return _ipv4(text) if _NUMBER.fullmatch(labels[-1]) else text


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
        return (host,) if ipaddress.ip_address(host).is_loopback else ()
    except ValueError:
        return ()


def _ipv4(text: str) -> str | None:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None


def _ipv6(text: str) -> str | None:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    return None if address.scope_id or address.ipv4_mapped else str(address)
