"""The whole page: one file that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING

from hybridmodel.cascade.formatting import percent
from hybridmodel.checks import needed_for
from hybridmodel.report import charts, tables
from hybridmodel.report.axes import HEIGHT, WIDTH
from hybridmodel.report.findings import Findings
from hybridmodel.report.formatting import count, milliseconds, number
from hybridmodel.report.palette import DARK, LIGHT, SHADES, colours

if TYPE_CHECKING:
    from jinja2 import Environment

_NOT_ALLOWED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
"""What HTML cannot hold, even as a reference, and halves of surrogate pairs."""


def render(findings: Findings) -> str:
    """Return a report as an HTML page, to be written as UTF-8.

    The page holds no script and its policy allows none, nor anything from elsewhere; whatever
    comes from the model or its data is text.
    """
    environment = _environment()
    styles = environment.get_template("style.css").render(
        light=colours(LIGHT), dark=colours(DARK), shades=SHADES
    )
    page = environment.get_template("page.html").render(
        found=findings, styles=styles, policy=_policy(styles), figures=_figures(findings)
    )
    return _NOT_ALLOWED.sub("\ufffd", page)


@cache
def _environment() -> Environment:
    """Return what finds the templates, and escapes all that is put into them."""
    with needed_for("the report"):
        from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hybridmodel.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=count, percent=percent, number=number, milliseconds=milliseconds
    )
    environment.globals.update(charts=charts, tables=tables, width=WIDTH, height=HEIGHT)
    return environment


def _policy(styles: str) -> str:
    digest = base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _figures(findings: Findings) -> list[tuple[str, str, str]]:
    """Return name, value and remark of the figures under the title."""
    summary, durations = findings.summary, findings.durations
    shown = [("agree", percent(summary.agreed / summary.rows), f"of {count(summary.rows)} rows")]
    if findings.labelled is not None:
        shown.append(("local right", percent(findings.labelled.local), ""))
        shown.append(("endpoint right", percent(findings.labelled.remote), ""))
    chosen = None if findings.escalation is None else findings.escalation.chosen
    if chosen is not None and chosen.accuracy is not None:
        sent = f"{percent(chosen.escalation)} sent on"
        shown.append(("cascade right", percent(chosen.accuracy.cascade), sent))
    what = "median, one row" if durations.of_one_row else "median"
    for name, seconds in (("local", durations.local_s), ("endpoint", durations.remote_s)):
        middle = sorted(seconds)[len(seconds) // 2]
        shown.append((f"{name} call", milliseconds(middle), what))
    return shown
