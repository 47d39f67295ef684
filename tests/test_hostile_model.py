"""A saved model is data: whoever wrote it makes nobody write, read, load or wait for anything."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import onnx
import onnxruntime
import pytest
from mlflow.exceptions import MlflowException
from onnx import TensorProto, helper, numpy_helper

from hybridmodel import ConfigurationError, HybridOnnxModel, load_model
from hybridmodel.artifact import METADATA_FILE
from hybridmodel.flavor import DATA_FOLDER, save_model
from hybridmodel.local import LocalSession
from hybridmodel.session_settings import CUSTOM_OPS, EXTRA_CONFIG
from hybridmodel.stored_settings import ENTRIES, OPTIONS
from tests import models
from tests.test_local_session import attributes

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = np.ones((1, 3), np.float32)
SECRET = np.array([115.0, 101.0, 99.0], np.float32)
FOLDER_ENTRY = "session.model_external_initializers_file_folder_path"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model that is as it should be, once."""
    path = tmp_path_factory.mktemp("original") / "saved"
    save_model(HybridOnnxModel(models.two_outputs()), path)
    return path


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    """Copy the saved model, to be spoilt."""
    return Path(shutil.copytree(original, tmp_path / "saved"))


def edit(saved: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what ``hybrid.json`` says."""
    path = saved / DATA_FOLDER / METADATA_FILE
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def settings(saved: Path, **changes: Any) -> None:
    """Change what is stored for the session."""
    edit(saved, lambda stored: stored["session"].update(changes))


def replace_model(saved: Path, data: bytes, **described: Any) -> Path:
    """Put another ONNX file in the place of the saved one, with its size and hash."""
    import hashlib

    path = saved / DATA_FOLDER / "model.onnx"
    path.write_bytes(data)
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), **described}
    edit(saved, lambda stored: stored["model"].update(facts))
    return path.parent


def files_in(folder: Path) -> set[Path]:
    """List every file in a folder, however deep."""
    return {path for path in folder.rglob("*") if path.is_file()}


def refused(saved: Path, message: str) -> None:
    """Load a model natively and through pyfunc, and be refused each time."""
    with pytest.raises(ConfigurationError, match=message):
        load_model(saved)
    with pytest.raises(MlflowException, match=f"(?s)ConfigurationError.*{message}"):
        mlflow.pyfunc.load_model(str(saved))


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
            "'session.intra_op.spin_duration_us' .* something else than a small number",
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
        ({"provider_options": ["a"]}, "the options of provider 'CPUExecutionProvider' are no dict"),
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
    message = f"option '{next(iter(options))}' of provider '{name}', which only code may give"
    config: dict[str, Any] | None = None
    if way == "pair":
        settings(saved, providers=[[name, options]])
    elif way == "beside":
        settings(saved, providers=[name], provider_options=[options])
    elif way == "config":
        config = {"providers": [(name, options)]}
    else:
        described = onnx_free_yaml(saved)
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


def onnx_free_yaml(saved: Path) -> dict[str, Any]:
    """Read ``MLmodel``."""
    import yaml

    described: dict[str, Any] = yaml.safe_load((saved / "MLmodel").read_text())
    return described


def write_yaml(saved: Path, described: dict[str, Any]) -> None:
    """Write ``MLmodel``."""
    import yaml

    (saved / "MLmodel").write_text(yaml.safe_dump(described))


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
        assert "load_model(..., session_options={...}" in str(caught.value)


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


# --- Files that a model would read ---


def elsewhere(location: str) -> TensorProto:
    """Say that three weights lie in another file."""
    tensor = TensorProto(name="scale", data_type=TensorProto.FLOAT, dims=[3])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def scaling(*nodes: onnx.NodeProto, **parts: Any) -> onnx.ModelProto:
    """Make ``y`` = ``x`` times ``scale``, which `nodes` or `parts` of the graph bring."""
    product = helper.make_node("Mul", ["x", "scale"], ["y"])
    x, y = (models.tensor(name, "FP32", ("N", 3)) for name in "xy")
    functions = parts.pop("functions", [])
    graph = helper.make_graph([*nodes, product], "g", [x], [y], **parts)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def varint(number: int) -> bytes:
    """Write a number as protobuf does."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def raw(key: int, content: bytes) -> bytes:
    """Write a field of bytes, with any key."""
    return varint(key) + varint(len(content)) + content


def spliced(initializer: bytes, key: int = 5 << 3 | 2) -> bytes:
    """Make a model with the bytes of an initializer in its graph, whatever they are."""
    model = scaling()
    graph = model.graph.SerializeToString() + raw(key, initializer)
    model.ClearField("graph")
    return model.SerializeToString() + raw(7 << 3 | 2, graph)


def in_a_branch(location: str) -> bytes:
    """Keep the weights in the graph of an ``If``."""
    inner = [models.tensor(name, "FP32", (3,)) for name in ("a", "b")]
    branches = [
        helper.make_graph([helper.make_node("Identity", ["w"], [out])], out, [], [info])
        for out, info in zip("ab", inner, strict=True)
    ]
    for branch in branches:
        weights = elsewhere(location)
        weights.name = "w"
        branch.initializer.append(weights)
    flag = helper.make_node("Constant", [], ["flag"], value=numpy_helper.from_array(np.array(True)))
    either = helper.make_node(
        "If", ["flag"], ["scale"], then_branch=branches[0], else_branch=branches[1]
    )
    return scaling(flag, either).SerializeToString()


def in_a_function(location: str) -> bytes:
    """Keep the weights in a constant of a function of the model."""
    constant = helper.make_node("Constant", [], ["c"], value=elsewhere(location))
    function = helper.make_function(
        "own", "weights", [], ["c"], [constant], [helper.make_opsetid("", 17)]
    )
    node = helper.make_node("weights", [], ["scale"], domain="own")
    return scaling(node, functions=[function]).SerializeToString()


def sparse(location: str) -> bytes:
    """Keep the values of sparse weights in another file."""
    weights = onnx.SparseTensorProto(dims=[3])
    weights.values.CopyFrom(elsewhere(location))
    weights.indices.CopyFrom(numpy_helper.from_array(np.arange(3)))
    return scaling(sparse_initializer=[weights]).SerializeToString()


def with_data_location(number: int) -> Callable[[str], bytes]:
    """Write the place of the data as another number, of which readers keep the lower bits."""

    def made(location: str) -> bytes:
        tensor = elsewhere(location)
        tensor.ClearField("data_location")
        return spliced(tensor.SerializeToString() + varint(14 << 3) + varint(number))

    return made


READERS: dict[str, Callable[[str], bytes]] = {
    "an initializer": lambda at: scaling(initializer=[elsewhere(at)]).SerializeToString(),
    "a constant": lambda at: scaling(
        helper.make_node("Constant", [], ["scale"], value=elsewhere(at))
    ).SerializeToString(),
    "a branch": in_a_branch,
    "a function": in_a_function,
    "sparse values": sparse,
    "empty raw_data": lambda at: spliced(elsewhere(at).SerializeToString() + raw(9 << 3 | 2, b"")),
    "empty int32_data": lambda at: spliced(
        elsewhere(at).SerializeToString() + raw(5 << 3 | 2, b"")
    ),
    "data first": lambda at: spliced(raw(9 << 3 | 2, b"") + elsewhere(at).SerializeToString()),
    "data_location 2**32+1": with_data_location(2**32 + 1),
    "data_location 2**64+1": with_data_location(2**64 + 1),
    "data_location twice": lambda at: spliced(
        elsewhere(at).SerializeToString() + varint(14 << 3) + b"\x00" + varint(14 << 3) + b"\x01"
    ),
    "a key of 35 bits": lambda at: spliced(elsewhere(at).SerializeToString(), 2**32 + (5 << 3 | 2)),
}
"""Ways to say where weights lie; every one of them was taken by some release of onnxruntime."""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Write a file beside the saved model, which it must not read."""
    path = tmp_path / "secret.bin"
    path.write_bytes(SECRET.tobytes())
    return path


@pytest.mark.parametrize("way", READERS)
@pytest.mark.parametrize("place", ["..", "absolute", "link", "link of a folder"])
def test_weights_outside_of_the_folder_are_refused(
    way: str, place: str, saved: Path, secret: Path
) -> None:
    """A saved model reads no file outside of its folder, whichever way it says so."""
    folder = saved / DATA_FOLDER
    location = {
        "..": os.path.relpath(secret, folder),
        "absolute": str(secret),
        "link": "w.bin",
        "link of a folder": "sub/secret.bin",
    }[place]
    (folder / "w.bin").symlink_to(secret)
    (folder / "sub").symlink_to(secret.parent)
    facts = {"size_bytes": 12, "sha256": "0" * 64}
    for listed in ({}, {location: facts}):
        replace_model(saved, READERS[way](location), external_files=listed, **XY)
        refused(saved, r"outside of|leads out|is not as it was saved|not an ONNX model")


XY = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3], "batched": True}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3], "batched": True}],
}


@pytest.mark.parametrize("way", [way for way in READERS if "bits" not in way])
def test_weights_that_hybrid_json_does_not_list_are_refused(way: str, saved: Path) -> None:
    """A file inside the folder is read only where the model was saved with it."""
    folder = replace_model(saved, READERS[way]("w.bin"), **XY)
    (folder / "w.bin").write_bytes(SECRET.tobytes())
    refused(saved, r"the files that it keeps tensors in are others \('w\.bin'\)")


@pytest.mark.parametrize("way", ["an initializer", "a constant", "a branch", "a function"])
def test_weights_inside_of_the_folder_are_read(way: str, tmp_path: Path) -> None:
    """External data inside is saved, loaded and used as before."""
    given = tmp_path / "given"
    given.mkdir()
    (given / "m.onnx").write_bytes(READERS[way]("w.bin"))
    (given / "w.bin").write_bytes(SECRET.tobytes())
    save_model(HybridOnnxModel(given / "m.onnx"), tmp_path / "saved")
    np.testing.assert_array_equal(load_model(tmp_path / "saved").predict(ONE), [SECRET])


def test_links_inside_of_the_folder_are_followed(tmp_path: Path) -> None:
    """A link to another file of the folder, and a folder reached by a link, are as good."""
    given = tmp_path / "given"
    given.mkdir()
    (given / "m.onnx").write_bytes(READERS["an initializer"]("w.bin"))
    (given / "w.bin").write_bytes(SECRET.tobytes())
    save_model(HybridOnnxModel(given / "m.onnx"), tmp_path / "saved")
    folder = tmp_path / "saved" / DATA_FOLDER
    for name in ("w.bin", "model.onnx", METADATA_FILE):
        (folder / name).rename(folder / f"real-{name}")
        (folder / name).symlink_to(f"real-{name}")
    (tmp_path / "linked").symlink_to(tmp_path / "saved")
    np.testing.assert_array_equal(load_model(tmp_path / "linked").predict(ONE), [SECRET])


def test_caches_of_links_are_taken_from_code(tmp_path: Path) -> None:
    """A path that code gives may be a link to a folder where the weights lie beside the model."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "view").mkdir()
    (tmp_path / "blobs" / "m.onnx").write_bytes(READERS["an initializer"]("w.bin"))
    (tmp_path / "blobs" / "w.bin").write_bytes(SECRET.tobytes())
    for name in ("m.onnx", "w.bin"):
        (tmp_path / "view" / name).symlink_to(tmp_path / "blobs" / name)
    np.testing.assert_array_equal(
        HybridOnnxModel(tmp_path / "view" / "m.onnx").predict(ONE), [SECRET]
    )


def test_links_to_anywhere_are_not_copied_from_code(tmp_path: Path, secret: Path) -> None:
    """Weights that a link takes from anywhere else are refused, not copied into a saved model."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "m.onnx").write_bytes(READERS["an initializer"]("w.bin"))
    (tmp_path / "given" / "w.bin").symlink_to(secret)
    with pytest.raises(ConfigurationError, match="leads out"):
        HybridOnnxModel(tmp_path / "given" / "m.onnx")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "circle", "gone"])
@pytest.mark.parametrize("file", ["w.bin", "model.onnx", METADATA_FILE])
def test_only_regular_files_are_opened(kind: str, file: str, saved: Path) -> None:
    """A pipe, device or folder in the place of a file is refused at once, not waited for."""
    folder = replace_model(
        saved,
        READERS["an initializer"]("w.bin"),
        external_files={"w.bin": {"size_bytes": 12, "sha256": "0" * 64}},
        **XY,
    )
    (folder / "w.bin").write_bytes(bytes(12))
    load_model(saved)
    path = folder / file
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path)
    refused(
        saved,
        rf"{file}: (is no regular|is a link that leads out|cannot be read)|holds no hybrid"
        r"|'w.bin' is missing",
    )


def test_devices_are_no_regular_files(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that lies in the folder itself is refused by its kind."""
    real = Path.stat

    def as_device(path: Path, **options: Any) -> Any:
        found = real(path, **options)
        if path.name != "model.onnx":
            return found
        return os.stat_result((stat.S_IFCHR | 0o666, *tuple(found)[1:]))

    monkeypatch.setattr(Path, "stat", as_device)
    refused(saved, r"model\.onnx: is no regular file")


@pytest.mark.parametrize(
    "location", ["", ".", "./", "a\x00b", "w\n.bin", "C:w.bin", "\\\\host\\share", "a/../../b"]
)
def test_locations_that_are_no_path_inside(location: str, saved: Path) -> None:
    """A location that some system reads as a way out of the folder, or as none, is refused."""
    data = READERS["an initializer"](location)
    replace_model(saved, data, external_files={location: {"size_bytes": 1, "sha256": ""}}, **XY)
    refused(saved, "outside of the model's own folder")


def test_addresses_in_memory_are_refused(saved: Path) -> None:
    """A model cannot name an address in memory, as onnxruntime does within a process."""
    location = "*/_ORT_MEM_ADDR_/*"
    tensor = elsewhere(location)
    tensor.external_data.add(key="offset", value="140000000000000")
    data = scaling(initializer=[tensor]).SerializeToString()
    folder = replace_model(
        saved, data, external_files={location: {"size_bytes": 12, "sha256": "0" * 64}}, **XY
    )
    (folder / "*" / "_ORT_MEM_ADDR_").mkdir(parents=True)
    (folder / location).write_bytes(bytes(12))
    with pytest.raises(ConfigurationError):
        load_model(saved).predict(ONE)


def test_onnxruntimes_own_format_is_refused(saved: Path) -> None:
    """Bytes that onnxruntime would read as its own format are not looked through as ONNX."""
    data = b"\x12\x04" + b"\x00\x00" + b"ORTM" + models.two_outputs()
    replace_model(saved, data)
    refused(saved, "onnxruntime's own format")
    data = models.two_outputs()
    folder = replace_model(saved, data, file="model.ort")
    (folder / "model.onnx").rename(folder / "model.ort")
    assert load_model(saved).predict(ONE, output="total").tolist() == [[3.0]]


def test_settings_in_the_onnx_file_are_refused_where_they_count(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings in the file's metadata are refused where a variable lets onnxruntime read them."""
    model = onnx.load_from_string(models.two_outputs())
    inner = {"session_options": {"enable_profiling": 1}}
    model.metadata_props.add(key="ort_config", value=json.dumps(inner))
    replace_model(saved, model.SerializeToString())
    assert load_model(saved).predict(ONE, output="total").tolist() == [[3.0]]
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    refused(saved, "unset that variable")


# --- hybrid.json ---


@pytest.mark.parametrize(
    "name",
    [
        "../../../secret.bin",
        "/etc/passwd",
        "/dev/zero",
        "sub/model.onnx",
        "sub\\model.onnx",
        "..",
        ".",
        "",
        "C:model.onnx",
        "a\x00",
        None,
        1,
        ["model.onnx"],
    ],
)
def test_the_model_is_a_file_beside_hybrid_json(name: Any, saved: Path, secret: Path) -> None:
    """The ONNX file is named by a plain name; any other tells nothing about what lies there."""
    edit(saved, lambda stored: stored["model"].update(file=name))
    refused(saved, "the name of a file beside it is expected")
    assert secret.exists()


@pytest.mark.parametrize("file", ["model.onnx", "w.bin"])
def test_errors_tell_nothing_about_files_elsewhere(file: str, saved: Path, secret: Path) -> None:
    """Neither size nor hash nor existence of a file outside is told, whatever a link leads to."""
    folder = replace_model(
        saved,
        READERS["an initializer"]("w.bin"),
        external_files={"w.bin": {"size_bytes": 1, "sha256": "0" * 64}},
        **XY,
    )
    (folder / "w.bin").write_bytes(b"1")
    messages = set()
    for target in (secret, secret.with_name("not there")):
        (folder / file).unlink()
        (folder / file).symlink_to(target)
        with pytest.raises(ConfigurationError) as caught:
            load_model(saved)
        messages.add(str(caught.value))
    assert messages == {f"{folder / file}: is a link that leads out of the model's own folder"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nests deeper than 50 levels"),
        ("[" * 60 + "]" * 60, "nests deeper than 50 levels"),
        ('{"a":' * 990 + "1" + "}" * 990, "nests deeper than 50 levels"),
        ('{"schema_version": 1, "schema_version": 1}', "'schema_version' stands twice"),
        ('{"schema_version": NaN}', "NaN is no number"),
        ('{"schema_version": -Infinity}', "-Infinity is no number"),
        ('{"schema_version": ' + "9" * 5000 + "}", "4300 digits"),
        (b"\xff\xfe{\x00}\x00", "codec can't decode"),
        ("x" * (2**24 + 1), "more than 16777216 bytes"),
    ],
)
def test_hostile_json(content: str | bytes, message: str, saved: Path) -> None:
    """JSON that is too deep, too large, ambiguous or none is a ConfigurationError."""
    data = content if isinstance(content, bytes) else content.encode()
    (saved / DATA_FOLDER / METADATA_FILE).write_bytes(data)
    refused(saved, rf"hybrid\.json: .*{message}")


def at(stored: Any, *way: Any) -> Any:
    """Follow a way into nested values."""
    for key in way:
        stored = stored[key]
    return stored


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        (("model", "sha256"), 1, "no sha256"),
        (("model", "sha256"), "../../etc", "no sha256"),
        (("model", "sha256"), "0" * 64, "is not the file that was saved"),
        (("model", "size_bytes"), 10**4000, "is not the file that was saved"),
        (("model", "size_bytes"), None, "is not the file that was saved"),
        (("model", "size_bytes"), "172", "is not the file that was saved"),
        (("model", "external_files"), [], "not as hybridmodel writes it"),
        (("model", "external_files"), {"a": 1}, "'a' is missing"),
        (("model", "external_files"), {"model.onnx": {}}, "not as hybridmodel writes it"),
        (("model", "outputs", 0, "labels"), [1, 2], "its labels are others"),
        (("model", "outputs", 0, "labels"), [True], "a label is a text or a whole number"),
        (("model", "outputs", 0, "labels"), [1.5], "a label is a text or a whole number"),
        (("model", "outputs", 0, "labels"), [[]], "a label is a text or a whole number"),
        (("session", "providers"), [{}], "providers is a list of names"),
        (("session",), None, "not as hybridmodel writes it"),
    ],
)
def test_lies_in_hybrid_json(way: tuple[Any, ...], value: Any, message: str, saved: Path) -> None:
    """Values of a wrong kind, or that are not so, are found out when the model is loaded."""
    edit(saved, lambda stored: at(stored, *way[:-1]).update({way[-1]: value}))
    refused(saved, message)


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("inputs", 0, "name"), "other"),
        (("outputs", 0, "name"), "other"),
        (("outputs",), []),
        (("inputs",), []),
    ],
)
def test_names_that_the_graph_does_not_have(way: tuple[Any, ...], value: Any, saved: Path) -> None:
    """Inputs and outputs of other names are found out when the session opens, not by a crash."""
    edit(saved, lambda stored: at(stored["model"], *way[:-1]).update({way[-1]: value}))
    model = load_model(saved)
    with pytest.raises(ConfigurationError, match="but was said to have"):
        model.local.run({"x": ONE}, model.spec.output_names)


def test_labels_of_a_zipmap_that_are_not_so(tmp_path: Path) -> None:
    """Class labels that are not those of the graph are refused at load, not found at predict."""
    save_model(HybridOnnxModel(models.classifier(zipmap=True)), tmp_path / "saved")
    for labels in (["no", "yes", "perhaps"], []):
        edit(
            tmp_path / "saved",
            lambda stored, labels=labels: stored["model"]["outputs"][1].update(labels=labels),
        )
        refused(tmp_path / "saved", "its labels are others")


def test_a_description_that_could_not_be_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving refuses a hybrid.json that would be too large to load."""
    from hybridmodel import artifact

    monkeypatch.setattr(artifact, "MOST_METADATA_BYTES", 100)
    with pytest.raises(ConfigurationError, match="would be refused when it is loaded"):
        save_model(HybridOnnxModel(models.two_outputs()), tmp_path / "saved")
