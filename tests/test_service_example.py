"""The example of a web service answers everybody rightly, by fewer requests than calls."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.serving.triton_files import unsupported
from tests.support import models
from tests.support.faulty import FaultyEndpoint, error
from tests.support.faulty import http as replied
from tests.support.paths import ROOT


def test_the_service_answers_many_callers(tmp_path: Path) -> None:
    """64 callers get right answers from a real Triton, where there is one, by shared requests."""
    server = [] if unsupported() else ["--triton"]
    command = [sys.executable, str(ROOT / "examples" / "service.py"), *server]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1797 calls of 64 callers, 0 wrong\n")
    found = re.search(r"(\d+) requests at the endpoint, ([\d.]+) calls for each", done.stdout)
    assert found
    assert int(found[1]) < 1797 / 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "row", "status"),
    [
        (error(400, "no"), [1.0, 2.0], 422),
        (replied(503), [1.0, 2.0, 3.0], 503),
    ],
    ids=["data that do not fit", "endpoint that is down"],
)
def test_the_service_says_what_went_wrong(script: object, row: list[float], status: int) -> None:
    """Callers learn whose fault it was, and never an address or an exception."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import service
    finally:
        sys.path.remove(str(ROOT / "examples"))
    with FaultyEndpoint(script) as faulty:  # type: ignore[arg-type]
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint())
        with service.running(service.make_app(model)) as (host, port):
            connection = http.client.HTTPConnection(host, port, timeout=20)
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/predict", json.dumps(row), headers)
            answer = connection.getresponse()
            assert answer.status == status
            assert str(faulty.port).encode() not in answer.read()
            connection.close()
