"""Endpoints on Unix sockets: addresses, connections, and what a saved model may do with them."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from hybridmodel import ConfigurationError, EndpointUnavailable, TritonEndpoint, load_model
from hybridmodel.exceptions import EndpointError
from hybridmodel.remote.address import UNIX, Place, read_address
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http import dial
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.trust.grants import parse_grants
from hybridmodel.spans import _server
from tests.support.granting import config_home, secrets
from tests.support.near_server import SMALL, SPEC, NearServer
from tests.support.trusting import Wire, another_process, ask, line_of, stored, wire

__all__ = ["another_process", "config_home", "secrets", "wire"]  # Fixtures.

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="only with Unix sockets")

PATH = "/run/triton.sock"
STORED = {"uri": f"unix://{PATH}", "auth_key_env": None}


@pytest.mark.parametrize(
    "text", [f"unix://{PATH}", f"unix:{PATH}", f"UNIX://{PATH}", f"  unix:{PATH} "]
)
def test_a_socket_is_written_in_two_ways_and_shown_in_one(text: str) -> None:
    """Both spellings name the same place, and the endpoint shows the longer one."""
    endpoint = TritonEndpoint(uri=text, model_name="m")
    assert endpoint.uri == f"unix://{PATH}"
    assert endpoint.place == Place(UNIX, PATH, 0, "")
    assert endpoint.model_url == f"unix://{PATH}/v2/models/m/versions/1"
    assert TritonEndpoint.from_dict(endpoint.to_dict()).uri == endpoint.uri


@pytest.mark.parametrize(
    "text",
    [
        "unix:",
        "unix:///",
        "unix:relative",
        "unix://host/path",
        "unix:////run/x",
        "unix:///run//x",
        "unix:///run/../x",
        "unix:///run/./x",
        "unix:///run/x/",
        "unix:///run/x;reboot",
        "unix:///run/$HOME",
        "unix:///run/%41",
        "unix:///run/x?y",
        "unix:///run/ü",
        f"unix:///{107 * 'a'}",
    ],
)
def test_a_path_that_programs_read_in_different_ways_is_refused(text: str) -> None:
    """Only plain, absolute paths that fit into an address of a socket are taken."""
    with pytest.raises(ConfigurationError, match="absolute path of a socket"):
        read_address(text)


def test_the_path_of_a_socket_is_exact() -> None:
    """Nothing is dropped from its end, as it is from the address of a host."""
    assert read_address("unix:///run/v2").place.host == "/run/v2"
    assert read_address("unix:///run/score").place.host == "/run/score"


def test_a_call_goes_over_the_socket_past_every_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment have no part in it, and the key travels in its header."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy.invalid:1")
    monkeypatch.setenv("A_KEY", "secret-of-the-socket")
    with NearServer() as server:
        client = EndpointClient(server.endpoint(auth_key_env="A_KEY"), SPEC)
        for _ in range(3):
            answer = client.infer({"x": SMALL}, ["y"], rows=len(SMALL))
            np.testing.assert_array_equal(answer.outputs["y"], 2 * SMALL)
        client.close()
    assert [headers["Authorization"] for headers in server.headers] == (
        3 * ["Bearer secret-of-the-socket"]
    )
    assert server.headers[0]["Host"] == "localhost"


@pytest.mark.parametrize("there", ["nothing", "a file", "nobody listens"])
def test_what_is_no_server_is_named_with_its_path(there: str, tmp_path: Path) -> None:
    """The error has the path, what the system says, and what to look at."""
    path = tmp_path / "socket"
    if there == "a file":
        path.touch()
    if there == "nobody listens":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    endpoint = TritonEndpoint(
        uri=f"unix://{path}", model_name="m", auth_key_env=None, max_attempts=1, binary=True
    )
    with pytest.raises(EndpointUnavailable) as caught:
        EndpointClient(endpoint, SPEC).infer({"x": SMALL}, ["y"], rows=len(SMALL))
    assert str(path) in str(caught.value)
    assert "does the server run, and listen there" in str(caught.value)


def test_a_server_with_a_full_queue_does_not_hold_a_caller_beyond_its_time(tmp_path: Path) -> None:
    """A Unix socket without room is asked again until the time is over, and then it is an error."""
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        full.bind(str(tmp_path / "socket"))
        full.listen(0)
        first.connect(str(tmp_path / "socket"))
        endpoint = TritonEndpoint(
            uri=f"unix://{tmp_path}/socket",
            model_name="m",
            auth_key_env=None,
            connect_timeout_s=0.1,
            max_attempts=1,
        )
        started = time.monotonic()
        with pytest.raises(EndpointError, match="no connection within"):
            EndpointClient(endpoint, SPEC).is_ready(timeout_s=20)
        assert time.monotonic() - started < 10


def test_a_system_without_such_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was saved for a socket loads on Windows, and says there why it cannot ask."""
    monkeypatch.setattr(dial, "_UNIX", -1)
    endpoint = TritonEndpoint(uri=f"unix://{PATH}", model_name="m", auth_key_env=None)
    with pytest.raises(ConfigurationError, match="no Unix sockets"):
        EndpointClient(endpoint, SPEC).is_ready()


