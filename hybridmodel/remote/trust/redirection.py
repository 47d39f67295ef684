"""Endpoints that the environment has this process ask on this machine instead, for a rehearsal.

``HYBRIDMODEL_ENDPOINT_<host>`` names an ``https`` address of this machine; the host is spelt as in
``HYBRIDMODEL_KEY_<host>``. Nothing but the environment can say that, and nothing that is meant for
the host itself goes there: no key, no token, no grant. The key for the other place is in
``HYBRIDMODEL_REHEARSAL_KEY_<host>``; any other secret goes there only where ``HYBRIDMODEL_ALLOW``
names both it and the place.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.address import Address, Place, read_address
from hybridmodel.remote.trust.origin import GUARDED, Origin
from hybridmodel.remote.trust.permission import spellings
from hybridmodel.remote.trust.variables import value_of

if TYPE_CHECKING:
    from hybridmodel.remote.endpoint_base import Endpoint

_TARGET, _KEY = "HYBRIDMODEL_ENDPOINT_", "HYBRIDMODEL_REHEARSAL_KEY_"

E = TypeVar("E", bound="Endpoint")

_log = logging.getLogger("hybridmodel")


def redirection_names(host: str) -> tuple[str, str]:
    """Return the variables that redirect a host: for the address, and for its key.

    Raises `ConfigurationError` for what is no host, and for hosts that have no such variables.
    """
    place = read_address(f"https://{host}").place
    spelt = spellings(place)
    if not spelt or place.is_loopback:
        raise ConfigurationError(
            f"{host}: no variable can redirect it; a host is expected, as in "
            "name.region.inference.ml.azure.com, without a port, a path or an underscore"
        )
    return f"{_TARGET}{spelt[0]}", f"{_KEY}{spelt[0]}"


def redirected(endpoint: E) -> E:
    """Return the endpoint to ask instead where the environment names one, else the same.

    Raises `ConfigurationError` where what it names is not on this machine.
    """
    spelt = spellings(endpoint.place)
    name = next(filter(value_of, (f"{_TARGET}{each}" for each in spelt)), None)
    if name is None:
        return endpoint
    uri = _address(name).uri
    _log.warning("%s is set: %s is asked instead of %s", name, uri, endpoint.uri)
    # As if a saved model had named the place: what the program said was about another one.
    changed: dict[str, Any] = {
        "uri": uri + endpoint.api_path,
        "ca_bundle": None,
        "allow_http": False,
    }
    stored = tuple((field, changed.get(field, getattr(endpoint, field))) for field in GUARDED)
    instead = tuple(f"{_KEY}{each}" for each in spelt)
    return replace(endpoint, **changed, origin=Origin(stored=stored, instead=instead))


def _address(name: str) -> Address:
    try:
        address = read_address(value_of(name))
    except ConfigurationError as error:
        raise ConfigurationError(f"the environment variable {name}: {error}") from None
    place: Place = address.place
    if place.scheme != "https" or not place.is_loopback or place.prefix:
        raise ConfigurationError(
            f"the environment variable {name} redirects to this machine only: "
            "https://localhost:PORT is expected, without a path"
        )
    return address
