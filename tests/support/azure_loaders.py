"""azure-ai-ml's own loaders, in a virtual environment of their own and without a network.

They do not fit beside mlflow's OpenTelemetry: azure-monitor-opentelemetry wants another release.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hybridmodel.serving.environments import environment
from tests.support.paths import ROOT

REQUIREMENTS = ("azure-ai-ml>=1.35,<1.36",)

_DRIVER = Path(__file__).with_name("azure_loaders_driver.py")
_PATIENCE_S = 300.0


def said_by_azure(files: Sequence[tuple[str, Path]]) -> list[str | None]:
    """Load files; return what azure-ai-ml says against each, None for one that it takes.

    Parameters
    ----------
    files : sequence of (str, Path)
        The loader, such as ``load_online_deployment``, and the file. One process loads all, as
        importing azure-ai-ml takes seconds.
    """
    python = environment("azure-ai-ml", REQUIREMENTS) / "bin" / "python"
    # This Python's packages are not to be found there.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), str(_DRIVER)],
        input=json.dumps([(loader, str(path)) for loader, path in files]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=variables,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["asked"] == [], "a loader asked for a network"
    said: list[str | None] = answer["said"]
    return said
