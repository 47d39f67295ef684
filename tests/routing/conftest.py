"""A server for all tests of this room, and a model with one of its models behind the endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hybridmodel import HybridOnnxModel, TritonEndpoint
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.shadowing import Held, Shadowed, Shadows, X
from tests.support.two_routes import REMOTE


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve all models of `models.served`, and the remote model of `two_routes`."""
    with serve({**models.served(), "other": models.linear(seed=5), "remote": REMOTE}) as running:
        yield running


@pytest.fixture
def model(server: EmbeddedServer) -> HybridOnnxModel:
    """Return the local model of `two_routes`, with the remote model behind its endpoint."""
    return HybridOnnxModel(models.graded(), endpoint=server.endpoint("remote"))


@pytest.fixture
def shadows(server: EmbeddedServer) -> Iterator[Shadows]:
    """Make runners that are closed at the end."""
    made: list[Shadowed] = []

    def make(model: bytes, remote: str | TritonEndpoint, **options: Any) -> Shadowed:
        if isinstance(remote, str):
            remote = TritonEndpoint(uri=server.uri, model_name=remote, auth_key_env=None)
        made.append(Shadowed(model, remote, **options))
        return made[-1]

    yield make
    for item in made:
        item.close()


@pytest.fixture
def held() -> Iterator[Held]:
    """Hold answers to 50 rows back until the test lets them go, or ends."""
    made = Held(len(X))
    yield made
    made.may.set()
