"""MLServer and KServe for the tests: real ones, each in a virtual environment of its own.

They run the programs of ``docs/other_servers.md``, so that what the page shows is what was tried.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from hybridmodel import TritonEndpoint
from hybridmodel.data.tensors import ELEMENT_TYPES
from hybridmodel.serving.environments import environment
from tests.support import models
from tests.support.mlflow_tools import REPOSITORY, end_group, fetch

PAGE = REPOSITORY / "docs" / "other_servers.md"

# The same onnxruntime as here, so that answers are to be equal to the bit.
_ONNXRUNTIME = f"onnxruntime=={onnxruntime.__version__}"

REQUIREMENTS: Mapping[str, Sequence[str]] = {
    # With later versions of uvloop the workers of MLServer 1.7 die at the start.
    "mlserver": ("mlserver>=1.7,<1.8", "uvloop<0.22", _ONNXRUNTIME),
    "kserve": ("kserve>=0.21,<0.22", _ONNXRUNTIME),
}

FIRST_PYTHON_WITHOUT = {"mlserver": (3, 13), "kserve": (3, 14)}

_START_TIMEOUT_S = 60.0
_POLL_S = 0.05
_ADDRESS = re.compile(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")

# KServe has no setting for the address it listens on.
_KSERVE = """
from pathlib import Path

import uvicorn


class Loopback(uvicorn.Config):
    def __init__(self, *args, **options):
        super().__init__(*args, **{**options, "host": "127.0.0.1"})


uvicorn.Config = Loopback

from kserve import ModelServer
from onnx_server import OnnxModel


class OwnId(OnnxModel):
    def predict(self, payload, headers=None):
        response = super().predict(payload, headers)
        response.id = "of-its-own"
        return response


kinds = {"own_id": OwnId}
files = Path("models").glob("*.onnx")
ModelServer().start([kinds.get(file.stem, OnnxModel)(file.stem, file) for file in files])
"""

_MLSERVER_CODECS = """
import numpy as np
from mlserver.codecs import NumpyCodec

from onnx_runtime import OnnxModel


class CodecModel(OnnxModel):
    async def predict(self, payload):
        response = await super().predict(payload)
        response.outputs = [
            NumpyCodec.encode_output(item.name, np.array(item.data.root, np.float32))
            for item in response.outputs
        ]
        return response
"""


_VERSIONS = {"versions": "2"}
_SPECIAL = {"codec": {"implementation": "codec_runtime.CodecModel"}}


def _one_node(operator: str, x: str, y: str, **attributes: Any) -> bytes:
    """Make ``y`` [N] = an operator of ``x`` [N], of the given datatypes."""
    return models.build(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        [models.tensor("x", x, ("N",))],
        [models.tensor("y", y, ("N",))],
    )


SERVED: Mapping[str, bytes] = {
    **{f"identity_{row.datatype}": models.identity(row.datatype) for row in ELEMENT_TYPES},
    "classifier": models.classifier(),
    "codec": models.lookup(),
    "is_nan": _one_node("IsNaN", "FP32", "BOOL"),
    "linear": models.linear(),
    "log": _one_node("Log", "FP32", "FP32"),
    "lookup": models.lookup(),
    "own_id": models.linear(),
    "strings": models.strings(),
    "to_half": _one_node("Cast", "FP32", "FP16", to=TensorProto.FLOAT16),
    "two_inputs": models.two_inputs(),
    "two_outputs": models.two_outputs(),
    "versions": models.linear(seed=2),
}
"""ONNX files by name."""


def extremes(datatype: str) -> np.ndarray[Any, Any]:
    """Make two rows of what is hard to write of a datatype."""
    dtype = next(row.dtype for row in ELEMENT_TYPES if row.datatype == datatype)
    if dtype.kind == "O":
        return np.array([["", "zürich\x00", "\U0001f600"], ["null", "\x00", '"\\\n']], dtype)
    if dtype.kind == "b":
        return np.array([[True, False, True], [False, False, True]])
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.array(
            [[limits.min, limits.max, -0.0], [limits.smallest_subnormal, 1 / 3, -1 / 3]], dtype
        )
    bounds = np.iinfo(dtype)
    return np.array([[bounds.min, bounds.max, 0], [bounds.max - 1, 1, 2]], dtype)


@dataclass
class OtherServer:
    """A running server, and what it has said so far."""

    kind: str
    popen: subprocess.Popen[str]
    port: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that it has said."""
        return "".join(self.lines)

    def endpoint(self, model_name: str, **options: Any) -> TritonEndpoint:
        """Describe one of its models, by default of no version."""
        named = {"uri": self.url, "model_name": model_name, "auth_key_env": None}
        return TritonEndpoint(**{**named, "model_version": None, **options})


