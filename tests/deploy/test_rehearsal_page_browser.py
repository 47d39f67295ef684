"""A rehearsal's page in a real browser: what it shows, what its buttons do, how it looks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from hybridmodel.deploy.rehearsal import events
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.report.palette import DARK, LIGHT
from tests.support.browsing import CONTRASTS, real_tab, until
from tests.support.devtools import Tab
from tests.support.rehearsing import ask, write_export
from tests.support.report_pages import contrast

EVIL = "<img src=x onerror=alert(1)>" + "a-long-name-without-any-space" * 5
CONDITION = "document.querySelector('#cards article:nth-child(2) .word').textContent"
CONNECTION = "document.getElementById('connection').className"
LIVE = "connection open"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Tab]:
    """Open a tab of a real browser."""
    with real_tab() as opened:
        yield opened


@pytest.fixture(scope="module")
def running(chrome: Tab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Rehearse two deployments of a folder with an evil name, after a few answers."""
    folder = tmp_path_factory.mktemp("export") / EVIL
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(events, "INTERVAL_S", 0.05)
        export = write_export(folder)
        with rehearse(export, server="embedded", traffic={"blue": 70, "green": 30}) as one:
            for key in ("", "", "", "wrong"):
                ask(one, key=key, azureml_model_deployment="green")
            yield one


@pytest.fixture
def tab(chrome: Tab, running: Rehearsal) -> Tab:
    """Open the page by a new link, and wait until it shows everything."""
    return opened(chrome, running)


def opened(chrome: Tab, running: Rehearsal, *, dark: bool = False, width: int = 1100) -> Tab:
    """Open the page by a new link, and wait until it shows everything."""
    chrome.open(running.page(), dark=dark, width=width)
    until(chrome, CONNECTION, LIVE)
    until(chrome, "document.querySelectorAll('svg.chart path.answers').length", 2)
    return chrome


def press(tab: Tab, action: str) -> None:
    """Press a button of the second deployment."""
    button = f"#cards article:nth-child(2) [data-action={action}]"
    tab.evaluate(f"document.querySelector({json.dumps(button)}).click()")


def test_it_shows_the_values(tab: Tab, running: Rehearsal) -> None:
    """Deployments, traffic, codes and times are there, in order, with nothing to complain about."""
    seen = running.snapshot()
    text = tab.evaluate("document.body.innerText")
    for words in ("Rehearsal of digits-ep", seen.uri, "70 %", "30 %", "3 × 200", "no valid key"):
        assert words in text
    cells = (
        "[...document.querySelectorAll('article:nth-child(2) .gateway td')].map(c => c.innerText)"
    )
    median, p99, longest = tab.evaluate(cells)
    assert all(" ms" in cell or " s" in cell for cell in (median, p99, longest))
    assert tab.evaluate("document.querySelectorAll('article:first-child svg path.median').length")
    assert tab.complaints == []
    base = tab.evaluate("location.origin")
    assert all(request.startswith(f"{base}/") for request in tab.requests)


def test_the_link_is_not_kept(tab: Tab, running: Rehearsal) -> None:
    """The token is neither in the address nor readable as a cookie, and a reload needs no link."""
    base = tab.evaluate("location.origin")
    assert tab.evaluate("location.href") == f"{base}/"
    assert tab.evaluate("document.cookie") == ""
    tab.open(f"{base}/")
    until(tab, CONNECTION, LIVE)


def test_without_a_link(tab: Tab) -> None:
    """Without a link the page shows nothing, and says where there is one."""
    base = tab.evaluate("sessionStorage.clear() || location.origin")
    tab.open(f"{base}/")
    until(tab, CONNECTION, "connection lost")
    assert "hybridmodel rehearse page DIR" in tab.evaluate("document.body.innerText")
    assert tab.evaluate("document.getElementById('main').hidden")


def test_names_are_text(tab: Tab) -> None:
    """A name with markup is shown as it is written, and nothing can write markup into the page."""
    assert EVIL in tab.evaluate("document.getElementById('commands').textContent")
    assert tab.evaluate("document.images.length") == 0
    attempt = (
        "(() => { try { document.body.innerHTML = ''; return 'done' } catch { return 'no' } })()"
    )
    assert tab.evaluate(attempt) == "no"


def test_buttons(tab: Tab, running: Rehearsal) -> None:
    """Each button does what it says, and changes of condition are read out."""
    for action, condition in (
        ("hang", "hung"),
        ("revive", "running"),
        ("slow", "slow by 500 ms"),
        ("kill", "dead"),
        ("revive", "running"),
    ):
        press(tab, action)
        until(tab, CONDITION, condition)
        assert running.snapshot().deployments[1].condition == condition.split()[0]
    said = tab.evaluate("document.getElementById('changes').textContent")
    for condition in ("hung", "slow", "dead", "running"):
        assert f"green: {condition}. " in said
    assert tab.complaints == []


def test_what_is_refused_is_said(tab: Tab) -> None:
    """A number that cannot be is not sent, and the reason of a refusal is read out."""
    tab.evaluate("document.querySelector('article:nth-child(2) input').value = '-1'")
    press(tab, "slow")
    refuse = "press(cards.get('green'), 'yellow', { dataset: { action: 'kill' } })"
    tab.evaluate(f"void {refuse}")
    until(tab, "document.getElementById('failure').hidden", False)
    words = tab.evaluate("document.querySelector('[role=alert]').textContent")
    assert "there is no deployment 'yellow'" in words
    assert tab.evaluate(CONDITION) == "running"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_looks(chrome: Tab, running: Rehearsal, dark: bool, width: int) -> None:
    """It fits narrow and wide windows, in the report's colours, and all its text is legible."""
    try:
        running.hang("green")
        tab = opened(chrome, running, dark=dark, width=width)
        until(tab, CONDITION, "hung")
    finally:
        running.revive("green")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    ends = "[...document.querySelectorAll('article, section')]"
    assert max(tab.evaluate(f"{ends}.map(e => e.getBoundingClientRect().right)")) <= width
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    palette = DARK if dark else LIGHT
    assert colour == "rgb({}, {}, {})".format(*bytes.fromhex(palette["page"][1:]))
    for pair in tab.evaluate(CONTRASTS):
        assert contrast(*pair.split()) >= 4.5, pair


def test_a_screen_reader_meets_names(tab: Tab) -> None:
    """Buttons, pictures, tables and fields say what they are of."""
    met = tab.names()
    for name in ("Kill green", "Hang green", "Slow green", "Revive green", "Kill blue"):
        assert ("button", name) in met
    assert ("spinbutton", "Seconds by which green is slow") in met
    for role in ("image", "table", "region", "article"):
        names = [name for found, name in met if found == role]
        assert names, role
        assert all(names), role
    assert ("status", "") in met


def test_the_end(chrome: Tab, running: Rehearsal) -> None:
    """When the rehearsal ends the page says so, keeps what was seen, and asks no more."""
    tab = opened(chrome, running)
    running.stop()
    until(tab, CONNECTION, "connection lost")
    assert "has ended" in tab.evaluate("document.getElementById('connection').textContent")
    assert "digits-ep" in tab.evaluate("document.body.innerText")
