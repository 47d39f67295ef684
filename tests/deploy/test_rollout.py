"""The whole rollout, as the example tells it: two versions, a crash in the middle, no call lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
from scipy import stats

from hybridmodel.serving.triton_files import unsupported
from tests.support.paths import ROOT

LINE = re.compile(
    r" *(?P<step>\w+ \d+ %|shifted back|all together)(?P<killed>, killed)?"
    r" +(?P<calls>\d+) +(?P<blue>\d+) +(?P<green>\d+) .*? (?P<retried>\d+) +(?P<lost>\d+)"
)


@dataclass(frozen=True)
class Row:
    """A line of the example's table."""

    step: str
    is_killed: bool
    calls: int
    blue: int
    green: int
    retried: int
    lost: int


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run the example once, with short steps; return what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "rollout.py"), "--hold", "0.7"],
        cwd=tmp_path_factory.mktemp("rollout"),
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def rows(printed: str) -> list[Row]:
    """Read its table."""
    return [
        Row(
            match["step"],
            match["killed"] is not None,
            *(int(match[name]) for name in ("calls", "blue", "green", "retried", "lost")),
        )
        for match in map(LINE.fullmatch, printed.splitlines())
        if match
    ]


def test_the_steps(printed: str, rows: list[Row]) -> None:
    """Green dies at half of the traffic, and gets all at the second attempt."""
    assert [(row.step, row.is_killed) for row in rows] == [
        ("mirror 10 %", False),
        ("traffic 10 %", False),
        ("traffic 50 %", True),
        ("shifted back", False),
        ("mirror 10 %", False),
        ("traffic 10 %", False),
        ("traffic 50 %", False),
        ("traffic 100 %", False),
        ("all together", False),
    ]
    assert "green answered with errors: " in printed
    assert printed.strip().endswith("The two promotions: shifted back and promoted.")


def test_no_call_is_lost(rows: list[Row]) -> None:
    """Calls that met the dead deployment were answered by the other one."""
    total = rows[-1]
    assert total.lost == 0
    assert total.calls == total.blue + total.green > 100
    assert total.retried > 0, "nobody met the dead deployment"


def test_the_split_is_what_was_set(rows: list[Row]) -> None:
    """How many calls each version answered goes with the shares of the traffic."""
    for row in rows[:-1]:
        percent = int(row.step.split()[1]) if row.step.startswith("traffic") else 0
        if row.is_killed:
            continue
        if percent in (0, 100):
            assert (row.green, row.blue) == ((0, row.calls) if percent == 0 else (row.calls, 0))
        else:
            assert stats.binomtest(row.green, row.calls, percent / 100).pvalue > 1e-6, row


def test_each_deployment_was_asked_by_its_name(printed: str) -> None:
    """Before any traffic is shifted, both are ready and answer as their exported models do."""
    for version, name in (("1", "blue"), ("2", "green")):
        _, _, after = printed.partition(f"ping models:/digits/{version} ")
        assert f"deployment={name}" in after
        assert re.search(
            rf"endpoint +https://localhost:\d+/v2/models/digits/versions/{version}", after
        )
        assert re.search(r"ready +yes\ndiffers +in nothing", after)
    assert len(re.findall(r"\nlabel +719 +0 +0\n", printed)) == 2


def test_what_answered(printed: str) -> None:
    """It was a real Triton, where one runs."""
    kind = "Rehearsing at https://localhost:\\d+: "
    assert re.search(f"{kind}the embedded server" if unsupported() else f"{kind}Triton", printed)


def test_what_it_leaves_is_no_part_of_the_checkout() -> None:
    """Git ignores the folder of the example wherever it is run."""
    assert "demo_rollout/" in (ROOT / ".gitignore").read_text().splitlines()
