"""The report's page: what it is made of, everywhere, and what a real browser makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hybridmodel.cascade.formatting import percent
from hybridmodel.looks.axes import linear, logarithmic
from hybridmodel.report import render
from hybridmodel.report.filters import milliseconds, short
from hybridmodel.report.findings import ClassRight
from hybridmodel.report.palette import DARK, LIGHT, SHADES, colours, mix
from tests.support.browsing import CONTRASTS, real_tab
from tests.support.devtools import Tab
from tests.support.report_pages import EVIL, OTHER, checked, contrast, findings
from tests.support.strategies import law, texts


def test_a_page_holds_together() -> None:
    """A page with everything in it loads nothing, runs nothing, and names what it shows."""
    read = checked(render(findings()))
    assert len(read.all("svg")) == 5
    assert len(read.all("table")) >= 7
    for words in ("60.0 %", "40.0 % sent on", "only the endpoint right", "1,000,000"):
        assert words in read.text


@pytest.mark.parametrize(
    "changes",
    [
        {"labelled": None, "numbers": None, "escalation": None, "why_no_curve": "no score"},
        {"rows": ()},
        {"facts": ()},
        {"title": ""},
    ],
)
def test_a_page_without_some_parts(changes: dict[str, Any]) -> None:
    """What was not found is left out, or said; the page holds together all the same."""
    read = checked(render(findings(**changes)))
    assert changes.get("why_no_curve", "") in read.text


def test_many_classes() -> None:
    """Of more classes than a table has room for, the most frequent confusions are listed."""
    pairs = tuple((f"class {n}", f"class {n + n % 2}", 100 - n) for n in range(60))
    classes = tuple(
        ClassRight(label=n, rows=100 - n, agreed=1, local=1, remote=1) for n in range(60)
    )
    base = findings()
    assert base.labelled is not None
    found = replace(
        base,
        summary=replace(base.summary, pairs=pairs),
        labelled=replace(base.labelled, classes=classes),
    )
    read = checked(render(found))
    assert "The most frequent of 61 classes" in read.text
    assert "30 rarer labels are left out" in read.text
    assert len(read.all("td")) < 300


@law
@given(st.one_of(texts, st.text(alphabet="<>&\"'/=-! \n\x00\x1b\x7f\x85ab", max_size=30)))
def test_text_stays_text(words: str) -> None:
    """Whatever names, labels and values are, the page has the same elements, and their text."""
    assume(words != OTHER)
    plain, read = checked(render(findings())), checked(render(findings(words)))
    assert [name for name, _ in read.elements] == [name for name, _ in plain.elements]
    shown = re.sub(
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", words
    )
    assert shown in "".join(read.texts)


def test_markup_in_data_is_text() -> None:
    """An attack in a class name is shown as it is written."""
    page = render(findings(EVIL))
    assert "<script" not in page
    assert "<img" not in page
    assert EVIL[:40] in checked(page).text


def test_a_page_can_be_written_as_utf8() -> None:
    """Halves of surrogate pairs, which UTF-8 cannot hold, become replacement characters."""
    assert "\ufffd" in render(findings("a\ud800b")).encode().decode()


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_is_legible(palette: dict[str, str]) -> None:
    """Each colour of text has a contrast of at least 4.5 on each surface that it is used on."""
    found = colours(palette)
    for name, surface in product(("ink", "soft", "local", "remote", "both"), ("page", "card")):
        assert contrast(found[name], found[surface]) >= 4.5, (name, surface)
    for surface in SHADES:
        assert contrast(found["ink"], found[surface]) >= 4.5, surface


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#123456", "#123456", 1.0)],
)
def test_contrast(one: str, other: str, expected: float) -> None:
    """Contrast is that of the guidelines, whichever colour comes first."""
    assert contrast(one, other) == contrast(other, one) == pytest.approx(expected, abs=0.005)
    assert mix(one, other, 0.0) == one
    assert mix(one, other, 1.0) == other


@law
@given(
    st.floats(-1e9, 1e9),
    st.one_of(st.just(0.0), st.floats(1e-6, 1e9)),
    st.sampled_from([linear, logarithmic]),
)
def test_axes(low: float, span: float, make: Any) -> None:
    """Every value lies on its axis, and there are at least two ticks but not too many."""
    if make is logarithmic:
        low = abs(low) + 1e-6
    axis = make("", low, low + span, str)
    slack = 1e-6 * (abs(low) + span)
    assert axis.low <= low + slack
    assert axis.high >= low + span - slack
    assert 2 <= len(axis.ticks) <= 17
    assert 0.0 <= axis.place(low) <= axis.place(low + span) <= 1.0


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(1.0), "100.0 %"),
        (percent(0.99999), "99.9 %"),
        (percent(0.00001), "0.1 %"),
        (percent(0.0), "0.0 %"),
        (percent(0.12345, 2), "12.35 %"),
        (milliseconds(0.00123), "1.23 ms"),
        (milliseconds(0.0123), "12.3 ms"),
        (milliseconds(1.23), "1,230 ms"),
        (short(0.1234567), "0.123457"),
        (short([0.123456, "a", {"b": 1.0}]), '[0.1235, "a", {"b": 1.0}]'),
        (short("x" * 100), "x" * 79 + "…"),
        (short(True), "True"),
    ],
)
def test_numbers_as_words(written: str, expected: str) -> None:
    """Shares are never rounded to all or nothing, and long values are cut."""
    assert written == expected


@pytest.fixture(scope="module")
def chrome() -> Iterator[Tab]:
    """Open a tab of a real browser: the one that is installed, else the one that pip brings."""
    with real_tab() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Write two pages, and return their addresses."""
    folder = tmp_path_factory.mktemp("pages")
    long = "a-very-long-name-without-any-space-" * 6
    written = {}
    for name, found in (("all", findings("x")), ("evil", findings(EVIL)), ("long", findings(long))):
        path = folder / f"{name}.html"
        path.write_text(render(found), encoding="utf-8")
        written[name] = path.as_uri()
    return written


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["all", "evil", "long"])
def test_in_a_browser(chrome: Tab, pages: dict[str, str], name: str, dark: bool) -> None:
    """A browser has nothing to complain about, asks for nothing, and shows a picture of it."""
    chrome.open(pages[name], dark=dark)
    assert chrome.complaints == []
    assert chrome.requests == [pages[name]]
    assert chrome.evaluate("document.scripts.length + document.images.length") == 0
    assert chrome.evaluate("document.compatMode") == "CSS1Compat"
    colour = chrome.evaluate("getComputedStyle(document.body).backgroundColor")
    palette = DARK if dark else LIGHT
    assert colour == "rgb({}, {}, {})".format(*bytes.fromhex(palette["page"][1:]))


