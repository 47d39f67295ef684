"""Each behaviour of the gateway can be switched off, and then it is gone."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hybridmodel.deploy.rehearsal.behaviours import NAMES, table
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.deploy.rehearsal.settings import GatewayLimits
from tests.support.paths import ROOT
from tests.support.rehearsing import INFER, ask, connect, write_export

GREEN = {"azureml_model_deployment": "green"}
Probe = Callable[[Rehearsal], Any]


def _pinned(rehearsal: Rehearsal) -> Any:
    return ask(rehearsal, **GREEN).by


def _shared(rehearsal: Rehearsal) -> Any:
    rehearsal.set_traffic({"blue": 50, "green": 50})
    connection = connect(rehearsal)
    found = {ask(rehearsal, on=connection).by for _ in range(40)}
    connection.close()
    return sorted(map(str, found))


def _unweighted(rehearsal: Rehearsal) -> Any:
    rehearsal.set_traffic({})
    return ask(rehearsal).status


def _mirrored(rehearsal: Rehearsal) -> Any:
    rehearsal.set_mirror({"green": 50})
    connection = connect(rehearsal)
    for _ in range(40):
        ask(rehearsal, on=connection)
    connection.close()
    return rehearsal.snapshot().deployments[1].mirrored > 0


def _dead(rehearsal: Rehearsal) -> Any:
    rehearsal.kill("blue")
    return ask(rehearsal).status


def _late(rehearsal: Rehearsal) -> Any:
    rehearsal.slow("blue", 0.6)
    return ask(rehearsal).status


def _left(rehearsal: Rehearsal) -> Any:
    rehearsal.hang("blue")
    ask(rehearsal)
    return rehearsal.snapshot().deployments[0].in_flight


def _often(rehearsal: Rehearsal) -> Any:
    connection = connect(rehearsal)
    statuses = {ask(rehearsal, on=connection).status for _ in range(8)}
    connection.close()
    return sorted(statuses)


def _two_connections(rehearsal: Rehearsal) -> Any:
    connection = connect(rehearsal)
    try:
        assert ask(rehearsal, on=connection).status == 200
        return ask(rehearsal).status
    except (ConnectionError, ssl.SSLError):
        return None
    finally:
        connection.close()


def _delayed(rehearsal: Rehearsal) -> Any:
    ask(rehearsal, INFER, " " * 50_000)
    return rehearsal.snapshot().delayed_s > 0


def _early(rehearsal: Rehearsal) -> Any:
    said = ask(rehearsal, body="x" * 2_000_000, key="wrong")
    return said.headers.get("connection")


PROBES: dict[str, tuple[Probe, Any, Any]] = {
    "auth-401": (lambda one: ask(one, key=None).status, 401, 200),
    "pin": (_pinned, "green", "blue"),
    "traffic": (_shared, ["blue", "green"], ["blue"]),
    "no-weight-404": (_unweighted, 404, 200),
    "wrong-pin-404": (lambda one: ask(one, azureml_model_deployment="red").status, 404, 200),
    "mirror": (_mirrored, True, False),
    "model-error-424": (lambda one: ask(one, body={}).status, 424, 400),
    "model-error-body": (lambda one: bool(ask(one, body={}).body), True, False),
    "dead-503": (_dead, 424, 500),
    "timeout-408": (_late, 408, 200),
    "work-goes-on": (_left, 1, 0),
    "rate-429": (_often, [200, 429], [200]),
    "connections": (_two_connections, None, 200),
    "bandwidth": (_delayed, True, False),
    "plain-text": (
        lambda one: ask(one, key=None).headers["content-type"],
        "text/plain",
        "application/json",
    ),
    "early-refusal": (_early, "close", None),
    "request-ids": (lambda one: "x-request-id" in ask(one).headers, True, False),
    "swagger": (lambda one: ask(one, "/swagger.json", None).status, 200, 424),
}
"""For each behaviour: what is looked at, and what is seen with it and without it."""

ELSEWHERE = {
    *("token-expiry", "pending-429", "queue", "slow-scale-out", "idle-close"),
    *("jobs", "job-names", "job-list"),
}
"""Those that `test_gateway_parts`, `test_idle_connections` and `test_rehearsal_job*` switch off."""

LIMITS = {
    "rate-429": {"requests_per_s": 5},
    "connections": {"connections": 1},
    "bandwidth": {"bandwidth_bytes_per_s": 1_000_000},
}


LATE = {"timeout-408", "work-goes-on"}
"""Those that are seen when an answer is late; the others must not be late on a busy machine."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an endpoint that is patient."""
    return write_export(tmp_path_factory.mktemp("export"), timeout_ms=10_000)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an endpoint that is late after four tenths of a second."""
    return write_export(tmp_path_factory.mktemp("export"), timeout_ms=400)


def test_all_are_probed() -> None:
    """No behaviour is forgotten here."""
    assert set(PROBES) | ELSEWHERE == set(NAMES)


@pytest.mark.parametrize("name", sorted(PROBES))
def test_on_and_off(folder: Path, hasty: Path, name: str) -> None:
    """What is seen with a behaviour is not seen without it."""
    place = hasty if name in LATE else folder
    probe, with_it, without_it = PROBES[name]
    limits = GatewayLimits(**LIMITS.get(name, {}))
    for off, expected in (((), with_it), ((name,), without_it)):
        with rehearse(place, server="embedded", without=off, limits=limits) as rehearsal:
            assert probe(rehearsal) == expected, f"without {off}"
            for one in rehearsal.deployments:
                rehearsal.revive(one)


def test_idle_connections(folder: Path) -> None:
    """A connection that is idle for too long closes, unless that is switched off."""
    limits = GatewayLimits(idle_s=0.05)
    for off, left in (((), b""), (("idle-close",), None)):
        with rehearse(folder, server="embedded", without=off, limits=limits) as rehearsal:
            connection = connect(rehearsal)
            connection.connect()
            connection.sock.settimeout(0.5)
            try:
                assert connection.sock.recv(1) == left
            except TimeoutError:
                assert left is None
            finally:
                connection.close()


def test_the_page_has_the_table() -> None:
    """docs/rehearsal.md shows the table as the code has it."""
    page = (ROOT / "docs" / "rehearsal.md").read_text()
    found = re.search(
        r"<!-- behaviours: [^\n]*-->\n(.*?)\n<!-- behaviours: end -->", page, re.DOTALL
    )
    assert found is not None
    assert found[1] == table()
