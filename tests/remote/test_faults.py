"""The fault table: the docs show it, and the client does what it says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from hybridmodel import EndpointError, EndpointTimeout, ProtocolError
from hybridmodel.remote import faults
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.faults import BY_NAME, FAULTS, Fault, fault_of, fault_of_status, new_error
from tests.support.faulty import FEEDS, SPEC, FaultyEndpoint, error, good, http
from tests.support.paths import ROOT

STATUSES = [row for row in FAULTS if row.name.isdigit()]


def row_of(fault: Fault) -> str:
    """Write a row as docs/faults.md does."""
    breaker = f"{fault.breaker}, after {fault.fair_s:g} s" if fault.fair_s else fault.breaker
    cells = (fault.name, f"`{fault.error.__name__}`", fault.retry, breaker, fault.hint)
    return " ".join(f"| {cell}" if cell else "|" for cell in (*cells, "")).replace("  ", " ")


def test_the_docs_show_the_table() -> None:
    """docs/faults.md has these rows and no others, in this order."""
    text = (ROOT / "docs" / "faults.md").read_text()
    table = re.findall(r"^\|.*\|$", text, re.MULTILINE)[2:]
    assert table == [row_of(fault) for fault in FAULTS]


def test_each_row_has_a_name_of_its_own() -> None:
    """And each error finds the row that made it."""
    assert len(BY_NAME) == len(FAULTS)
    for fault in FAULTS:
        made = new_error(fault.name, "failed")
        assert (type(made), fault_of(made), made.hint) == (fault.error, fault, fault.hint)


@pytest.mark.parametrize(
    ("status", "of_model", "name"),
    [
        (204, False, "2xx"),
        (302, False, "3xx"),
        (400, True, "4xx"),
        (100, False, "4xx"),
        (500, False, "5xx"),
        (500, True, "5xx of the model"),
        (503, True, "503"),
        (999, False, "5xx"),
    ],
)
def test_each_status_has_a_row(status: int, of_model: bool, name: str) -> None:
    """Its own, or that of its hundred."""
    assert fault_of_status(status, of_model=of_model).name == name


def test_an_error_without_a_row_has_that_of_its_class() -> None:
    """A status that belongs to another class of error does not decide."""
    late = EndpointTimeout("late")
    broken = ProtocolError("not HTTP", status=503)
    assert [fault_of(error).name for error in (late, broken)] == [faults.LATE, "not the protocol"]
    assert fault_of(EndpointTimeout("late", status=504)).name == "504"
    assert fault_of(EndpointError("failed")).name == "anything else"


@pytest.mark.parametrize("fault", STATUSES, ids=lambda fault: fault.name)
def test_the_client_does_what_the_row_says(fault: Fault) -> None:
    """Error, hint, number of requests, and whether the breaker opens at the second."""
    with FaultyEndpoint(http(int(fault.name), b"said")) as faulty:
        endpoint = faulty.endpoint(max_attempts=2, breaker_failures=2)
        client = EndpointClient(endpoint, SPEC, sleep=lambda _: None)
        with pytest.raises(fault.error) as caught:
            client.infer(FEEDS, ("y",))
        times = 2 if fault.retry == "yes" else 1
        assert (len(faulty.requests), caught.value.attempts) == (times, times)
        if times == 1:
            with pytest.raises(fault.error):
                client.infer(FEEDS, ("y",))
        assert client.stats()["circuit_open"] == (fault.breaker == "failure")
    assert type(caught.value) is fault.error
    assert fault.hint in str(caught.value)


def test_whether_a_status_is_sent_again_is_one_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 504 is sent again where the table says so."""
    changed = {**BY_NAME, "504": replace(BY_NAME["504"], retry="yes")}
    monkeypatch.setattr(faults, "BY_NAME", changed)
    with FaultyEndpoint(http(504), good()) as faulty:
        client = EndpointClient(faulty.endpoint(max_attempts=3), SPEC, sleep=lambda _: None)
        assert client.infer(FEEDS, ("y",)).attempts == 2


def test_the_context_of_an_error_is_set_once_and_joined_when_it_is_shown() -> None:
    """`args` holds what happened; where, how often and for which request stands beside it."""
    with FaultyEndpoint(error(503, "busy")) as faulty:
        client = EndpointClient(faulty.endpoint(max_attempts=2), SPEC, sleep=lambda _: None)
        with pytest.raises(EndpointError) as caught:
            client.infer(FEEDS, ("y",))
    failure = caught.value
    assert failure.args == ("answered 503: busy",)
    assert (failure.fault, failure.status, failure.attempts) == ("503", 503, 2)
    told = f"[2 requests, request id {failure.request_id}]"
    assert str(failure) == f"{client.endpoint.model_url}: answered 503: busy {told}"