@pytest.mark.parametrize("dark", [False, True])
def test_text_is_legible_in_a_browser(chrome: Tab, pages: dict[str, str], dark: bool) -> None:
    """Every piece of text has a contrast of at least 4.5 to what is behind it, as computed."""
    chrome.open(pages["all"], dark=dark)
    seen = chrome.evaluate(CONTRASTS)
    assert len(seen) > 5
    for pair in seen:
        assert contrast(*pair.split()) >= 4.5, pair


@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("name", ["all", "evil", "long"])
def test_a_page_is_as_wide_as_the_window(
    chrome: Tab, pages: dict[str, str], width: int, name: str
) -> None:
    """Wide tables and pictures scroll by themselves; the page does not scroll sideways."""
    chrome.open(pages[name], width=width)
    assert chrome.evaluate("document.documentElement.scrollWidth") <= width


def test_a_screen_reader_meets_names(chrome: Tab, pages: dict[str, str]) -> None:
    """Pictures, tables, sections and links have names."""
    chrome.open(pages["all"])
    met = chrome.names()
    for role in ("image", "table", "region", "link", "navigation"):
        names = [name for found, name in met if found == role]
        assert names, role
        assert all(names), role
    assert ("heading", "Agreement") in met


def test_a_page_can_be_used_with_the_keyboard(chrome: Tab, pages: dict[str, str]) -> None:
    """Whatever scrolls or opens can be reached by the keyboard."""
    chrome.open(pages["all"], width=360)
    unreachable = "[...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth"
    unreachable += " && getComputedStyle(e).overflowX === 'auto' && e.tabIndex < 0).length"
    assert chrome.evaluate(unreachable) == 0
    assert chrome.evaluate("document.querySelector('summary').tabIndex") == 0


def test_printing_is_light(chrome: Tab, pages: dict[str, str]) -> None:
    """Paper is white, also for who prefers dark screens."""
    chrome.open(pages["all"], dark=True, medium="print")
    ink = "getComputedStyle(document.querySelector('h1')).color"
    assert chrome.evaluate(ink) == "rgb({}, {}, {})".format(*bytes.fromhex(LIGHT["ink"][1:]))


def test_the_browser_would_complain(chrome: Tab, tmp_path: Path) -> None:
    """What these tests look for is seen where it is: errors, requests, what the policy stops."""
    page = tmp_path / "bad.html"
    page.write_text('<!DOCTYPE html><img src="http://evil.example/x"><script>oops()</script>')
    chrome.open(page.as_uri())
    assert "oops is not defined" in "".join(chrome.complaints)
    assert "http://evil.example/x" in chrome.requests
    spoiled = render(findings()).replace("</main>", f"{EVIL[8:]}<p style='color: red'></main>")
    page.write_text(spoiled)
    chrome.open(page.as_uri())
    assert len(chrome.forbidden) == 1
    assert "Content Security Policy" in "".join(chrome.complaints)