@pytest.mark.usefixtures("another_process")
def test_a_stored_socket_gets_no_data_without_a_grant(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A saved model's path is not trusted as this machine's ports are; the error says the line."""
    folder = stored(tmp_path, STORED)
    model = load_model(str(folder))
    with pytest.raises(ConfigurationError) as caught:
        ask(model)
    assert wire.sent == []
    assert line_of(caught) == f'export HYBRIDMODEL_ALLOW="unix:{PATH}"'
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", f"unix:{PATH}.other")
    with pytest.raises(ConfigurationError):
        ask(model)
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", f"unix:{PATH}")
    ask(model)
    assert [url.partition("/v2/")[0] for url, _ in wire.sent] == [f"unix://{PATH}"]


@pytest.mark.usefixtures("another_process")
@pytest.mark.parametrize("path", ["/tmp/x.localhost", "/run/a.b/c.localhost"])
def test_no_name_of_a_socket_makes_it_this_machines(path: str, tmp_path: Path, wire: Wire) -> None:
    """A path that ends as a host of this machine may is a path like any other."""
    assert not read_address(f"unix:{path}").place.is_loopback
    with pytest.raises(ConfigurationError, match=f"unix:{path}"):
        ask(load_model(str(stored(tmp_path, {**STORED, "uri": f"unix:{path}"}))))
    assert wire.sent == []


@pytest.mark.usefixtures("another_process")
def test_a_key_goes_to_a_stored_socket_only_where_both_are_granted(
    tmp_path: Path, wire: Wire
) -> None:
    """A grant of the path alone lets data go there, and no key."""
    folder = stored(tmp_path, {**STORED, "auth_key_env": "DIGITS_API_KEY"})
    with pytest.raises(ConfigurationError, match=f"DIGITS_API_KEY@unix:{PATH}"):
        ask(load_model(str(folder), allow=[f"unix:{PATH}"]))
    assert wire.sent == []
    ask(load_model(str(folder), allow=[f"DIGITS_API_KEY@unix:{PATH}"]))
    assert wire.keys == [os.environ["DIGITS_API_KEY"]]


@pytest.mark.usefixtures("another_process")
def test_a_socket_that_the_program_names_needs_no_grant(tmp_path: Path, wire: Wire) -> None:
    """Who says the path at load has said it."""
    folder = stored(tmp_path, {**STORED, "uri": "unix:///run/other.sock"})
    ask(load_model(str(folder), model_config={"uri": f"unix://{PATH}"}))
    assert len(wire.sent) == 1


def test_grants_of_sockets_are_exact() -> None:
    """A grant is written in either way, and holds for no other path."""
    (short,) = parse_grants(f"unix:{PATH}", "test")
    (long,) = parse_grants(f"unix://{PATH}", "test")
    assert short == long
    assert not short.covers(None, Place(UNIX, f"{PATH}/x", 0, ""))
    with pytest.raises(ConfigurationError, match="entry 1 is not a grant"):
        parse_grants("unix:/run/../x", "test")


def test_a_span_has_the_path_as_address_and_no_port() -> None:
    """So OpenTelemetry's conventions want it."""
    endpoint = TritonEndpoint(uri=f"unix://{PATH}", model_name="m")
    assert _server(endpoint) == {"server.address": PATH, "hybridmodel.model_name": "m"}


def test_an_early_end_of_the_call_ends_connecting(tmp_path: Path) -> None:
    """A call that was given up does not go on knocking."""
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        full.bind(str(tmp_path / "socket"))
        full.listen(0)
        first.connect(str(tmp_path / "socket"))
        deadline = Deadline(60)
        deadline.end()
        with pytest.raises(ConnectionError, match="no connection"):
            dial.dial((dial.unix_address(str(tmp_path / "socket")),), dial.Connecting(deadline, 60))
