"""The variables that belong to a host by their name: ``HYBRIDMODEL_KEY_<host>``. No I/O."""

from __future__ import annotations

from hybridmodel.remote.address import PORTS, Place

_PREFIX = "HYBRIDMODEL_KEY_"
_LONGEST = 320


def host_key_names(place: Place) -> tuple[str, ...]:
    """Return the variables for the key of a host, in the order in which they count.

    In a host's name ``.`` becomes ``_`` and ``-`` becomes ``__``. No two hosts share a name: labels
    neither begin nor end with a dash, so that one underscore is always a dot, and two a dash; and a
    host cannot end in the number that the second key's name ends in, but for an IPv4 address,
    which has no fewer than four.

    Parameters
    ----------
    place : Place
        Only ``https`` on its own port, without a prefix, has such variables; hosts with an
        underscore and IPv6 addresses have none.

    Returns
    -------
    tuple of str
        In lower case, in upper case, and both with ``_2`` for while keys rotate.
    """
    plain = place.scheme == "https" and place.port == PORTS["https"] and not place.prefix
    if not plain or "_" in place.host or ":" in place.host:
        return ()
    host = place.host.replace("-", "__").replace(".", "_")
    names = [f"{_PREFIX}{spelt}{ending}" for ending in ("", "_2") for spelt in (host, host.upper())]
    return tuple(dict.fromkeys(names)) if len(max(names, key=len)) <= _LONGEST else ()
