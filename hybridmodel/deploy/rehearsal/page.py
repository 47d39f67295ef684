"""The page that shows a rehearsal and has buttons to disturb it: three files without data.

Its script asks for everything else (see `events`), and writes it as text. Colours are those of
the report.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hybridmodel.deploy.rehearsal.events import Events
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.deploy.rehearsal.passes import Passes
from hybridmodel.report.palette import DARK, LIGHT

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_STEP = 10


class Page:
    """The page of one rehearsal: its files, what it is told, and who may see that."""

    def __init__(self, endpoint: LiveEndpoint) -> None:
        folder = endpoint.settings.folder
        self.events = Events(endpoint, commands(folder, tuple(endpoint.deployments)))
        self.passes = Passes()
        self.routes = [
            Route(path, partial(_answer, _content(name), kind))
            for path, (name, kind) in _FILES.items()
        ]


def commands(folder: Path, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return command lines that shift the traffic of a folder's rehearsal: what for, and the line.

    They can be given one after the other.
    """
    if not names:
        return [("Show the jobs", _line(folder, "status"))]
    first, last = names[0], names[-1]
    words: list[tuple[str, ...]] = [("Give all traffic to one", "traffic", f"{first}=100")]
    if first != last:
        words = [
            (f"Copy {_STEP} % of the requests to {last}", "mirror", f"{last}={_STEP}"),
            ("End the copies", "mirror"),
            (f"Send {_STEP} % of them there", "traffic", f"{first}={100 - _STEP} {last}={_STEP}"),
        ]
    words.append((f"Give {last} more instances", "scale", f"{last} 2"))
    return [(purpose, _line(folder, *rest)) for purpose, *rest in words]


def _line(folder: Path, name: str, given: str = "") -> str:
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join(["hybridmodel", "rehearse", name, str(folder), *given.split()])


async def _answer(content: bytes, kind: str, _: Request) -> Response:
    return Response(content, headers={"Content-Type": kind})


def _content(name: str) -> bytes:
    content = (_STATIC / name).read_bytes()
    return _colours() + content if name.endswith(".css") else content


def _colours() -> bytes:
    def rule(palette: Mapping[str, str]) -> str:
        return ":root{" + "".join(f"--{name}:{value};" for name, value in palette.items()) + "}"

    dark = f"@media (prefers-color-scheme:dark){{{rule(DARK)}}}"
    return f"{rule(LIGHT)}\n{dark}\n".encode()
