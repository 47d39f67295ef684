"""Rows 1 to 10 of the fault table: connections, redirects, keys and versions."""

from __future__ import annotations

import datetime as dt
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    AuthenticationFailed,
    CircuitOpen,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridOnnxModel,
    TritonEndpoint,
)
from tests.support import models
from tests.support.connecting import Authority
from tests.support.fault_report import Note
from tests.support.fault_rows import (
    LOCAL,
    PAGE,
    SLACK_S,
    TIMEOUT_S,
    answered,
    ask,
    assert_right,
    close,
    environment,
    hybrid,
    note,
    only,
    posts,
    raised,
    reset,
    upstream,
)
from tests.support.faulty import (
    FaultyEndpoint,
    Gateway,
    Script,
    first,
    http,
)
from tests.support.remote_answers import good, silent

__all__ = ["environment", "note", "upstream"]  # Fixtures.


def nobody(uri: str, **options: Any) -> HybridOnnxModel:
    """Make a model whose endpoint cannot be reached."""
    given = {"auth_key_env": "FAULT_KEY", "timeout_s": TIMEOUT_S, **options}
    return HybridOnnxModel(LOCAL, endpoint=TritonEndpoint(uri=uri, model_name="m", **given))


@pytest.fixture
def closed() -> Iterator[str]:
    """Give an address where nobody listens, and nobody else will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def full() -> Iterator[str]:
    """Give an address where connecting never ends: its queue is full, and nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, ExitStack() as waiting:
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_row_01_a_name_that_nobody_has(note: Note) -> None:
    """DNS that knows nothing is tried again, and said with the name."""
    with nobody("https://nobody.invalid") as model:
        result = ask(model)
    failure = raised(result, note, 1, "DNS failure", EndpointUnavailable, "nobody.invalid")
    assert (failure.attempts, failure.status) == (3, None)


def test_row_01_nobody_listens(closed: str, note: Note) -> None:
    """A refused connection is tried again, and said with the address."""
    with nobody(closed) as model:
        result = ask(model)
    failure = raised(result, note, 1, "refused", EndpointUnavailable, "refused", closed)
    assert failure.attempts == 3


def test_row_01_connecting_never_ends(full: str, note: Note) -> None:
    """Each attempt to connect is bounded by itself, all together by the deadline."""
    with nobody(full, connect_timeout_s=0.2) as model:
        result = ask(model)
        slow = ask(model, timeout=0.15)
    says = "no connection within 0.2 s"
    assert raised(result, note, 1, "connect timeout", EndpointUnavailable, says).attempts == 3
    raised(slow, note, 1, "connect timeout beyond the deadline", EndpointTimeout, "0.15 s")


def test_row_01_the_deadline_bounds_the_attempts(closed: str, note: Note) -> None:
    """Ten attempts that may be made end with the call's time nevertheless."""
    with nobody(closed, max_attempts=10, breaker_failures=None) as model:
        result = ask(model, timeout=1.0)
    failure = raised(result, note, 1, "refused, 10 attempts in 1 s", EndpointUnavailable)
    assert failure.attempts < 10
    assert result.seconds < 1.0 + SLACK_S / 2


def test_row_01_a_private_network_is_thought_of(closed: str) -> None:
    """Whoever cannot connect is told that the endpoint may be private."""
    with nobody(closed, max_attempts=1) as model:
        assert "private" in str(ask(model).error)


