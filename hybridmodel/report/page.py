"""The whole page: one file that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib

from hybridmodel.report import sections
from hybridmodel.report.findings import Findings
from hybridmodel.report.markup import Html, tag
from hybridmodel.report.style import sheet
from hybridmodel.report.words import count, milliseconds, percent

_SECTIONS = (
    ("agreement", "Agreement", sections.agreement),
    ("cost", "Cost of a cascade", sections.cost),
    ("latency", "Latency", sections.latency),
    ("rows", "Rows they disagree on", sections.rows),
)


def render(findings: Findings) -> str:
    """Return a report as an HTML page, to be written as UTF-8.

    The page holds no script and its policy allows none, nor anything from elsewhere; whatever
    comes from the model or its data is text.
    """
    styles = Html(sheet())
    links = (tag("li", tag("a", title, href=f"#{name}")) for name, title, _ in _SECTIONS)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=Html(_policy(styles))),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"Report on {findings.title}"),
        tag("style", styles),
    )
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", f"Report on {findings.title}"),
            tag("p", "What the local model and the endpoint say to the same rows.", class_="soft"),
            tag("nav", tag("ul", *links), aria_label="Sections"),
            _figures(findings),
        ),
        tag("main", *(section(findings) for _, _, section in _SECTIONS), _facts(findings)),
        tag("footer", tag("p", "Made by hybridmodel report.")),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _policy(styles: str) -> str:
    digest = base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _figures(findings: Findings) -> Html:
    summary, durations = findings.summary, findings.durations
    shown = [("agree", percent(summary.agreed / summary.rows), f"of {count(summary.rows)} rows")]
    if findings.labelled is not None:
        shown.append(("local right", percent(findings.labelled.local), ""))
        shown.append(("endpoint right", percent(findings.labelled.azure), ""))
    chosen = None if findings.escalation is None else findings.escalation.chosen
    if chosen is not None and chosen.accuracy is not None:
        sent = f"{percent(chosen.escalation)} sent on"
        shown.append(("cascade right", percent(chosen.accuracy.cascade), sent))
    what = "median, one row" if durations.of_one_row else "median"
    for name, seconds in (("local", durations.local_s), ("endpoint", durations.azure_s)):
        middle = sorted(seconds)[len(seconds) // 2]
        shown.append((f"{name} call", milliseconds(middle), what))
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value), tag("dd", more, class_="soft"))
            for name, value, more in shown
        ),
        class_="figures",
    )


def _facts(findings: Findings) -> Html:
    pairs = (
        part
        for name, value in findings.facts
        for part in (tag("dt", name), tag("dd", tag("code", value)))
    )
    return tag(
        "section",
        tag("h2", "What was compared", id="facts-heading"),
        tag("dl", *pairs, class_="facts"),
        id="facts",
        aria_labelledby="facts-heading",
    )
