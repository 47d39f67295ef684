"""How a host is found and reached: names that hang, addresses that do not answer, proxies."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from hybridmodel import EndpointUnavailable
from hybridmodel.remote.http import connect, dial
from hybridmodel.remote.http.dial import Connecting, Shared, addresses_of
from hybridmodel.remote.resilience import Deadline
from tests.support.connecting import SETTINGS
from tests.support.faulty import ANSWER, FaultyEndpoint, http
from tests.support.tls_client import ask, left_behind


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the proxies and certificates of the machine out of the tests."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


def address(port: int) -> dial.Address:
    """Describe a port of this machine."""
    return (socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", port))


def test_a_name_that_hangs_costs_one_thread_however_often_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resolver cannot be interrupted; calls end all the same, and share the thread that waits."""
    release = threading.Event()
    asked: list[object] = []

    def hang(*arguments: object, **_: object) -> Any:
        asked.append(arguments)
        release.wait(30)
        raise socket.gaierror(-3, "no resolver")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(EndpointUnavailable, match=r"no connection within 0\.2 s"):
            ask("https://triton.test", 10.0, connect_timeout_s=0.2)
    assert time.monotonic() - started < 3
    assert left_behind() == ["hybridmodel-connect"]
    assert len(asked) == 1
    release.set()
    threads = [one for one in threading.enumerate() if one.name == "hybridmodel-connect"]
    for one in threads:
        one.join(10)
    assert left_behind() == []
    with pytest.raises(EndpointUnavailable, match="no resolver"):
        ask("https://triton.test", 10.0)


def test_a_call_that_is_given_up_stops_waiting_for_a_name() -> None:
    """Who ends the deadline from another thread need not wait for the resolver either."""
    release = threading.Event()
    shared: Shared[bool] = Shared("hybridmodel-test")
    deadline = Deadline(30)
    threading.Timer(0.2, deadline.end).start()
    started = time.monotonic()
    with pytest.raises(ConnectionError):
        shared.get("key", lambda: release.wait(30), Connecting(deadline, 30))
    assert time.monotonic() - started < 5
    release.set()


def test_a_child_does_not_wait_for_the_threads_of_its_parent() -> None:
    """What was being looked up at a fork is looked up anew."""
    release = threading.Event()
    shared: Shared[bool] = Shared("hybridmodel-test")
    with pytest.raises(ConnectionError):
        shared.get("key", lambda: release.wait(30), Connecting(Deadline(5), 0.05))
    shared.reset()
    assert shared.get("key", lambda: False, Deadline(5)) is False
    release.set()


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    """An address that is a black hole takes its share of the time, not all of it."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_server(("127.0.0.1", 0)) as open_,
    ):
        ports = [one.getsockname()[1] for one in (full, open_)]
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", ports[0]))
            fillers.append(filler)
        time.sleep(0.1)
        started = time.monotonic()
        opened = dial.dial(tuple(map(address, ports)), Connecting(Deadline(10), 1.0))
        assert time.monotonic() - started < 3
        assert opened._socket.getpeername()[1] == ports[1]
        opened.close()
        with pytest.raises(ConnectionError, match="no connection within"):
            dial.dial((address(ports[0]),), Connecting(Deadline(10), 0.3))
        for filler in fillers:
            filler.close()


def test_the_last_reason_is_told_when_no_address_answers() -> None:
    """A refused connection is said to be refused, and no address to be none."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    unknown: dial.Address = (9999, socket.SOCK_STREAM, 0, ("127.0.0.1", 1))
    with pytest.raises(ConnectionRefusedError):
        dial.dial((unknown, address(port)), Deadline(5))
    with pytest.raises(OSError, match="no address"):
        dial.dial((), Deadline(5))


def test_an_interrupted_connect_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while connecting closes what was begun."""
    made: list[socket.socket] = []

    class Interrupted(dial.BoundedSocket):
        def connect(self, *_: object) -> None:
            made.append(self._socket)
            raise KeyboardInterrupt

    monkeypatch.setattr(dial, "BoundedSocket", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        dial.dial((address(1),), Deadline(5))
    assert made[0].fileno() == -1


def test_a_name_that_cannot_be_looked_up_is_said() -> None:
    """A label longer than any is an error of the network's kind, not Python's."""
    with pytest.raises(OSError, match="not a name that can be looked up"):
        addresses_of(f"{'a' * 70}.test", 80)


@pytest.mark.parametrize(
    ("url", "tls", "tunnel"),
    [
        ("https://10.0.0.1:8443/x", "10.0.0.1", "10.0.0.1:8443"),
        ("https://[fd00::1]:8443/x", "fd00::1", "[fd00::1]:8443"),
        ("https://localhost./x", "localhost", "localhost.:443"),
    ],
)
def test_hosts_are_named_as_certificates_and_proxies_want_them(
    url: str, tls: str, tunnel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IPv6 has brackets for a proxy only, and a certificate no last dot either."""
    asked: list[tuple[str, int]] = []

    def note(host: str, port: int) -> tuple[dial.Address, ...]:
        asked.append((host, port))
        return ()

    monkeypatch.setattr(connect, "addresses_of", note)
    route = connect.route_to(url)
    assert (route.tls, route.tunnel) == (tls, None)
    monkeypatch.setenv("HTTPS_PROXY", "http://[::1]:3128")
    route = connect.route_to(url)
    assert (route.tls, route.tunnel) == (tls, tunnel)
    assert asked[1] == ("::1", 3128)


def test_a_socks_proxy_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PySocks is installed, `socks5` in the environment works as with requests."""
    pytest.importorskip("socks", reason="PySocks is optional for requests as well")
    with FaultyEndpoint(http(200, ANSWER)) as faulty:

        def serve(listening: socket.socket) -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(3)
                connection.sendall(b"\x05\x00")
                assert connection.recv(100)[:4] == b"\x05\x01\x00\x03"
                connection.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01")
                with socket.create_connection(("127.0.0.1", faulty.port)) as target:
                    target.sendall(connection.recv(65536))
                    connection.sendall(target.recv(65536))

        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=serve, args=(listening,), daemon=True)
            thread.start()
            port = listening.getsockname()[1]
            monkeypatch.setenv("HTTP_PROXY", f"socks5h://127.0.0.1:{port}")
            assert ask("http://triton.test", allow_http=True) == 5.0
            thread.join(10)
    assert len(faulty.requests) == 1