def lacking(kind: str) -> str | None:
    """Say why a server cannot run here, None where it can."""
    if os.name != "posix":
        return f"{kind} and its virtual environment need POSIX"
    if sys.version_info >= FIRST_PYTHON_WITHOUT[kind]:
        return f"{kind} has no release for this Python"
    return None


@contextmanager
def running(
    kind: str, files: Mapping[str, bytes], folder: Path, **settings: Any
) -> Iterator[OtherServer]:
    """Run a server that serves `files` until the end of the block, then end all its processes.

    Parameters
    ----------
    kind : str
        ``mlserver`` or ``kserve``.
    files : mapping of str to bytes
        ONNX, by name. ``codec`` answers through MLServer's own codecs, ``own_id`` with an
        id that KServe makes up, and MLServer knows ``versions`` as version 2 of itself.
    folder : Path
        Empty; for the server's files.
    **settings
        Of MLServer, beside those that make it listen on loopback.
    """
    programs = environment(kind, REQUIREMENTS[kind]) / "bin"
    write = {"mlserver": _write_mlserver, "kserve": _write_kserve}[kind]
    name, *arguments = write(folder, files, settings)
    # This Python's packages are not to be found there.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    popen = subprocess.Popen(
        [str(programs / name), *arguments],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    server = OtherServer(kind, popen)
    listening = threading.Event()
    reader = threading.Thread(target=_read, args=(server, listening), daemon=True)
    reader.start()
    try:
        assert listening.wait(_START_TIMEOUT_S), f"no start in time:\n{server.log}"
        assert server.port, f"no start:\n{server.log}"
        _wait_until_ready(server, files)
        yield server
    finally:
        end_group(popen)
        reader.join(timeout=30)


def shown(language: str, beginning: str) -> str:
    """Return the code on the page that begins so."""
    code = re.search(rf"```{language}\n({re.escape(beginning)}.*?)```", PAGE.read_text(), re.DOTALL)
    assert code, f"{PAGE.name} shows no {beginning}"
    return code[1]


def _write_mlserver(
    folder: Path, files: Mapping[str, bytes], settings: Mapping[str, Any]
) -> list[str]:
    listens = {"host": "127.0.0.1", "http_port": 0, "grpc_port": 0, "metrics_endpoint": None}
    (folder / "settings.json").write_text(json.dumps({"debug": False, **listens, **settings}))
    (folder / "onnx_runtime.py").write_text(shown("python", "# onnx_runtime.py"))
    (folder / "codec_runtime.py").write_text(_MLSERVER_CODECS)
    template = json.loads(shown("json", "{"))
    for name, onnx in files.items():
        home = folder / name
        home.mkdir()
        (home / "model.onnx").write_bytes(onnx)
        parameters = {"uri": str(home / "model.onnx"), "version": _VERSIONS.get(name)}
        described = {**template, **_SPECIAL.get(name, {}), "name": name, "parameters": parameters}
        (home / "model-settings.json").write_text(json.dumps(described))
    return ["mlserver", "start", "."]


def _write_kserve(
    folder: Path, files: Mapping[str, bytes], settings: Mapping[str, Any]
) -> list[str]:
    assert not settings
    (folder / "models").mkdir()
    for name, onnx in files.items():
        (folder / "models" / f"{name}.onnx").write_bytes(onnx)
    (folder / "onnx_server.py").write_text(shown("python", "# onnx_server.py"))
    (folder / "start.py").write_text(_KSERVE)
    return ["python", "start.py", "--http_port", "0", "--enable_grpc", "false"]


def _read(server: OtherServer, listening: threading.Event) -> None:
    assert server.popen.stdout is not None
    with server.popen.stdout:
        for line in server.popen.stdout:
            server.lines.append(line)
            if found := _ADDRESS.search(line):
                server.port = int(found[1])
                listening.set()
    listening.set()


def _wait_until_ready(server: OtherServer, files: Mapping[str, bytes]) -> None:
    # MLServer listens before its models are loaded, and calls itself ready with none.
    end = time.monotonic() + _START_TIMEOUT_S
    waiting = set(files)
    while waiting:
        assert server.popen.poll() is None, f"ended:\n{server.log}"
        assert time.monotonic() < end, f"{waiting} not ready in time:\n{server.log}"
        waiting = {
            name for name in waiting if fetch(f"{server.url}/v2/models/{name}/ready")[0] != 200
        }
        if waiting:
            time.sleep(_POLL_S)