@pytest.mark.parametrize("expired", [False, True])
def test_row_02_a_certificate(
    expired: bool,
    upstream: Any,
    note: Note,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is not accepted is told with the way out; nothing is sent, nothing repeated."""
    if expired:
        past = SimpleNamespace(**vars(dt))
        past.datetime = type("Past", (), {"now": staticmethod(ten_days_ago)})
        monkeypatch.setattr("tests.support.connecting.dt", past)
    authority = Authority(tmp_path, "127.0.0.1")
    if expired:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    accepted = 0
    with Gateway(upstream.port, first(), tls=authority.server) as gateway:
        with hybrid(gateway) as model:
            result = ask(model)
        arrived = len(gateway.requests)
        if not expired:
            with hybrid(gateway, ca_bundle=str(authority.bundle)) as model:
                assert_right(ask(model))
                accepted = 1
    injected, says = ("expired", "expired") if expired else ("of an unknown authority", "verify")
    failure = raised(result, note, 2, f"a certificate {injected}", EndpointRefused, says)
    assert "REQUESTS_CA_BUNDLE" in str(failure)
    assert (arrived, failure.attempts, len(gateway.requests)) == (0, 1, accepted)


def ten_days_ago(zone: Any) -> Any:
    """Tell a time when certificates of today were not thought of."""
    return dt.datetime.now(zone) - dt.timedelta(days=10)


@pytest.mark.parametrize(("how", "done"), [(close, "closed"), (reset, "reset")])
def test_row_03_a_reused_connection_that_is_dead(
    how: Script, done: str, upstream: Any, note: Note
) -> None:
    """What is sent on a connection that ends just then is sent again at once, on another."""
    script: list[Script] = []
    with (
        Gateway(upstream.port, lambda _: script.pop() if script else None) as gateway,
        hybrid(gateway, max_attempts=1) as model,
    ):
        assert_right(ask(model))
        script.append(how)
        result = ask(model)
        assert len(gateway.requests) == 3
    answered(result, note, 3, f"a reused connection, {done} as it is used")


def test_row_04_counts_for_the_breaker(upstream: Any, note: Note) -> None:
    """A timeout speaks against an endpoint, and is not tried again."""
    with (
        Gateway(upstream.port, first(silent)) as gateway,
        hybrid(gateway, timeout_s=1.0, breaker_failures=1) as model,
    ):
        result, following = ask(model), ask(model)
        assert len(gateway.requests) == 1
    raised(result, note, 4, "no answer, with a breaker of one failure", EndpointTimeout)
    raised(following, note, 4, "the call after that", CircuitOpen, "1 s")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_row_06_a_redirect(status: int, upstream: Any, note: Note) -> None:
    """It is not followed, and its path and query are not repeated."""
    with FaultyEndpoint(good()) as elsewhere:
        script = http(status, PAGE, Location=f"{elsewhere.uri}/login?token=S3CRET")
        with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
            result = ask(model)
        assert len(gateway.requests) == 1
        assert elsewhere.requests == []
    failure = raised(result, note, 6, str(status), EndpointRefused, "redirect", "not followed")
    assert failure.status == status
    assert "S3CRET" not in str(failure)
    assert "login" not in str(failure)


def test_row_06_names_the_host(upstream: Any) -> None:
    """The host of a redirect shows which login page or proxy stands in between."""
    script = http(302, PAGE, Location="https://login.example/?token=S3CRET")
    with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
        assert "login.example" in str(ask(model).error)


def test_row_07_what_the_server_says_of_a_tensor(upstream: Any, note: Note) -> None:
    """A model that takes five columns asks one that takes four: refused in the server's words."""
    with Gateway(upstream.port, first()) as gateway:
        endpoint = gateway.endpoint(model_name="linear")
        with HybridOnnxModel(models.linear(n_features=5), endpoint=endpoint) as model:
            result = ask(model, np.ones((3, 5), np.float32))
    failure = raised(result, note, 7, "another shape, real server", EndpointRefused, "'x'", "shape")
    assert (failure.status, len(posts(gateway))) == (400, 1)


class Tokens:
    """A credential whose first token has expired already."""

    def __init__(self) -> None:
        self.given = iter(["old", "new", "newer"])

    def get_token(self, *scopes: str) -> Any:
        """Give the next token."""
        assert scopes == ("https://ml.azure.com/.default",)
        return SimpleNamespace(token=next(self.given), expires_on=time.time() + 3600)


def test_row_08_an_expired_token(upstream: Any, note: Note) -> None:
    """It is renewed once, at once, and the next call begins with the new one."""
    with Gateway(upstream.port, only("new")) as gateway, hybrid(gateway, Tokens()) as model:
        result = ask(model)
        assert_right(ask(model))
        assert len(gateway.requests) == 3
    assert answered(result, note, 8, "401 for an expired token").attempts == 2


def test_row_08_a_rotated_key(upstream: Any, note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other key is tried when the first is refused, and first from then on."""
    monkeypatch.setenv("FAULT_KEY_2", "second-key")
    with (
        Gateway(upstream.port, only("second-key")) as gateway,
        hybrid(gateway, secondary_key_env="FAULT_KEY_2") as model,
    ):
        result = ask(model)
        assert_right(ask(model))
        assert len(gateway.requests) == 3
    assert answered(result, note, 8, "401 for the primary key").attempts == 2


def test_row_08_no_key_is_good(upstream: Any, note: Note) -> None:
    """The second refusal is the caller's, with the scope that a token needs."""
    with Gateway(upstream.port, only("none")) as gateway, hybrid(gateway, Tokens()) as model:
        result = ask(model)
        assert len(gateway.requests) == 2
    says = ("https://ml.azure.com/.default", "token expired")
    failure = raised(result, note, 8, "401, always", AuthenticationFailed, *says)
    assert (failure.status, failure.attempts) == (401, 2)


def test_row_10_a_version_that_is_not_served(upstream: Any, note: Note) -> None:
    """A real server's refusal names what was asked for."""
    with (
        Gateway(upstream.port, first()) as gateway,
        hybrid(gateway, model_version="9") as model,
    ):
        result = ask(model)
    failure = raised(result, note, 10, "a wrong version, real server", EndpointRefused, "versions")
    assert (failure.status in (400, 404), len(posts(gateway))) == (True, 1)
