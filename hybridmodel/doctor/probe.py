"""What the installed onnxruntime does with the old names: tried, not assumed."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybridmodel.doctor.dead_names import DOMAINS, OPERATORS, PREFIXES, PROVIDERS
from hybridmodel.doctor.findings import shown

DEADLINE_S = 60.0

_COMMAND = (sys.executable, "-W", "default")
# Unlike a script, this has no folder but the current one to import from.
_START = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
_FLOAT, _STRING = 1, 8  # TensorProto.DataType


@dataclass(frozen=True)
class Trial:
    """What came of one thing that was tried.

    Attributes
    ----------
    error : str or None
        What was raised; None when it worked.
    said : str
        What was written to stdout and stderr meanwhile.
    """

    error: str | None
    said: str

    @property
    def is_unknown(self) -> bool:
        """Whether onnxruntime has not got what was to be called."""
        return self.error is not None and self.error.startswith(("AttributeError", "TypeError"))


@dataclass(frozen=True)
class Probe:
    """An installation of onnxruntime, and how it takes the old names.

    Attributes
    ----------
    failure : str or None
        Why nothing is known.
    version : str or None
        Of onnxruntime.
    providers : tuple of str
        Execution providers that it lists.
    extensions : str or None
        Version of onnxruntime-extensions; None when it is not installed.
    trials : mapping of str to Trial
        By prefix of entries, by provider's name, by operator, and by operator ``with extensions``.
    """

    failure: str | None = None
    version: str | None = None
    providers: tuple[str, ...] = ()
    extensions: str | None = None
    trials: Mapping[str, Trial] = field(default_factory=dict)


def probe(command: Sequence[str] = _COMMAND, deadline_s: float = DEADLINE_S) -> Probe:
    """Try the old names in a child process, which imports nothing from the folder it runs in.

    Parameters
    ----------
    command : sequence of str
        A Python interpreter with its options.
    deadline_s : float
        For all of it, in seconds; then the process is ended.

    Returns
    -------
    Probe
        With a `failure`, when there is no onnxruntime or it does not answer.
    """
    program = Path(__file__).resolve().with_name("probe_program.py")
    try:
        # A folder of its own: code that lies beside the files to read must not be imported.
        with tempfile.TemporaryDirectory(prefix="hybridmodel-doctor-") as empty:
            done = subprocess.run(  # noqa: S603 - the command is ours
                [*command, "-c", _START, str(program)],
                cwd=empty,
                input=json.dumps(_requests()).encode(),
                capture_output=True,
                timeout=deadline_s,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return Probe(f"trying onnxruntime did not end within {deadline_s:g} s")
    except OSError as error:
        return Probe(f"trying onnxruntime did not start: {error.strerror}")
    return _read(done)


def _read(done: subprocess.CompletedProcess[bytes]) -> Probe:
    lines = done.stdout.decode(errors="replace").splitlines()
    try:
        told = json.loads(lines[-1] if lines else "")
        trials = {name: Trial(**trial) for name, trial in told["trials"].items()}
        return Probe(None, told["version"], tuple(told["providers"]), told["extensions"], trials)
    except (ValueError, TypeError, KeyError):
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        ended = f"it ended with status {done.returncode}"
        return Probe(f"trying onnxruntime failed: {shown(''.join(last)) or ended}")


def _requests() -> dict[str, Any]:
    return {
        "prefixes": PREFIXES,
        "providers": PROVIDERS,
        "identity": _base64(_identity()),
        "operators": {operator: _base64(_with_operator(operator)) for operator in OPERATORS},
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _identity() -> bytes:
    node = _bytes(1, "x") + _bytes(2, "y") + _bytes(4, "Identity")
    return _model(node, {"x": _FLOAT}, "y")


def _with_operator(operator: str) -> bytes:
    # All inputs that any of the operators insists on.
    inputs = {"auth_token": _STRING, "model_name": _STRING, "file": _FLOAT}
    uri = _bytes(1, "model_uri") + _bytes(4, "http://127.0.0.1:9") + _number(20, 3)
    node = b"".join(_bytes(1, name) for name in inputs) + _bytes(2, "y")
    node += _bytes(4, operator) + _bytes(5, uri) + _bytes(7, DOMAINS[0])
    return _model(node, inputs, "y")


def _model(node: bytes, inputs: Mapping[str, int], output: str) -> bytes:
    """Serialize a ModelProto of one node, with vectors of any length."""
    graph = _bytes(1, node) + _bytes(2, "probe")
    for name, kind in inputs.items():
        graph += _bytes(11, _value_info(name, kind))
    graph += _bytes(12, _value_info(output, _FLOAT))
    opsets = b"".join(
        _bytes(8, _bytes(1, domain) + _number(2, version))
        for domain, version in (("", 13), (DOMAINS[0], 1))
    )
    return _number(1, 7) + _bytes(7, graph) + opsets


def _value_info(name: str, kind: int) -> bytes:
    shape = _bytes(1, _bytes(2, "N"))
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


def _bytes(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])
