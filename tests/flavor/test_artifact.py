"""`hybrid.json` and its neighbours: what is written comes back, and damage is named."""

from __future__ import annotations

import copy
import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridmodel import ConfigurationError, HybridOnnxModel, TritonEndpoint
from hybridmodel.exceptions import HybridModelError
from hybridmodel.flavor.artifact import (
    CONFIG_KEYS,
    METADATA_FILE,
    MODEL_FILE,
    config_of,
    read,
    write,
)
from hybridmodel.routing.resolver import REMOTE_POLICY
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = TritonEndpoint(uri="https://a.example", model_name="there", auth_key_env="SOME_KEY")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Write a model with everything that can be set."""
    model = HybridOnnxModel(
        models.two_outputs(),
        endpoint=ENDPOINT,
        feature_names=["a", "b", "c"],
        output="total",
        use_azure=False,
        session_options={"intra_op_num_threads": 1, "graph_optimization_level": 0},
    )
    write(model, tmp_path / "saved")
    return tmp_path / "saved"


def edit(folder: Path, **changes: Any) -> None:
    """Overwrite top-level entries of ``hybrid.json``."""
    path = folder / METADATA_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def external_model(folder: Path) -> Path:
    """Write a model whose weights lie in another file."""
    folder.mkdir()
    onnx.save_model(
        onnx.load_from_string(models.linear(64, 64)),
        folder / "big.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    return folder / "big.onnx"


def test_everything_comes_back(saved: Path) -> None:
    """A model that was written and read is set up as it was."""
    model = read(saved)
    assert model.endpoint == ENDPOINT
    assert model.feature_names == ["a", "b", "c"]
    assert (model.output, model.use_azure) == ("total", False)
    assert model.local.session_options == {
        "intra_op_num_threads": 1,
        "graph_optimization_level": 0,
    }
    assert model.spec == HybridOnnxModel(models.two_outputs()).spec
    assert model.session.get_session_options().intra_op_num_threads == 1
    level = model.session.get_session_options().graph_optimization_level
    assert level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def test_the_onnx_file_is_copied_byte_for_byte(saved: Path) -> None:
    """The stored file is the very file that was given, and so is its sha256."""
    stored = (saved / MODEL_FILE).read_bytes()
    assert stored == models.two_outputs()
    described = json.loads((saved / METADATA_FILE).read_text())["model"]
    assert described["sha256"] == hashlib.sha256(stored).hexdigest()


def test_a_model_proto_is_not_changed(tmp_path: Path) -> None:
    """The same ModelProto, written twice, gives the same file twice and stays as it was."""
    proto = onnx.load_from_string(models.linear(64, 64))
    before = proto.SerializeToString()
    for name in ("one", "two"):
        write(HybridOnnxModel(proto), tmp_path / name)
        assert (tmp_path / name / MODEL_FILE).read_bytes() == before
    assert proto.SerializeToString() == before


def test_external_data_is_copied_too(tmp_path: Path) -> None:
    """A model with its weights in another file can be moved, and answers the same."""
    given = HybridOnnxModel(external_model(tmp_path / "given"))
    X = np.ones((2, 64), np.float32)
    expected = given.predict(X)
    write(given, tmp_path / "saved")
    (tmp_path / "saved").rename(tmp_path / "moved")
    assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == [
        METADATA_FILE,
        MODEL_FILE,
        "weights.bin",
    ]
    np.testing.assert_array_equal(read(tmp_path / "moved").predict(X), expected)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "weights.bin.*missing"),
        (lambda path: path.write_bytes(b"short"), "has 5 bytes, 16640 were expected"),
    ],
)
def test_damaged_external_data(tmp_path: Path, damage: Any, message: str) -> None:
    """Weights that are missing or of another size are named when the model is read."""
    write(HybridOnnxModel(external_model(tmp_path / "given")), tmp_path / "saved")
    damage(tmp_path / "saved" / "weights.bin")
    with pytest.raises(ConfigurationError, match=message):
        read(tmp_path / "saved")


def test_a_changed_model_is_refused(saved: Path) -> None:
    """Another ONNX file in its place is found out by its sha256, or its size already."""
    stored = saved / MODEL_FILE
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigurationError, match="is not the file that was saved: its sha256"):
        read(saved)
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(ConfigurationError, match="is not the file that was saved: it has"):
        read(saved)


def test_a_missing_model_is_named(saved: Path) -> None:
    """A folder that lost its ONNX file says which file is missing."""
    (saved / MODEL_FILE).unlink()
    with pytest.raises(ConfigurationError, match=r"model\.onnx: cannot be read"):
        read(saved)


def test_a_later_schema_names_the_version_to_install(saved: Path) -> None:
    """A file of a later major version says which hybridmodel can read it."""
    edit(saved, schema_version=3, written_by="7.1.0")
    with pytest.raises(ConfigurationError, match=r"schema_version 3.*install hybridmodel>=7\.1\.0"):
        read(saved)
    for writer in ("7 evil-package", "7\nevil", "7; evil", None, {}):
        edit(saved, written_by=writer)
        with pytest.raises(ConfigurationError, match=r"; install a later hybridmodel$"):
            read(saved)


def test_unknown_entries_are_ignored(saved: Path) -> None:
    """Entries that a later minor version added do not keep a model from being read."""
    stored = json.loads((saved / METADATA_FILE).read_text())
    edit(saved, new=1, endpoint={**stored["endpoint"], "new": 1})
    assert read(saved).endpoint == ENDPOINT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ('{"schema_version": 1', "is damaged"),
        ("[]", r"expected an object, got \[\]$"),
        ("{}", "schema_version: is missing$"),
        ('{"schema_version": 0}', "schema_version: expected a number from 1 up, got 0$"),
        ('{"schema_version": "1"}', "schema_version: expected a whole number, got '1'$"),
        ('{"schema_version": true}', "schema_version: expected a whole number, got True$"),
        ('{"schema_version": 1}', "model: is missing$"),
    ],
)
def test_damaged_metadata(saved: Path, text: str, message: str) -> None:
    """A hybrid.json that is no such file is an error that names the file."""
    (saved / METADATA_FILE).write_text(text)
    with pytest.raises(ConfigurationError, match=rf"hybrid\.json: .*{message}"):
        read(saved)


def test_another_folder_is_no_hybrid_model(tmp_path: Path) -> None:
    """A folder without hybrid.json is said to be no hybrid model."""
    with pytest.raises(ConfigurationError, match=r"has no hybrid\.json"):
        read(tmp_path)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the ways to every value in nested dicts and lists."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return [path, *(inner for key, item in items for inner in paths_in(item, (*path, key)))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@pytest.mark.filterwarnings("ignore:the ca_bundle of the saved model is not used")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damage_is_a_configuration_error(saved: Path, data: st.DataObject) -> None:
    """Whatever one value in hybrid.json becomes, no error is another than one of ours."""
    path = saved / METADATA_FILE
    original = path.read_text()
    stored = copy.deepcopy(json.loads(original))
    *way, last = data.draw(st.sampled_from(paths_in(stored)[1:]))
    inner = stored
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    path.write_text(json.dumps(stored))
    try:
        model = read(saved)
    except ConfigurationError:
        return
    finally:
        path.write_text(original)
    with suppress(HybridModelError):
        model.predict(np.ones((2, 3), np.float32), use_azure=False)


@pytest.mark.parametrize(
    ("config", "attribute", "value"),
    [
        ({"uri": "https://b.example"}, "uri", "https://b.example"),
        ({"model_name": "other"}, "model_name", "other"),
        ({"model_version": "2"}, "model_version", "2"),
        ({"model_version": None}, "model_version", None),
        ({"auth_key_env": "OTHER_KEY"}, "auth_key_env", "OTHER_KEY"),
        ({"auth_key_env": None}, "auth_key_env", None),
        ({"timeout_s": 3}, "timeout_s", 3.0),
        ({"connect_timeout_s": 0.5}, "connect_timeout_s", 0.5),
        ({"binary": False}, "binary", False),
        ({"uri": "http://b.example", "allow_http": True}, "uri", "http://b.example"),
    ],
)
def test_configuration_counts_more_than_what_is_stored(
    saved: Path, config: dict[str, Any], attribute: str, value: Any
) -> None:
    """Each field of the endpoint can be changed at load, also to None; the others stay."""
    endpoint = read(saved, config=config).endpoint
    assert endpoint is not None
    assert getattr(endpoint, attribute) == value
    assert endpoint == ENDPOINT.with_overrides(**config)


def test_configuration_of_the_model(saved: Path) -> None:
    """Output, route and providers can be changed at load."""
    config = {"output": None, "use_azure": "true", "providers": ["CPUExecutionProvider"]}
    model = read(saved, config=config)
    assert (model.output, model.policies.configured) == (None, REMOTE_POLICY)
    assert read(saved, config={"output": "double"}).output == "double"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_azur": True}, "no key 'use_azur'; it has use_azure, mode, output"),
        ({"use_azure": "maybe"}, r"model_config\['use_azure'\]"),
        ({"output": "nope"}, "no output 'nope'; it has 'total', 'double'"),
        ({"uri": "http://b.example"}, "use https"),
        ({"timeout_s": 0}, "timeout_s is a positive number"),
    ],
)
def test_bad_configuration(saved: Path, config: dict[str, Any], message: str) -> None:
    """A configuration that cannot work is refused at load, and the message says why."""
    with pytest.raises(ConfigurationError, match=message):
        read(saved, config=config)


def test_an_endpoint_can_be_given_at_load(tmp_path: Path) -> None:
    """A model that was saved without an endpoint gets one by model_config, defaults included."""
    write(HybridOnnxModel(models.linear()), tmp_path)
    assert read(tmp_path).endpoint is None
    where = {"uri": "https://a.example", "model_name": "there"}
    assert read(tmp_path, config=where).endpoint == TritonEndpoint(**where)
    keyless = read(tmp_path, config={**where, "auth_key_env": None}).endpoint
    assert keyless == TritonEndpoint(**where, auth_key_env=None)
    with pytest.raises(ConfigurationError, match="uri is a str"):
        read(tmp_path, config={"model_name": "there"})


@pytest.mark.parametrize("endpoint", [None, ENDPOINT])
def test_every_key_is_declared_and_changes_nothing(tmp_path: Path, endpoint: Any) -> None:
    """The configuration that is saved names every key of its endpoint, and changes nothing."""
    model = HybridOnnxModel(models.two_outputs(), endpoint=endpoint, output="total")
    write(model, tmp_path)
    config = config_of(model)
    other = {"model", "dimensions", "api_version", "encoding_format"}
    assert set(config) == set(CONFIG_KEYS) - other
    again = read(tmp_path, config=config)
    assert (again.endpoint, again.output) == (endpoint, "total")
    assert again.policies.configured is None


def test_session_options_are_saved_as_plain_data(tmp_path: Path) -> None:
    """Enumerations are written by name and read back; an options object cannot be written."""
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    entries = {"session.intra_op.allow_spinning": "0"}
    options = {"graph_optimization_level": level, "extra_session_config": entries}
    write(HybridOnnxModel(models.linear(), session_options=options), tmp_path)
    stored = json.loads((tmp_path / METADATA_FILE).read_text())["session"]["session_options"]
    assert stored == {**options, "graph_optimization_level": "ORT_ENABLE_BASIC"}
    assert read(tmp_path).session.get_session_options().graph_optimization_level == level
    opaque = HybridOnnxModel(models.linear(), session_options=onnxruntime.SessionOptions())
    with pytest.raises(
        ConfigurationError, match="pass a dict of numbers and strings, not a SessionOptions"
    ):
        write(opaque, tmp_path)
