"""The doctor tries what the installed onnxruntime does, and says what it saw."""

from __future__ import annotations

import base64
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from hybridmodel.doctor import Finding
from hybridmodel.doctor import probe as probing
from hybridmodel.doctor.dead_names import DOMAINS, OPERATORS
from hybridmodel.doctor.probe import Trial, probe, today
from hybridmodel.serving.environments import environment
from tests.support.doctor_tools import OLD, TRIED, WORKS
from tests.support.original_ep import REQUIREMENTS, VERSION


def model_of(operator: str, domain: str, inputs: dict[str, int], **attributes: str) -> bytes:
    """Make a model of one operator that takes vectors and gives one."""
    node = helper.make_node(operator, list(inputs), ["y"], domain=domain or None, **attributes)
    values = [helper.make_tensor_value_info(name, kind, ["N"]) for name, kind in inputs.items()]
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph([node], "probe", values, [answer])
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAINS[0], 1)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=7).SerializeToString()
    return data


def test_the_probe_says_what_onnxruntime_does() -> None:
    """What the child process saw is what a session does in this one."""
    tried = probe()
    options, run_options = onnxruntime.SessionOptions(), onnxruntime.RunOptions()
    options.add_session_config_entry("azure.uri", "http://127.0.0.1:9")
    run_options.add_run_config_entry("use_azure", "1")
    providers = ["AzureExecutionProvider", "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(
        model_of("Identity", "", {"x": TensorProto.FLOAT}), options, providers=providers
    )
    (answer,) = session.run(None, {"x": np.ones(1, np.float32)}, run_options)
    assert answer.tolist() == [1.0]
    assert tried.trials["azure"] == tried.trials["cloud"] == WORKS
    assert tried.trials["AzureExecutionProvider"] == WORKS
    assert tried.version == onnxruntime.__version__
    assert list(tried.providers) == onnxruntime.get_available_providers()
    for operator in OPERATORS:
        assert f"{operator}(-1) is not a registered" in str(tried.trials[operator].error)
    for name in ("azureExecutionProvider", "CloudExecutionProvider"):
        trial = tried.trials[name]
        assert trial.error is None
        assert name in trial.said


def test_the_models_of_the_probe() -> None:
    """What is tried are these models, with all inputs that any of the operators insists on."""
    encoded = json.loads(Path(probing.__file__).with_name("probe_models.json").read_text())
    kept = {name: onnx.load_from_string(base64.b64decode(data)) for name, data in encoded.items()}
    onnx.checker.check_model(kept["Identity"])
    inputs = {"auth_token": TensorProto.STRING, "model_name": TensorProto.STRING}
    made = {"Identity": model_of("Identity", "", {"x": TensorProto.FLOAT})}
    for name in OPERATORS:
        made[name] = model_of(
            name, DOMAINS[0], {**inputs, "file": TensorProto.FLOAT}, model_uri="http://127.0.0.1:9"
        )
    assert kept == {name: onnx.load_from_string(data) for name, data in made.items()}


@pytest.mark.skipif(
    (platform.system(), platform.machine(), sys.version_info[:2]) != ("Linux", "x86_64", (3, 11)),
    reason="the wheel of onnxruntime-azure 1.15.0 needs another system",
)
def test_an_onnxruntime_that_still_asks_the_endpoint() -> None:
    """With the last release that had the provider, the doctor does not say that it is dead."""
    folder = environment(f"onnxruntime-azure-{VERSION}", REQUIREMENTS)
    tried = probe([str(folder / "bin" / "python"), "-W", "default"])
    said = today(Finding(kind="session-entry", name="azure.uri", change=""), tried)
    assert said.startswith("onnxruntime 1.15.0 may still have the provider")
    assert "Triton client failed" in said


FAILURES: dict[str, tuple[Sequence[str], str]] = {
    "no onnxruntime": ([sys.executable, "-I", "-S"], "No module named 'onnxruntime'"),
    "an end without a word": ([sys.executable, "-c", "import os; os.abort()"], "ended with status"),
    "an answer that is none": ([sys.executable, "-c", "print('[]')"], "ended with status 0"),
    "a name without a program": (["/nowhere/python"], "did not start"),
    "no end": ([sys.executable, "-c", "import time; time.sleep(60)"], "did not end within 1 s"),
}


