"""Pages of reports for the tests: findings to make them of, and a reader that checks them."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

from hybridmodel.cascade import Curve
from hybridmodel.compare.comparison import ComparisonSummary
from hybridmodel.compare.values import OutputDifference
from hybridmodel.report import Findings
from hybridmodel.report.findings import (
    Chosen,
    ClassRight,
    Durations,
    Errors,
    Escalation,
    Labelled,
    Numbers,
    Row,
)

EVIL = "</style><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>\"'&"
OTHER = "another name"

VOID = {"meta", "br", "col", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page, and makes sure that its elements are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.styles = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in an element."""
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Take in text."""
        if self._open and self._open[-1] == "style":
            self.styles += data
        else:
            self.texts.append(data)

    def all(self, *names: str) -> list[dict[str, str | None]]:
        """Return the attributes of the elements of these names."""
        return [attributes for name, attributes in self.elements if name in names]

    @property
    def text(self) -> str:
        """All text."""
        return " ".join(self.texts)


def checked(page: str) -> Page:
    """Read a page, and check what every page has to be."""
    read = Page(page)
    allowed = "html head meta title style body header main footer nav section h1 h2 h3 p a strong"
    allowed += " code ul li dl dt dd div table caption thead tbody tr th td details summary figure"
    allowed += " figcaption svg desc g path rect circle text"
    assert {name for name, _ in read.elements} <= set(allowed.split())
    for _, attributes in read.elements:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        assert not {"src", "srcset", "xlink:href", "action", "data", "poster"} & set(attributes)
    assert all((item["href"] or "").startswith("#") for item in read.all("a"))
    assert not re.search(r"url\(|@import|expression", read.styles)
    policy = next(
        item["content"] or ""
        for item in read.all("meta")
        if item.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(read.styles.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    ids = [item["id"] for _, item in read.elements if "id" in item]
    assert len(ids) == len(set(ids))
    for _, attributes in read.elements:
        for key in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(key, ids[0]) in ids
    links = [(item["href"] or "").removeprefix("#") for item in read.all("a")]
    assert links[:4] == ["agreement", "cost", "latency", "rows"]
    assert links[4:] == [name for name in ("audit", "beside") if name in ids]
    names = [name for name, _ in read.elements]
    assert names.count("table") == names.count("caption")
    assert all(item.get("scope") in ("col", "row") for item in read.all("th"))
    for item in read.all("svg"):
        assert item["role"] == "img"
    headings = [int(name[1]) for name in names if re.fullmatch(r"h\d", name)]
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))
    assert read.all("html")[0]["lang"] == "en"
    return read


def findings(words: str = "x", **changes: Any) -> Findings:
    """Make findings with everything in them."""
    outputs = (OutputDifference("y", 10, 4, 0.5, 0.1), OutputDifference(words, 10, 4, None, None))
    summary = ComparisonSummary(
        agree_by=f"class {words!r}",
        calls=1,
        rows=10,
        agreed=6,
        shed=0,
        failures={},
        outputs=outputs,
        pairs=((words, words, 6), (words, OTHER, 3), (OTHER, 1, 1)),
        latency={},
        first=(),
        last=(),
    )
    curve = Curve(
        escalation=(0.0, 0.5, 1.0),
        threshold=(0.1, 0.5, float("inf")),
        risk=(0.2, 0.1, 0.0),
        risk_bound=(0.3, 0.2, 0.0),
        accuracy=(0.7, 0.8, 0.9),
    )
    given: dict[str, Any] = {
        "title": words,
        "facts": (("endpoint", words), (words, OTHER)),
        "summary": summary,
        "durations": Durations(
            local_s=(0.001, 0.002),
            remote_s=(0.01, 0.02),
            of_one_row=True,
            local_rows_per_s=1e6,
            remote_rows_per_s=1e4,
            batch_rows=10,
        ),
        "labelled": Labelled(
            both=5,
            only_local=1,
            only_remote=3,
            neither=1,
            classes=(ClassRight(label=words, rows=10, agreed=6, local=6, remote=8),),
        ),
        "numbers": Numbers(
            output=words,
            pairs=((1.0, 2.0), (2.0, 1.0)),
            edges=(-1.0, 0.0, 1.0),
            counts=(1, 1),
            skipped=1,
            local_errors=Errors(mean_abs=1.0, root_mean_square=2.0),
            remote_errors=Errors(mean_abs=1.0, root_mean_square=2.0),
        ),
        "escalation": Escalation(
            score=words,
            loss=words,
            curve=curve,
            delta=0.1,
            chosen=Chosen(threshold=0.4, escalation=0.4, risk=0.1, epsilon=0.1),
        ),
        "rows": (
            Row(
                position=3, local=words, remote=OTHER, score=0.5, label=words, inputs={words: words}
            ),
            Row(position=1, local=1.5, remote=[1], score=None, label=None, inputs={OTHER: 1}),
        ),
        "rows_order": "in order",
    }
    return Findings(**{**given, **changes})


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21.

    As the Web Content Accessibility Guidelines 2.2 define it ("contrast ratio").
    """
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [part / 255 for part in bytes.fromhex(colour[1:])]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
