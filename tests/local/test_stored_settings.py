"""A saved model may suggest settings of onnxruntime from a closed list, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pytest
import yaml
from mlflow.exceptions import MlflowException
from onnx import TensorProto, helper

from hybridmodel import ConfigurationError, HybridOnnxModel, load_model
from hybridmodel.flavor import save_model
from hybridmodel.flavor.stored_settings import ENTRIES, OPTIONS
from hybridmodel.local.session import LocalSession
from hybridmodel.local.session_settings import CUSTOM_OPS, EXTRA_CONFIG, LIBRARIES
from tests.support import models
from tests.support.hostile import (
    ONE,
    copied,
    files_in,
    refused,
    settings,
)
from tests.support.paths import ROOT
from tests.support.session_options import attributes

FOLDER_ENTRY = "session.model_external_initializers_file_folder_path"


@pytest.fixture
def saved(good_model: Path, tmp_path: Path) -> Path:
    """Copy the saved model, to be spoilt."""
    return copied(good_model, tmp_path)


def pwn(tmp_path: Path) -> str:
    """Name a file that nobody may write."""
    return str(tmp_path / "pwned.pth")


@pytest.mark.parametrize("name", [name for name in attributes() if name not in OPTIONS])
def test_other_stored_options_are_refused(name: str, saved: Path, tmp_path: Path) -> None:
    """Each attribute of onnxruntime's options that is not on the list is refused by its name."""
    before = files_in(tmp_path)
    value = getattr(onnxruntime.SessionOptions(), name)
    settings(saved, session_options={name: pwn(tmp_path) if isinstance(value, str) else value})
    refused(saved, rf"session option '{name}'.*load_model\(\.\.\., session_options=")
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    "entry",
    [
        FOLDER_ENTRY,
        "session.optimized_model_external_initializers_file_name",
        "session.load_model_format",
        "session.save_model_format",
        "session.node_partition_config_file",
        "session.collect_node_memory_stats_to_file",
        "session.use_ort_model_bytes_directly",
        "session.intra_op_thread_affinities",
        "ep.context_enable",
        "ep.context_file_path",
        "optimization.disable_specified_optimizers",
        "azure.uri",
        "anything.else",
    ],
)
def test_other_stored_entries_are_refused(entry: str, saved: Path) -> None:
    """A configuration entry that is not on the list is refused by its name."""
    settings(saved, session_options={EXTRA_CONFIG: {entry: "1"}})
    refused(saved, f"entry '{entry}'")


@pytest.mark.parametrize(
    ("session", "message"),
    [
        ({"session_options": {"intra_op_num_threads": 10**6}}, "'intra_op_num_threads' other than"),
        ({"session_options": {"inter_op_num_threads": True}}, "'inter_op_num_threads' other than"),
        (
            {"session_options": {EXTRA_CONFIG: {"session.intra_op.spin_duration_us": "9" * 9}}},
            "'session.intra_op.spin_duration_us' .* other than a small number",
        ),
        ({"session_options": {EXTRA_CONFIG: ["a"]}}, "expected a dict of str to str"),
        ({"session_options": ["enable_profiling"]}, "session_options is a dict, not a list"),
        ({"session_options": {CUSTOM_OPS: ["/tmp/evil.so"]}}, "custom-op library '/tmp/evil.so'"),
        ({"session_options": {CUSTOM_OPS: ["onnxruntime_extensions"]}}, "custom-op library 'onn"),
        ({"session_options": {CUSTOM_OPS: [["onnxruntime-extensions"]]}}, "custom-op library"),
        ({"session_options": {CUSTOM_OPS: "onnxruntime-extensions"}}, "expected a list of names"),
        ({"providers": [["CPUExecutionProvider"]]}, "providers is a list of names, or of pairs"),
        ({"providers": [["CPUExecutionProvider", 1]]}, "providers is a list of names, or of pairs"),
        ({"providers": [1]}, "providers is a list of names, or of pairs"),
        ({"providers": "CPUExecutionProvider"}, "providers is a list of names"),
        (
            {"provider_options": ["a"]},
            "the options of provider 'CPUExecutionProvider' are not a dict",
        ),
    ],
)
def test_other_stored_settings_are_refused(
    session: dict[str, Any], message: str, saved: Path
) -> None:
    """Values that are too large or of a wrong kind are refused when the model is loaded."""
    settings(saved, **session)
    refused(saved, message)