@pytest.mark.parametrize(("command", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_probe_that_fails(command: Sequence[str], reason: str) -> None:
    """Where nothing could be tried within the time, that is said, and nothing is assumed."""
    started = time.monotonic()
    tried = probe(command, deadline_s=1)
    assert time.monotonic() - started < 20
    assert reason in str(tried.failure)
    said = today(Finding(kind="run-entry", name="use_azure", change=""), tried)
    assert said.startswith("not known: ")


def test_no_room_for_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder for temporary files nothing is tried, and that is said."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert probe().failure == "trying onnxruntime did not start: No such file or directory"


def test_code_beside_the_files_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module named onnxruntime in the folder that is read, and run from, is not imported."""
    for name in ("onnxruntime", "numpy", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{OLD}")
    command = [str(Path(sys.executable).with_name("hybridmodel")), "doctor", "--json", "."]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["probe"]["version"] == onnxruntime.__version__
    assert not (tmp_path / "ran").exists()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ".")
    assert probe().version == onnxruntime.__version__
    assert not (tmp_path / "ran").exists()


FAILED = Trial("Fail: a\nreason\x1b", "")
SAID = Trial(None, "a\nwarning\x1b")
TAKES = "onnxruntime 1.31.1 takes these entries and computes locally,"
MISSING = "; onnxruntime-extensions is not installed, and has no such operator since 0.15"
REFUSES = "does not load a graph with it: Fail: a reason\\x1b"
SENTENCES: dict[str, tuple[tuple[Any, str], dict[str, Trial], str]] = {
    "entries": (
        ("run-entry", "use_azure"),
        {},
        f"{TAKES} without a warning (tried with use_azure=1)",
    ),
    "entries with a warning": (
        ("session-entry", "cloud.uri"),
        {"cloud": SAID},
        f"{TAKES} and says: a warning\\x1b (tried with use_cloud=1)",
    ),
    "a listed provider": (
        ("provider", "AzureExecutionProvider"),
        {},
        "onnxruntime 1.31.1 lists it, and computes locally, without a warning",
    ),
    "another case": (
        ("provider", "AZUREEXECUTIONPROVIDER"),
        {"azureExecutionProvider": SAID},
        "onnxruntime 1.31.1 does not list it, and computes locally, after a warning",
    ),
    "a refused provider": (
        ("provider", "CloudExecutionProvider"),
        {"CloudExecutionProvider": FAILED},
        "onnxruntime 1.31.1 does not list it, and fails: Fail: a reason\\x1b",
    ),
    "an operator without the extensions": (
        ("node", "AzureTritonInvoker"),
        {"AzureTritonInvoker": FAILED},
        f"onnxruntime 1.31.1 {REFUSES}{MISSING}",
    ),
    "a key": (("auth-key", "azure.auth_key"), {}, "whoever reads the file has the key"),
}


@pytest.mark.parametrize(("found", "trials", "said"), SENTENCES.values(), ids=SENTENCES)
def test_sentences(found: tuple[Any, str], trials: dict[str, Trial], said: str) -> None:
    """What happens today is told by what was seen, in one line that can be printed."""
    finding = Finding(kind=found[0], name=found[1], change="")
    assert today(finding, replace(TRIED, trials={**TRIED.trials, **trials})) == said


@pytest.mark.parametrize(("trial", "said"), [(WORKS, "loads a graph with it"), (FAILED, REFUSES)])
def test_operators_of_the_extensions(trial: Trial, said: str) -> None:
    """Where onnxruntime-extensions is installed, operators are tried with it, and that is said."""
    finding = Finding(kind="builder", name="AzureTritonInvoker", change="")
    tried = replace(TRIED, extensions="0.14.0", trials={"AzureTritonInvoker": trial})
    start = "onnxruntime 1.31.1 with onnxruntime-extensions 0.14.0"
    assert today(finding, tried) == f"{start} {said}"
