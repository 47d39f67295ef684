"""A real Chromium without a window, spoken to by its DevTools protocol.

The protocol: https://chromedevtools.github.io/devtools-protocol/. Messages are JSON; commands carry
a number, and what happens meanwhile comes without one. Where no browser is installed, Qt's build of
Chromium is (see `tests.support.webengine`).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

BROWSER_ENV = "CHROME"
"""Names the program where it is not on the path."""

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
"""Root in a container has no other way than the first; nobody is asked for any name."""

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    "--headless",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
    *QUIET,
)

# It reads from file 3 and writes to file 4.
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def browser() -> str | None:
    """Return the program, None where there is none."""
    named = os.environ.get(BROWSER_ENV)
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


class Tab:
    """One tab of a browser.

    Parameters
    ----------
    send, receive : callable
        Take and return the bytes of one message.

    Attributes
    ----------
    complaints : list of str
        Messages, errors and warnings that the page has caused.
    requests : list of str
        What it asked for, the page itself first.
    forbidden : list of str
        Of these, the numbers of those that its own policy kept from being sent.
    """

    def __init__(self, send: Callable[[bytes], None], receive: Callable[[], bytes]) -> None:
        self._send, self._receive = send, receive
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.forbidden: list[str] = []
        self._loaded = False

    def attach(self) -> None:
        """Open a new tab, where the connection is to the whole browser."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        opened = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = opened["sessionId"]

    def listen(self) -> None:
        """Begin to take note of what pages do."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(
        self, url: str, *, dark: bool = False, width: int = 1100, medium: str = "screen"
    ) -> None:
        """Load a page, and forget what was said of others."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media=medium, features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self.complaints, self.requests, self.forbidden, self._loaded = [], [], [], False
        went = self._call("Page.navigate", url=url)
        assert "errorText" not in went, went
        while not self._loaded:
            self._take(json.loads(self._receive()))

    def evaluate(self, expression: str) -> Any:
        """Return what an expression is in the page, as JSON."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self) -> bytes:
        """Return a picture of the whole page as PNG; Qt without a window draws none."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def names(self) -> list[tuple[str, str]]:
        """Return role and name of all that a screen reader meets."""
        self._call("Accessibility.enable")
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def end(self) -> None:
        """Have the browser end itself and its children."""
        self._send(json.dumps({"id": 0, "method": "Browser.close"}).encode())

    def _call(self, method: str, **given: Any) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": given}
        if self._session is not None:
            command["sessionId"] = self._session
        self._send(json.dumps(command).encode())
        while True:
            message = json.loads(self._receive())
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        method, given = message.get("method"), message.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(given))
        elif method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Network.loadingFailed" and given.get("blockedReason") == "csp":
            self.forbidden.append(given["requestId"])
        elif method == "Page.loadEventFired":
            self._loaded = True


@contextmanager
def tab(program: str) -> Iterator[Tab]:
    """Start a browser with nothing of its user's, and end it."""
    our_read, their_write = os.pipe()
    their_read, our_write = os.pipe()
    start = [sys.executable, "-c", _START, str(their_read), str(their_write)]
    with (
        os.fdopen(our_read, "rb") as back,
        os.fdopen(our_write, "wb") as there,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [*start, program, *_OPTIONS, f"--user-data-dir={folder}"],
            pass_fds=[their_read, their_write],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        os.close(their_read)
        os.close(their_write)
        try:
            opened = Tab(lambda message: _write(there, message), lambda: _read(back))
            opened.attach()
            opened.listen()
            yield opened
            opened.end()
            process.wait(10)
        finally:
            process.kill()


def _write(there: IO[bytes], message: bytes) -> None:
    there.write(message + b"\0")
    there.flush()


def _read(back: IO[bytes]) -> bytes:
    message = bytearray()
    while (byte := back.read(1)) != b"\0":
        assert byte, "the browser has gone"
        message += byte
    return bytes(message)
