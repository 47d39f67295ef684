"""Azure's own inference server for the tests, in a virtual environment of its own.

It wants other versions of pydantic and OpenTelemetry than mlflow has here; whatever else the
scoring script needs is found behind these, among this Python's own packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hybridmodel.serving.environments import environment
from tests.support.mlflow_tools import Process, end_group, free_port

REQUIREMENTS = ("azureml-inference-server-http>=1.5,<1.6",)

_READY, _BROKEN = "ready for serving traffic", "Worker failed to boot"
_PATIENCE_S = 60.0

# The server has no setting for the address it listens on.
_START = """
import sys
sys.path.append(sys.argv.pop(1))
from azureml_inference_server_http import amlserver
amlserver.DEFAULT_HOST = "127.0.0.1"
amlserver.run()
"""


class InferenceServer(Process):
    """A running server, and what it has said so far."""

    def score(self, body: Any, content_type: str = "application/json") -> tuple[int, str]:
        """Send one request; return the status and the body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("score", data, content_type)


@contextmanager
def inference_server(
    script: Path, model_folder: Path, home: Path, **variables: str
) -> Iterator[InferenceServer]:
    """Run a scoring script until the end of the block, as Azure's containers do.

    Nothing of this checkout is on its path: the script has to find hybridmodel by itself.
    """
    port = free_port()
    python = environment("azure-inference-server", REQUIREMENTS) / "bin" / "python"
    command = [str(python), "-c", _START, sysconfig.get_path("purelib")]
    command += ["--entry_script", str(script), "--port", str(port)]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own = {"AZUREML_MODEL_DIR": str(model_folder), "HOME": str(home), "WORKER_COUNT": "1"}
    popen = subprocess.Popen(
        command,
        cwd=home,
        env={**inherited, **own, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    server = InferenceServer(f"http://127.0.0.1:{port}", popen)
    started = threading.Event()
    reader = threading.Thread(target=_read, args=(server, started), daemon=True)
    reader.start()
    try:
        assert started.wait(_PATIENCE_S), f"no start in time:\n{server.log}"
        assert _READY in server.log, f"no start:\n{server.log}"
        yield server
    finally:
        end_group(popen)
        reader.join(timeout=30)


def _read(server: InferenceServer, started: threading.Event) -> None:
    assert server.popen.stdout is not None
    with server.popen.stdout:
        for line in server.popen.stdout:
            server.lines.append(line)
            if _READY in line or _BROKEN in line:
                started.set()
    started.set()
