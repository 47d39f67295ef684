"""One embedding server for all tests, well-behaved at the start of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.embedding_server import EmbeddingServer


@pytest.fixture(scope="session")
def _running() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as running:
        yield running


@pytest.fixture
def server(_running: EmbeddingServer) -> EmbeddingServer:
    """Return the server, which has forgotten what it was told before."""
    _running.forget()
    return _running
