"""What the tests of `hybridmodel.azure_ep` share: a server, and its logger as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.azure_ep_cases import KEY


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedServer]:
    """Serve the models of the tests in this process, to those who know the key."""
    with serve(models.served(), auth_key=KEY) as server:
        yield server


@pytest.fixture
def quiet() -> Iterator[logging.Logger]:
    """Take back what ``verbose`` does to the library's logger."""
    log = logging.getLogger("hybridmodel")
    before = log.level, log.handlers[:]
    yield log
    log.level, log.handlers[:] = before
    log.setLevel(before[0])
