"""What a list of endpoints may hold, which credential each has, and how each is compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    ConfigurationError,
    EmbeddingsEndpoint,
    EndpointUnavailable,
    HybridOnnxModel,
    SpecMismatch,
)
from hybridmodel.remote.endpoints import MOST_ENDPOINTS, as_endpoints
from hybridmodel.remote.regions import check_served, credentials_of
from tests.support import models
from tests.support.faulty import SPEC
from tests.support.regions import DOWN, World, described, place, reply

WEST, NORTH = place("west"), place("north")


@pytest.mark.parametrize(
    ("west", "north", "found"),
    [("y", "y", 0), ("y", "other", 2), ("other", "other", 4)],
    ids=["both fit", "the second does not", "neither"],
)
def test_each_endpoint_is_compared(west: str, north: str, found: int) -> None:
    """A model behind the second endpoint is found to differ before the first one is down."""
    world = World(west=reply(200, described(west)), north=reply(200, described(north)))
    client = world.client(WEST, NORTH)
    if not found:
        assert check_served(client, SPEC, (), None).output_names == ("y",)
        return
    with pytest.raises(SpecMismatch) as caught:
        check_served(client, SPEC, (), None)
    assert len(caught.value.differences) == found
    assert NORTH.model_url in str(caught.value)


def test_an_endpoint_that_is_down_is_not_compared() -> None:
    """Who checks wants to know that the second one would not answer."""
    world = World(west=reply(200, described("y")), north=DOWN)
    with pytest.raises(EndpointUnavailable, match=NORTH.uri):
        check_served(world.client(WEST, NORTH), SPEC, (), None)


TOKEN = SimpleNamespace(get_token=lambda *_: None)


def _key() -> str:
    return "a key"


@pytest.mark.parametrize(
    ("given", "number", "expected"),
    [
        (None, 2, (None, None)),
        (_key, 1, (_key,)),
        (TOKEN, 2, (TOKEN, TOKEN)),
        ([_key, None], 2, (_key, None)),
    ],
    ids=["none", "one endpoint", "Entra ID", "a list"],
)
def test_each_endpoint_has_a_credential(given: Any, number: int, expected: Any) -> None:
    """Tokens are good for all endpoints, a key for one."""
    assert credentials_of(given, [WEST, NORTH][:number]) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (_key, "give a list with one credential for each"),
        ([_key], "credential has 1 items for 2 endpoints"),
    ],
    ids=["a function", "too few"],
)
def test_no_key_is_given_to_two_endpoints(given: Any, message: str) -> None:
    """A function returns the key of one endpoint, and nobody can tell of which."""
    with pytest.raises(ConfigurationError, match=message):
        HybridOnnxModel(models.linear(), endpoint=[WEST, NORTH], credential=given)


def vectors(host: str, dimensions: int | None) -> EmbeddingsEndpoint:
    """Describe the embeddings endpoint of a host."""
    return EmbeddingsEndpoint(uri=f"https://{host}.example/v1", model="m", dimensions=dimensions)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "a list of endpoints has 1 to 16 of them, this one has 0"),
        ([WEST, "https://north.example"], r"endpoint\[1\] is a TritonEndpoint .*, not a str"),
        ([WEST, NORTH, WEST], r"endpoint\[2\] is the same as endpoint\[0\]"),
        ("https://west.example", "endpoint is a TritonEndpoint .*, not a str"),
        ([place(f"at{n}") for n in range(MOST_ENDPOINTS + 1)], "this one has 17"),
        ([np.ones(2)], r"endpoint\[0\] is a TritonEndpoint .*, not a ndarray"),
        ([vectors("west", 8), vectors("north", 16)], "have the same dimensions, not 8 and 16"),
    ],
    ids=["empty", "a text in it", "twice", "a text", "too many", "an array in it", "two widths"],
)
def test_a_list_that_cannot_work_is_refused(listed: Any, message: str) -> None:
    """The error says which item it is, what came, and what was expected."""
    with pytest.raises(ConfigurationError, match=message):
        as_endpoints(listed)
