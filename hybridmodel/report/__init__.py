"""What both routes said to the same rows, as one self-contained page.

`gather` asks both and keeps what is worth showing, `render` makes HTML of it: no script, nothing
loaded from anywhere, light and dark, and all data escaped.
"""

from __future__ import annotations

from hybridmodel.report.findings import Findings
from hybridmodel.report.gathering import Gatherer
from hybridmodel.report.page import render

__all__ = ["Findings", "Gatherer", "render"]
