"""A rehearsal's page over HTTP: who gets in, who is kept out, and what listeners are told."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from hybridmodel.cli.program import program
from hybridmodel.deploy.rehearsal import events as events_module
from hybridmodel.deploy.rehearsal.control import Control
from hybridmodel.deploy.rehearsal.own_site import POLICY
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.exceptions import ConfigurationError
from tests.support.command_line import RUN
from tests.support.rehearsing import write_export
from tests.support.watching import address_of, asked, enter, events, status_of

LINK = re.compile(r"http://127\.0\.0\.1:\d+/#[\w-]{43}\b")
KILL = {"deployment": "green"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Rehearse two deployments, and tell what happens twenty times a second."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(events_module, "INTERVAL_S", 0.05)
        folder = write_export(tmp_path_factory.mktemp("export"))
        with rehearse(folder, server="embedded") as one:
            yield one


@pytest.fixture
def port(running: Rehearsal) -> int:
    """Return the port of the page."""
    return address_of(running).port


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/icon.svg"])
def test_files(port: int, path: str) -> None:
    """The page's files name no other place and hold no secret; the policy forbids all else."""
    with asked(port, path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        text = answer.read().decode()
    assert not re.search(r"https?://|url\(|@import", text.replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"<style|<script>|\bon\w+=|style=|innerHTML|eval\(", text)


def test_policy() -> None:
    """Nothing is allowed but the page's own files, and no text becomes markup or a script."""
    allowed = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert allowed.pop("default-src") == "'none'"
    assert allowed.pop("require-trusted-types-for") == "'script'"
    assert set(allowed.values()) == {"'self'", "'none'"}
    assert {"script-src", "frame-ancestors", "base-uri", "form-action"} <= set(allowed)
    assert allowed["trusted-types"] == "'none'"


@pytest.mark.parametrize("path", ["/", "/page.js", "/events", "/snapshot", "/kill", "/session"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:PORT"},
        {"Host": "localhost:PORT"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:PORT"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=lambda headers: "-".join(next(iter(headers.items()))),
)
def test_other_sites_are_refused(
    running: Rehearsal, port: int, path: str, headers: dict[str, str]
) -> None:
    """Whatever is meant for another host, or comes from another site, is refused with any token."""
    given = {name: value.replace("PORT", str(port)) for name, value in headers.items()}
    said = KILL if path in ("/kill", "/session") else None
    assert status_of(port, path, said, token=address_of(running).token, **given) == 403
    assert running.snapshot().deployments[1].condition == "running"


def test_the_own_site_is_served(running: Rehearsal, port: int) -> None:
    """What the page itself asks is answered."""
    own = {"Origin": f"http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"}
    said = {"deployment": "green", "delay_s": 0}
    assert status_of(port, "/slow", said, token=enter(running), **own) == 200


@pytest.mark.parametrize(
    ("path", "dest", "status"),
    [("/", "document", 200), ("/", "iframe", 403), ("/snapshot", "document", 403)],
    ids=["page", "frame", "other"],
)
def test_a_link_may_be_followed(port: int, path: str, dest: str, status: int) -> None:
    """A link to the page works wherever it is shown; framing it, or any other link, does not."""
    sent = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": dest}
    assert status_of(port, path, **sent) == status


def test_a_link_works_once(running: Rehearsal, port: int) -> None:
    """A link lets in once; those of the command line and of Python are each good by themselves."""
    first, second = running.page(), Control(running.folder).page()
    assert LINK.fullmatch(first)
    assert LINK.fullmatch(second)
    assert enter(running, first) != enter(running, second)
    said = {"link": first.partition("#")[2]}
    with asked(port, "/session", said) as answer:
        assert answer.status == 403
        assert "has been used" in json.load(answer)["error"]


def test_no_link_before_the_start(tmp_path: Path) -> None:
    """What does not run has no page."""
    with pytest.raises(ConfigurationError, match="not running"):
        Rehearsal(write_export(tmp_path), server="embedded").page()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 403),
        ({"link": ""}, 403),
        ({"link": 5}, 403),
        ({"link": None}, 403),
        ({"link": ["a"]}, 403),
        ({"link": "\ud800"}, 403),
        ([], 400),
        (b"{", 400),
        (b"x" * 70_000, 400),
    ],
    ids=lambda value: str(value)[:20].encode("ascii", "replace").decode(),
)
def test_bad_links(running: Rehearsal, port: int, said: object, status: int) -> None:
    """Whatever is no good link lets nobody in, and breaks nothing."""
    good = running.page()
    assert status_of(port, "/session", said) == status
    assert enter(running, good)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/snapshot", None),
        ("/traffic", {"green": 100}),
        ("/mirror", {}),
        ("/scale", {"deployment": "green", "instances": 2}),
        ("/token", {}),
        ("/keys", {}),
        ("/page", {}),
        ("/identity", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_page_may_not_do_everything(
    running: Rehearsal, port: int, path: str, said: object
) -> None:
    """A session gets no key, no further link, and shifts nothing."""
    assert status_of(port, path, said, token=enter(running)) == 401


@pytest.mark.parametrize("token", [None, "", "wrong"])
@pytest.mark.parametrize("path", ["/events", "/kill"])
def test_without_a_session(port: int, path: str, token: str | None) -> None:
    """Nobody without a session is told or changes anything."""
    assert status_of(port, path, KILL if path == "/kill" else None, token=token) == 401


def test_listeners_are_told(running: Rehearsal, port: int) -> None:
    """A listener gets the start, then states as they change."""
    with asked(port, "/events", token=enter(running)) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        text = b""
        while text.count(b"event: state") < 3:
            text += answer.read1()
        running.slow("green", 0.25)
        while b'"condition": "slow"' not in text:
            text += answer.read1()
        running.slow("green", 0)
    (name, start), *states = events(text.decode())
    assert name == "start"
    assert [purpose for purpose, _ in start["commands"]][1:3] == [
        "End the copies",
        "Send 10 % of them there",
    ]
    assert {name for name, _ in states} == {"state"}
    times = [said["sample"]["at_s"] for _, said in states]
    assert times == sorted(times)
    assert states[0][1]["snapshot"]["endpoint"] == "digits-ep"


def test_only_so_many_listen(running: Rehearsal, port: int) -> None:
    """One listener too many is told so; when one goes, another has its place."""
    session = enter(running)
    with ExitStack() as stack:
        for _ in range(events_module.MOST_LISTENERS):
            assert stack.enter_context(asked(port, "/events", token=session)).status == 200
        with asked(port, "/events", token=session) as refused:
            assert refused.status == 503
            assert "4 pages" in json.load(refused)["error"]
    end = time.monotonic() + 5
    while status_of(port, "/events", token=session) != 200:
        assert time.monotonic() < end


def test_the_end_is_told(tmp_path: Path) -> None:
    """A rehearsal that stops tells its listeners, and does not wait for those that do not read."""
    with rehearse(write_export(tmp_path), server="embedded") as running, ExitStack() as stack:
        port, session = address_of(running).port, enter(running)
        answers = [stack.enter_context(asked(port, "/events", token=session)) for _ in range(3)]
        before = time.monotonic()
        running.stop()
        assert time.monotonic() - before < 3
        assert all(answer.read().endswith(b"event: end\ndata: {}\n\n") for answer in answers)


def test_no_log_has_a_secret(
    running: Rehearsal, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Links and sessions are in no record of any logger, whether they are good or not."""
    caplog.set_level(logging.DEBUG)
    link = running.page()
    session = enter(running, link)
    fragment = link.partition("#")[2]
    for path, said in (("/session", {"link": fragment}), ("/kill", {"deployment": "x"})):
        assert status_of(port, path, said, token=session) in (400, 403)
    assert status_of(port, "/events", token=session, Host="evil.example") == 403
    written = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    for secret in (fragment, session, address_of(running).token):
        assert not [text for text in written if secret in text]


@pytest.mark.parametrize(
    ("option", "expected"),
    [("--page", LINK), ("--no-page", None), ("", None)],
    ids=["wanted", "not-wanted", "no-terminal"],
)
def test_the_command_prints_a_link(
    tmp_path: Path, option: str, expected: re.Pattern[str] | None
) -> None:
    """`rehearse` prints a link where it is asked for, else how to get one."""
    folder = str(write_export(tmp_path))
    words = ["rehearse", "run", "--server", "embedded", *option.split(), folder]
    ended = CliRunner().invoke(program, [*words, "--", sys.executable, "-c", ""])
    assert ended.exit_code == 0, ended.output
    assert bool(LINK.search(ended.stderr)) is (expected is not None)
    assert (f"hybridmodel rehearse page {folder}" in ended.stderr) is (expected is None)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such terminals")
def test_a_terminal_shows_a_link(tmp_path: Path) -> None:
    """On a terminal `rehearse` prints a link unasked."""
    ours, theirs = os.openpty()
    words = ["rehearse", "run", "--server", "embedded", str(write_export(tmp_path))]
    with os.fdopen(ours, "rb", buffering=0) as screen:
        with os.fdopen(theirs, "wb") as terminal:
            command = [*RUN, *words, "--", sys.executable, "-c", ""]
            assert subprocess.run(command, stderr=terminal, check=False).returncode == 0
        assert LINK.search(screen.read(4096).decode())


def test_another_link(running: Rehearsal) -> None:
    """`rehearse page` prints one more link, and nothing else."""
    ended = CliRunner().invoke(program, ["rehearse", "page", str(running.folder)])
    assert ended.exit_code == 0, ended.output
    assert LINK.fullmatch(ended.stdout.strip())
    assert enter(running, ended.stdout.strip())