PATHS = [
    ("TensorrtExecutionProvider", {"trt_engine_cache_path": "/tmp"}),
    ("TensorrtExecutionProvider", {"trt_extra_plugin_lib_paths": "/tmp/evil.so"}),
    ("TensorrtExecutionProvider", {"trt_engine_cache_enable": "1"}),
    ("CUDAExecutionProvider", {"user_compute_stream": "140000000000000"}),
    ("CUDAExecutionProvider", {"gpu_external_alloc": 140000000000000}),
    ("OpenVINOExecutionProvider", {"cache_dir": "/tmp"}),
    ("OpenVINOExecutionProvider", {"load_config": "/tmp/config.json"}),
    ("QNNExecutionProvider", {"backend_path": "/tmp/evil.so"}),
    ("CPUExecutionProvider", {"new": [1]}),
]


@pytest.mark.parametrize(("name", "options"), PATHS)
@pytest.mark.parametrize("way", ["pair", "beside", "config", "stored config"])
def test_provider_options_that_name_something_are_refused(
    way: str, name: str, options: dict[str, Any], saved: Path
) -> None:
    """Files, libraries and addresses for a provider are refused, wherever a model brings them."""
    message = f"option '{next(iter(options))}' of provider '{name}', which only code may pass"
    config: dict[str, Any] | None = None
    if way == "pair":
        settings(saved, providers=[[name, options]])
    elif way == "beside":
        settings(saved, providers=[name], provider_options=[options])
    elif way == "config":
        config = {"providers": [(name, options)]}
    else:
        described = read_yaml(saved)
        described["flavors"]["python_function"]["config"]["providers"] = [[name, options]]
        write_yaml(saved, described)
    with pytest.raises(MlflowException, match=message):
        mlflow.pyfunc.load_model(str(saved), model_config=config)
    if way in ("pair", "beside"):
        refused(saved, message)
        return
    # Natively, a configuration comes from code, and what MLflow stores of it is never read.
    loaded = load_model(saved, model_config=config)
    expected = ("CPUExecutionProvider",) if config is None else ((name, options),)
    assert loaded.local.providers == expected


def read_yaml(saved: Path) -> dict[str, Any]:
    """Read ``MLmodel``."""
    described: dict[str, Any] = yaml.safe_load((saved / "MLmodel").read_text())
    return described


def write_yaml(saved: Path, described: dict[str, Any]) -> None:
    """Write ``MLmodel``."""
    (saved / "MLmodel").write_text(yaml.safe_dump(described))


