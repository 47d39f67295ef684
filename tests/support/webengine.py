"""Qt's build of Chromium, which pip installs: a browser where none is on the path.

It is told what to do over a WebSocket (RFC 6455), of which this is as much as one end on this
machine needs.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from hybridmodel.serving.environments import environment
from tests.support.devtools import QUIET, Tab

REQUIREMENTS = ("PyQt6-WebEngine>=6.7,<7",)

_START_S = 30.0
_PROGRAM = """
import sys
from PyQt6.QtGui import QGuiApplication
from PyQt6.QtWebEngineCore import QWebEnginePage
application = QGuiApplication(sys.argv)
page = QWebEnginePage()
page.setHtml("")
sys.exit(application.exec())
"""


class DoesNotStartError(Exception):
    """Raised when the system lacks a library that Qt needs."""


def unsupported() -> str | None:
    """Say why it cannot be installed here, None where it can."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return None
    return "Qt's Chromium is installed on Linux x86-64 only"


@contextmanager
def webengine_tab() -> Iterator[Tab]:
    """Install it if need be, start it, and end it.

    Raises
    ------
    ConfigurationError
        If it cannot be installed.
    DoesNotStartError
        If it cannot be started.
    """
    python = environment("browser", REQUIREMENTS) / "bin" / "python"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = " ".join(f'"{flag}"' if " " in flag else flag for flag in QUIET)
    env = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_REMOTE_DEBUGGING": f"127.0.0.1:{port}",
        "QTWEBENGINE_CHROMIUM_FLAGS": flags,
    }
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [str(python), "-c", _PROGRAM], env=env, stdout=said, stderr=said
        ) as process,
    ):
        try:
            path = _path(process, port, said)
            with (
                socket.create_connection(("127.0.0.1", port), 60) as connection,
                connection.makefile("rb") as back,
            ):
                _shake_hands(connection, back, path, port)
                opened = Tab(lambda message: _send(connection, message), lambda: _read(back))
                opened.listen()
                yield opened
        finally:
            process.kill()


def _path(process: subprocess.Popen[bytes], port: int, said: IO[bytes]) -> str:
    """Wait for the page, and return where it is spoken to."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                listed: list[dict[str, Any]] = json.load(answer)
                return listed[0]["webSocketDebuggerUrl"].partition(str(port))[2]
        except (OSError, LookupError):
            time.sleep(0.05)
    said.seek(0)
    words = said.read().decode(errors="replace").strip()
    raise DoesNotStartError(words.rpartition("\n")[2] or "it says nothing")


def _shake_hands(connection: socket.socket, back: IO[bytes], path: str, port: int) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    assert b" 101 " in back.readline()
    while back.readline().strip():
        pass


def _send(connection: socket.socket, message: bytes) -> None:
    # One final frame of text, masked with zeros: a client has to mask, and zeros change nothing.
    length = len(message)
    size = bytes([0x80 | length]) if length < 126 else b"\xfe" + struct.pack(">H", length)
    connection.sendall(b"\x81" + size + bytes(4) + message)


def _read(back: IO[bytes]) -> bytes:
    message, final = b"", False
    while not final:
        start = back.read(2)
        assert len(start) == 2, "the browser has gone"
        final, length = bool(start[0] & 0x80), start[1]
        if length >= 126:
            form = ">H" if length == 126 else ">Q"
            (length,) = struct.unpack(form, back.read(struct.calcsize(form)))
        message += back.read(length)
    return message
