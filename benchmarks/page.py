"""Make docs/benchmarks of the results that are stored there, and the figures on other pages.

python benchmarks/page.py            write both
python benchmarks/page.py --check    end with status 1 if they are not what the results give
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "benchmarks"
NAMES = (
    "local",
    "estimator",
    "remote",
    "regions",
    "embeddings",
    "many_callers",
    "azure_ep",
    "cascade",
    "audit",
    "batch",
    "batch_kills",
    "spark_limits",
    "export",
    "rehearsal",
)
"""In the order of the page."""

BLOCKS = {"readme.md.j2": ROOT / "README.md", "spark.md.j2": ROOT / "docs" / "spark.md"}
"""Templates of what stands between two marks of other pages."""
_BLOCK = re.compile(r"(<!-- (\w+): made by [^>]*-->\n).*?(<!-- \2: end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or compare, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args(arguments)
    made = pages(stored())
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if given.check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the results give: make bench")
        return int(bool(stale))
    for path in stale:
        path.write_text(made[path])
    draw(stored(), DOCS / "summary.png")
    return 0


def stored(folder: Path = DOCS / "results") -> list[dict[str, Any]]:
    """Read the results that there are, in the order of the page."""
    files = [folder / f"{name}.json" for name in NAMES]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def pages(results: Sequence[dict[str, Any]]) -> dict[Path, str]:
    """Return what the results give: the page, and others with their blocks."""
    made = {DOCS / "README.md": rendered("page.md.j2", results)}
    for template, path in BLOCKS.items():
        block = rendered(template, results)
        made[path] = _BLOCK.sub(
            lambda found, new=block: found[1] + new + found[3], path.read_text()
        )
    return made


def rendered(template: str, results: Sequence[dict[str, Any]]) -> str:
    """Fill a template; a name that it does not know is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda text: f"{text}".replace("|", "\\|")
    environment.filters["is_number"] = lambda text: bool(re.match(r"[+-]?\d", f"{text}"))
    by_name = {found["name"]: found for found in results}
    template_ = environment.get_template(template)
    return template_.render(
        results=results, by_name=by_name, ratios=ratios_of(results), peers=peers_of(results)
    )


def ratios_of(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all ratios, each with the benchmark that found it."""
    return [{**ratio, "name": found["name"]} for found in results for ratio in found["ratios"]]


def peers_of(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each peer and each measure, the least and the largest ratio."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for item in ratios_of(results):
        key = (item["name"], item["peer"], item["measure"])
        found.setdefault(key, []).append(item["of_theirs"])
    return [
        {
            "name": name,
            "peer": peer,
            "measure": measure,
            "least": min(all_),
            "most": max(all_),
            "cases": len(all_),
        }
        for (name, peer, measure), all_ in found.items()
    ]


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw how ours compares with each peer."""
    ratios = ratios_of(results)
    if not ratios:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(9, 1 + 0.24 * len(ratios)), constrained_layout=True)
    labels = [f"{item['what']}, {item['measure']}, beside {item['peer']}" for item in ratios]
    values = [item["of_theirs"] for item in ratios]
    colors = ["#0b6e4f" if value <= 1 else "#c8553d" for value in values]
    places = range(len(ratios))
    bars = panel.barh(places, values, color=colors)
    panel.bar_label(bars, fmt="{:.2f}", padding=3, fontsize=8)
    panel.set_yticks(places, labels, fontsize=8)
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set_xscale("log")
    panel.invert_yaxis()
    panel.margins(x=0.1)
    panel.set_xlabel("ours, of the peer's (less is better)")
    panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