def test_the_page_says_what_is_on_the_list() -> None:
    """docs/mlflow.md names every option and library that a saved model may bring."""
    page = (ROOT / "docs" / "mlflow.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in OPTIONS)
    assert all(f'`"{name}"`' in page for name in LIBRARIES)
    assert all(any(f"`{part}`" in page for part in (e, e.rpartition(".")[2])) for e in ENTRIES)


def test_what_is_on_the_list_still_counts(saved: Path) -> None:
    """Threads, levels, modes, spinning and memory come back from a saved model, on both ways."""
    options = {
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 0,
        "execution_mode": "ORT_PARALLEL",
        "graph_optimization_level": "ORT_ENABLE_BASIC",
        "enable_mem_pattern": False,
        EXTRA_CONFIG: dict.fromkeys(sorted(ENTRIES - {"session.dynamic_block_base"}), "0"),
    }
    providers = [["CPUExecutionProvider", {"use_arena": "0", "unknown": "0"}]]
    settings(saved, session_options=options, providers=providers)
    for model in (load_model(saved), mlflow.pyfunc.load_model(str(saved)).get_raw_model()):
        assert model.predict(ONE, output="total").tolist() == [[3.0]]
        arrived = model.session.get_session_options()
        assert arrived.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
        assert arrived.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_code_may_give_anything(saved: Path, tmp_path: Path) -> None:
    """What code gives at load counts instead of all that is stored, which is not looked at."""
    settings(saved, session_options={"enable_profiling": True, "profile_file_prefix": "evil"})
    mine = tmp_path / "mine.onnx"
    model = load_model(saved, session_options={"optimized_model_filepath": str(mine)})
    assert model.predict(ONE, output="total").tolist() == [[3.0]]
    assert mine.exists()
    assert load_model(saved, session_options={}).predict(ONE, output="total").shape == (1, 1)
    assert load_model(saved, session_options=onnxruntime.SessionOptions()).session

    settings(saved, session_options=None, providers=[["CPUExecutionProvider", {"evil": "1"}]])
    model = load_model(saved, model_config={"providers": [("CPUExecutionProvider", {"mine": "1"})]})
    assert model.local.providers == (("CPUExecutionProvider", {"mine": "1"}),)
    assert model.session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("made_with", "named"),
    [
        ({"session_options": {"enable_profiling": True}}, "session option 'enable_profiling'"),
        ({"session_options": {EXTRA_CONFIG: {FOLDER_ENTRY: "/etc"}}}, f"entry '{FOLDER_ENTRY}'"),
        ({"session_options": {"intra_op_num_threads": 257}}, "'intra_op_num_threads' other than"),
        ({"providers": [("CPUExecutionProvider", {"a": "/b"})]}, "option 'a' of provider 'CPU"),
        ({"provider_options": [{"a": "/b"}]}, "option 'a' of provider 'CPU"),
        ({"provider_options": [{"a": float("nan")}]}, "cannot be saved: Out of range float"),
    ],
)
def test_what_cannot_be_loaded_cannot_be_saved(
    made_with: dict[str, Any], named: str, tmp_path: Path
) -> None:
    """A setting for code only is refused when the model is saved, with how to give it at load."""
    spec = HybridOnnxModel(models.two_outputs()).spec
    model = HybridOnnxModel(LocalSession(models.two_outputs(), spec=spec, **made_with))
    with pytest.raises(ConfigurationError, match=named) as caught:
        save_model(model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    if "cannot be saved: " not in named:
        way = "model_config={'providers'" if "provider" in named else "session_options={...}"
        assert f"hybridmodel.load_model(..., {way}" in str(caught.value)


def shouting() -> bytes:
    """Make ``y`` = ``x`` in capitals, with an operator of onnxruntime-extensions."""
    strings = [helper.make_tensor_value_info(name, TensorProto.STRING, ["N"]) for name in "xy"]
    node = helper.make_node("StringUpper", ["x"], ["y"], domain="ai.onnx.contrib")
    made: bytes = helper.make_model(
        helper.make_graph([node], "g", strings[:1], strings[1:]),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)],
        ir_version=8,
    ).SerializeToString()
    return made


def test_a_library_of_the_list_is_stored_by_its_name(tmp_path: Path) -> None:
    """A saved model that needs onnxruntime-extensions runs with the installed ones."""
    options = {CUSTOM_OPS: ["onnxruntime-extensions"]}
    save_model(HybridOnnxModel(shouting(), session_options=options), tmp_path / "saved")
    words = np.array(["a", "ß"], object)
    for model in (load_model(tmp_path / "saved"), mlflow.pyfunc.load_model(tmp_path / "saved")):
        assert model.predict(words).tolist() == ["A", "ß"]


def test_a_library_by_its_path_is_for_code(tmp_path: Path) -> None:
    """A library is taken from any path that code gives, and not saved."""
    import onnxruntime_extensions

    options = {CUSTOM_OPS: [onnxruntime_extensions.get_library_path()]}
    model = HybridOnnxModel(shouting(), session_options=options)
    assert model.predict(np.array(["a"], object)).tolist() == ["A"]
    with pytest.raises(ConfigurationError, match=r"custom-op library '/.*for code only"):
        save_model(model, tmp_path / "saved")
