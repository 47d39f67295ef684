"""Figures that a notebook shows by themselves; this module loads matplotlib."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure of matplotlib that a notebook shows without ``%matplotlib``.

    IPython shows other figures only once pyplot has been imported. This one is not known to pyplot,
    so there is nothing to close.
    """

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()
