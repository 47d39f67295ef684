"""The whole page: one file that loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING

from hybridmodel.cascade.formatting import percent
from hybridmodel.checks import needed_for
from hybridmodel.looks import axes
from hybridmodel.report import charts, selection
from hybridmodel.report.filters import count, milliseconds, number, short
from hybridmodel.report.findings import Findings
from hybridmodel.report.palette import DARK, LIGHT, SHADES, colours

if TYPE_CHECKING:
    from jinja2 import Environment

# What HTML cannot hold, even as a reference, and halves of surrogate pairs.
_NOT_ALLOWED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


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
        found=findings, styles=styles, policy=_policy(styles)
    )
    return _NOT_ALLOWED.sub("\ufffd", page)


@cache
def _environment() -> Environment:
    """Return what finds the templates, and escapes all that is put into them."""
    with needed_for("the report"):
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("hybridmodel.report"), PackageLoader("hybridmodel.looks")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        item.__name__: item for item in (count, milliseconds, number, percent, short)
    }
    environment.globals |= {"area": axes, "charts": charts, "select": selection}
    return environment


def _policy(styles: str) -> str:
    digest = base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
