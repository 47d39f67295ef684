"""The oldest onnxruntime that pyproject.toml allows: it does what is relied on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hybridmodel.serving.environments import environment
from tests.support.hostile import SECRET
from tests.support.paths import ROOT

RELIED_ON = (
    "flavor/test_artifact.py",
    "local/test_hostile_files.py",
    "local/test_local_session.py",
    "local/test_onnx_file.py",
    "local/test_session_settings.py",
    "local/test_stored_settings.py",
)

OPEN_ALL = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
from tests.support.hostile import ONE, READERS, SECRET

folder, options = Path(sys.argv[1]), onnxruntime.SessionOptions()
options.log_severity_level = 4
for name, way in READERS.items():
    for location in sys.argv[2:]:
        (folder / "m.onnx").write_bytes(way(location))
        try:
            session = onnxruntime.InferenceSession(folder / "m.onnx", options)
        except Exception:
            continue
        if (session.run(None, {"x": ONE})[0] == SECRET).all():
            print(f"{name} reads {location}")
print("onnxruntime", onnxruntime.__version__)
"""


@pytest.fixture(scope="module")
def floor() -> tuple[str, dict[str, str]]:
    """Install the oldest onnxruntime, and return its version and how to come before ours."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'"onnxruntime>=([\d.]+)"', text)
    assert found
    version = found[1] + ".0" * (2 - found[1].count("."))
    folder = environment("onnxruntime-floor", ["--no-deps", f"onnxruntime=={version}"])
    (packages,) = folder.glob("lib/python*/site-packages")
    return version, {**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)])}


def run(command: list[str], variables: dict[str, str]) -> str:
    """Return what Python says with that onnxruntime, having done all it should."""
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env=variables,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_oldest_onnxruntime_reads_nothing_outside_by_itself(
    floor: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    """Without help of ours, it refuses weights outside of the folder, however they are named."""
    version, variables = floor
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret.bin")
    (folder / "inside").write_bytes(SECRET.tobytes())
    places = ["../secret.bin", str(tmp_path / "secret.bin"), "link", "inside"]
    said = run(["-c", OPEN_ALL, str(folder), *places], variables).splitlines()
    assert said.pop() == f"onnxruntime {version}"
    assert said
    assert all(line.endswith(" reads inside") for line in said)


def test_the_local_route_works_with_the_oldest_onnxruntime(
    floor: tuple[str, dict[str, str]],
) -> None:
    """The tests of the local route, of saved models and of hostile ones pass with it, too."""
    options = ["-q", "-p", "no:cacheprovider"]
    said = run(["-m", "pytest", *options, *(f"tests/{name}" for name in RELIED_ON)], floor[1])
    assert re.search(r"\d{3} passed", said), said[-2000:]
