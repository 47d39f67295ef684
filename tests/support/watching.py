"""Whoever watches a rehearsal: requests to its page and its events, and endpoints to be watched."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hybridmodel.deploy.rehearsal.behaviours import Switches
from hybridmodel.deploy.rehearsal.control import Address, read_address
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.deploy.rehearsal.running import Rehearsal
from hybridmodel.deploy.rehearsal.settings import Deployment, Endpoint, GatewayLimits


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Idle:
    """A server that is always there and never asked."""

    kind, models, address, is_running = "none", ("digits",), "", True

    def answers(self) -> bool:
        """Tell that it is there."""
        return True

    def start(self) -> None:
        """Do nothing."""

    stop = kill = start


def idle_endpoint(clock: Clock | None = None, folder: Path | None = None) -> LiveEndpoint:
    """Make an endpoint of two deployments that nobody asks."""
    names = ("blue", "green")
    settings = Endpoint(
        name="digits-ep",
        deployments=tuple(Deployment(name=name, models=Path()) for name in names),
        traffic={"blue": 100},
        folder=folder or Path("digits-ep"),
    )
    servers = {name: Idle() for name in names}
    return LiveEndpoint(settings, servers, Switches(), GatewayLimits(), clock or Clock())


class Listener:
    """One end of an ASGI application that streams: takes pieces, or none until it is told to."""

    def __init__(self, *, takes: bool = True) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.status = 0
        self.takes, self.leaves = asyncio.Event(), asyncio.Event()
        if takes:
            self.takes.set()

    async def listen(self, application: Any) -> None:
        """Listen until the end."""
        await application({"type": "http"}, self._receive, self._send)

    @property
    def names(self) -> list[str]:
        """Names of the events that came."""
        return [name for name, _ in self.heard]

    async def _receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.takes.wait()
        self.status = message.get("status", self.status)
        if self.status == 200 and "body" in message:
            self.heard += events(message["body"].decode())


def events(text: str) -> Iterator[tuple[str, Any]]:
    """Read server-sent events."""
    for part in text.split("\n\n")[:-1]:
        name, data = (line.partition(": ")[2] for line in part.split("\n"))
        yield name, json.loads(data)


def address_of(rehearsal: Rehearsal) -> Address:
    """Return where a rehearsal's controls are."""
    return read_address(rehearsal.folder)


@contextmanager
def asked(
    port: int, path: str, said: Any = None, *, token: str | None = None, **headers: str
) -> Iterator[http.client.HTTPResponse]:
    """Send one request, of POST where something is said; headers are named with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        named["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = said if isinstance(said, bytes) or said is None else json.dumps(said)
    try:
        connection.request("GET" if said is None else "POST", path, body, named)
        with connection.getresponse() as answer:
            yield answer
    finally:
        connection.close()


def status_of(port: int, path: str, said: Any = None, **given: Any) -> int:
    """Send one request, and return the status of its answer."""
    with asked(port, path, said, **given) as answer:
        return answer.status


def enter(rehearsal: Rehearsal, link: str | None = None) -> str:
    """Follow a link as the page does, and return the session."""
    fragment = (link or rehearsal.page()).partition("#")[2]
    with asked(address_of(rehearsal).port, "/session", {"link": fragment}) as answer:
        return str(json.load(answer)["session"])
