"""A self-contained page about both routes' answers to the same rows.

`report_of` makes one of rows in memory. `Gatherer` asks both routes frame by frame, and `render`
makes HTML of its findings: no script, nothing loaded from anywhere, light and dark, and all data
escaped.
"""

from __future__ import annotations

from hybridmodel.report.findings import Findings
from hybridmodel.report.gathering import Gatherer
from hybridmodel.report.making import report_of
from hybridmodel.report.page import render

__all__ = ["Findings", "Gatherer", "render", "report_of"]
