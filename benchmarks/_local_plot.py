"""What ``local.py`` draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _measure import difference_us, median_us


def plot(cells: Sequence[Any], sizes: Sequence[int], path: Path) -> None:
    """Draw what each contestant adds to ``run``."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(sizes), figsize=(12, 3.8), constrained_layout=True)
    looks = {
        "native": ("#0b6e4f", "HybridOnnxModel"),
        "pyfunc": ("#6bbf8a", "the same as pyfunc"),
        "mlflow": ("#c8553d", "mlflow.onnx"),
    }
    for rows, panel in zip(sizes, panels, strict=True):
        here = [cell for cell in cells if cell.rows == rows]
        floor = np.median([median_us(cell.times, "run") for cell in here])
        for place, (name, (color, title)) in enumerate(looks.items()):
            values = [difference_us(cell.times, name, "run") for cell in here]
            at = np.arange(len(here)) + (place - 1) * 0.26
            bars = panel.barh(at, values, 0.26, color=color, label=title)
            panel.bar_label(bars, fmt="{:.0f}", padding=3, fontsize=8)
        panel.set_title(f"{rows:,} row{'s' * (rows > 1)} (run: {floor:,.0f} µs)", fontsize=10)
        panel.set_yticks(range(len(here)), [cell.kind for cell in here])
        panel.invert_yaxis()
        panel.margins(x=0.16)
        panel.set_xlabel("µs added to InferenceSession.run")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=130)
