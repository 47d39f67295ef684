"""What a benchmark found, as one kind of JSON for all of them, from which the page is made."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from _measure import Aim, table

SCHEMA = 1


@dataclass(frozen=True)
class Ratio:
    """How ours compares with a peer: its time, processor time or memory, of theirs.

    Attributes
    ----------
    what : str
        What was done.
    peer : str
        By whom besides.
    measure : str
        What is compared: less is better.
    of_theirs : float
        Ours, divided by the peer's.
    """

    what: str
    peer: str
    of_theirs: float
    measure: str = "time"


@dataclass
class Results:
    """What is gathered while a benchmark runs.

    Attributes
    ----------
    name : str
        Of the benchmark's module.
    title : str
        What it is about.
    packages : sequence of str
        Whose versions matter.
    """

    name: str
    title: str
    packages: Sequence[str]
    tables: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def show(self, caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table under its caption, and keep it."""
        print(f"\n{caption}\n\n{table(head, rows)}")
        self.tables.append({"caption": caption, "head": [*head], "rows": [[*row] for row in rows]})

    def note(self, fact: str) -> None:
        """Print a sentence about the circumstances, and keep it."""
        print(fact)
        self.facts.append(fact)

    def write(self, path: Path, aims: Sequence[Aim], data: Any = None, plots: Any = ()) -> None:
        """Write everything to a file of JSON."""
        found = {
            "schema": SCHEMA,
            "name": self.name,
            "title": self.title,
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "commit": _commit(),
            "machine": _machine(),
            "versions": {name: _version(name) for name in ("python", *self.packages)},
            "facts": self.facts,
            "tables": self.tables,
            "ratios": [asdict(ratio) for ratio in self.ratios],
            "aims": [{**vars(aim), "met": bool(aim.met)} for aim in aims],
            "plots": [Path(plot).name for plot in plots if plot],
            "data": data,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1, default=float) + "\n", encoding="utf-8")


def _machine() -> dict[str, str]:
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line for line in lines if line.startswith("model name")), ": unknown")
    return {
        "processor": model.partition(": ")[2].strip(),
        "cores": f"{os.cpu_count()}",
        "system": f"{platform.system()} {platform.machine()}",
        "load": f"load {os.getloadavg()[0]:.1f} afterwards",
    }


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _version(name: str) -> str:
    if name == "python":
        return platform.python_version()
    try:
        return version(name)
    except PackageNotFoundError:
        return "(none)"
