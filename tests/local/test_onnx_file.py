"""ONNX files are read without the onnx package, in agreement with it, wholly or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local import onnx_file
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.onnx_scan import scan
from hybridmodel.local.session import LocalSession
from tests.support import models
from tests.support.protobuf_bytes import field, varint
from tests.support.strategies import damaged, law, names

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = np.array([1.0, 2.0, 3.0])


def external(path: Path, location: str = "weights.bin") -> Path:
    """Save a model whose weights lie in another file."""
    models.save_external(models.scaled(WEIGHTS), path, location)
    return path


def located(location: str) -> onnx.ModelProto:
    """Make a model whose weights are said to lie at any location, even where nothing is."""
    model = models.scaled(WEIGHTS)
    set_external_data(model.graph.initializer[0], location)
    model.graph.initializer[0].ClearField("raw_data")
    return model


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "bytearray", "proto", "itself"])
def test_every_kind_of_source(kind: str, tmp_path: Path) -> None:
    """A path, bytes and a ModelProto of one model are the same file with the same hash."""
    data = models.linear()
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    source = {
        "path": path,
        "str": str(path),
        "bytes": data,
        "bytearray": bytearray(data),
        "proto": onnx.load_from_string(data),
        "itself": OnnxFile.read(data),
    }[kind]
    file = OnnxFile.read(source)
    assert file.data == data
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.external_files == ()
    assert file.copy_to(tmp_path / "copies" / "here").read_bytes() == data


def test_a_changed_file_does_not_matter(tmp_path: Path) -> None:
    """The content counts at the time of reading; a file that is replaced later changes nothing."""
    path = tmp_path / "m.onnx"
    path.write_bytes(models.identity())
    file = OnnxFile.read(path)
    path.unlink()
    assert file.copy_to(tmp_path / "copy").read_bytes() == models.identity()


def test_a_relative_path_outlives_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """External data is found again after the working folder has changed."""
    external(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    file = OnnxFile.read("m.onnx")
    monkeypatch.chdir("/")
    assert file.external_facts()["weights.bin"]["size_bytes"] == 12


@pytest.mark.parametrize("source", [None, 3, ["m.onnx"], object()])
def test_other_sources_are_refused(source: Any) -> None:
    """What is no model is refused with the kinds that are."""
    with pytest.raises(ConfigurationError, match=r"a path, bytes or an onnx\.ModelProto, not a"):
        OnnxFile.read(source)


@pytest.mark.parametrize("location", ["weights.bin", "deep/er/weights.bin"])
def test_external_data(location: str, tmp_path: Path) -> None:
    """A model with external data is copied with it, keeps its hash, and runs from the copy."""
    (tmp_path / "saved" / location).parent.mkdir(parents=True)
    path = external(tmp_path / "saved" / "m.onnx", location)
    file = OnnxFile.read(path)
    assert file.data is None
    assert file.external_files == (location,)
    assert file.external_facts()[location]["size_bytes"] == 12
    copy = file.copy_to(tmp_path / "copied")
    assert copy.read_bytes() == path.read_bytes()
    again = OnnxFile.stored(copy, file.sha256, file.size_bytes, file.external_facts(), {})
    assert (again.sha256, again.data) == (file.sha256, None)
    result = LocalSession(again).run({"x": np.ones((1, 3), np.float32)}, ["y"])["y"]
    np.testing.assert_array_equal(result, [WEIGHTS])


FACTS = {"size_bytes": 12, "sha256": "0" * 64}


def stored(path: Path, **changes: Any) -> OnnxFile:
    """Take up a saved model, as the facts of its saving describe it or otherwise."""
    data = path.read_bytes() if path.exists() else b""
    facts = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "external": {},
        "zipmaps": {},
    }
    return OnnxFile.stored(path, **{**facts, **changes})


def test_a_small_stored_model_is_read_at_once(tmp_path: Path) -> None:
    """A small saved model does not need its folder any more once it is loaded."""
    path = OnnxFile.read(models.identity()).copy_to(tmp_path)
    file = stored(path)
    path.unlink()
    assert (file.data, file.size_bytes) == (models.identity(), len(models.identity()))


def test_a_large_stored_model_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one is not held in memory beside the session, and is found from any folder."""
    monkeypatch.setattr(onnx_file, "READ_AT_LOAD_BYTES", 10)
    monkeypatch.chdir(tmp_path)
    path = OnnxFile.read(models.identity()).copy_to(tmp_path / "saved").relative_to(tmp_path)
    file = stored(path)
    monkeypatch.chdir("/")
    assert (file.data, file.size_bytes) == (None, len(models.identity()))
    assert LocalSession(file).spec.input_names == ("x",)


def test_external_data_that_was_exchanged(tmp_path: Path) -> None:
    """Other weights of the same size are found by `verify`."""
    path = external(tmp_path / "m.onnx")
    file = OnnxFile.read(path)
    again = OnnxFile.stored(path, file.sha256, file.size_bytes, file.external_facts(), {})
    again.verify()
    (tmp_path / "weights.bin").write_bytes(bytes(12))
    with pytest.raises(ConfigurationError, match=r"weights\.bin: is not the file that was saved"):
        again.verify()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "its sha256 is .*, 0000.* was expected"),
        ({"size_bytes": 5}, "bytes, 5 were expected"),
        ({"external": {"weights.bin": FACTS}}, "'weights.bin' is missing"),
    ],
)
def test_a_stored_model_that_was_exchanged(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Size and hash of a saved model have to be those it was saved with."""
    path = OnnxFile.read(models.identity()).copy_to(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        stored(path, **changes)


def test_a_large_stored_model_is_hashed_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading a large file compares its size alone; `verify`, copies and pickles its hash."""
    monkeypatch.setattr(onnx_file, "READ_AT_LOAD_BYTES", 10)
    path = OnnxFile.read(models.identity()).copy_to(tmp_path / "saved")
    exchanged = stored(path, sha256="0" * 64)
    for use in (
        exchanged.verify,
        lambda: exchanged.copy_to(tmp_path / "copied"),
        lambda: pickle.dumps(exchanged),
    ):
        with pytest.raises(ConfigurationError, match="its sha256 is"):
            use()


def test_a_pickle_carries_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out of a pickle on another machine does not need the folder."""
    monkeypatch.setattr(onnx_file, "READ_AT_LOAD_BYTES", 10)
    path = OnnxFile.read(models.identity()).copy_to(tmp_path)
    pickled = pickle.dumps(stored(path))
    path.unlink()
    assert pickle.loads(pickled).data == models.identity()


def test_stored_but_missing(tmp_path: Path) -> None:
    """A saved model that lost its file says which."""
    with pytest.raises(ConfigurationError, match=r"m\.onnx: cannot be read: No such file"):
        stored(tmp_path / "m.onnx")


def test_missing_external_data(tmp_path: Path) -> None:
    """The message names the model, the file that is missing, and where it belongs."""
    path = external(tmp_path / "m.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ConfigurationError, match=r"m\.onnx: .*'weights.bin' is missing; it bel"):
        OnnxFile.read(path)


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/passwd", "a/../../b", "..\\b", "C:\\b", "\\\\host\\share\\b", "C:b"],
)
def test_external_data_elsewhere(location: str, tmp_path: Path) -> None:
    """A model cannot make us read, or copy, a file outside of its folder on any system."""
    path = tmp_path / "m.onnx"
    path.write_bytes(located(location).SerializeToString())
    with pytest.raises(ConfigurationError, match="outside of the model's own folder"):
        OnnxFile.read(path)
    with pytest.raises(ConfigurationError, match="outside of the model's own folder"):
        stored(path, external={location: FACTS})


@pytest.mark.parametrize("as_proto", [True, False])
def test_external_data_of_bytes(as_proto: bool) -> None:
    """Bytes have no folder: the message names the files and asks for the path."""
    model = located("w.bin")
    with pytest.raises(ConfigurationError, match=r"\(w\.bin\): pass its path instead"):
        OnnxFile.read(model if as_proto else model.SerializeToString())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 a zip file", "not an ONNX model"),
        (b"<!doctype html>", "not an ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "not an ONNX model"),
        (onnx.ModelProto(ir_version=9).SerializeToString(), "it has no graph"),
        (models.linear()[:-3], "not an ONNX model, or cut short"),
        (models.linear()[: len(models.linear()) // 2], "not an ONNX model, or cut short"),
        (b"\x3a\x04\x0a\x02\x22\xff", "not an ONNX model"),
    ],
)
def test_damaged_files(content: bytes, message: str, tmp_path: Path) -> None:
    """A file that is empty, of another kind or cut short is named, and closed again."""
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"m\.onnx: .*{message}"):
        OnnxFile.read(path)
    if content:
        with pytest.raises(ConfigurationError, match=f"^the bytes given: .*{message}"):
            OnnxFile.read(content)


def test_no_file(tmp_path: Path) -> None:
    """A path where nothing is, or a folder, is a configuration error and no OSError."""
    with pytest.raises(ConfigurationError, match="No such file"):
        OnnxFile.read(tmp_path / "none.onnx")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        OnnxFile.read(os.fspath(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A named pipe or a device in place of the file is refused at once."""
    os.mkfifo(tmp_path / "m.onnx")
    for path in (tmp_path / "m.onnx", "/dev/zero"):
        with pytest.raises(ConfigurationError, match="is not a regular file"):
            OnnxFile.read(path)


def test_an_onnx_that_onnxruntime_refuses(tmp_path: Path) -> None:
    """A well-formed file with an unknown operator is refused when the model is made."""
    graph = helper.make_graph(
        [helper.make_node("NoSuchOperator", ["x"], ["y"])],
        "g",
        [models.tensor("x", "FP32", ("N",))],
        [models.tensor("y", "FP32", ("N",))],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, ir_version=9), str(path))
    with pytest.raises(ConfigurationError, match=r"m\.onnx: onnxruntime cannot load it"):
        LocalSession(path)


def test_deep_nesting_is_refused() -> None:
    """A file of graphs within graphs ends the scan, not the interpreter's stack."""
    data = b""
    for _ in range(3000):
        data = field(6, data)  # AttributeProto.g
        data = field(1, field(5, data))  # GraphProto.node, NodeProto.attribute
    with pytest.raises(ConfigurationError, match="or damaged"):
        OnnxFile.read(field(7, data))


@law
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    """Bytes that are no model are a configuration error, and never any other."""
    with contextlib.suppress(ConfigurationError):
        OnnxFile.read(data)


@law
@given(st.data())
def test_damaged_models(data: st.DataObject) -> None:
    """A model with bytes changed, lost or added is read or refused, never anything else."""
    whole = data.draw(
        st.sampled_from([models.linear(), models.loop(), models.classifier(zipmap=True)])
    )
    with contextlib.suppress(ConfigurationError):
        OnnxFile.read(data.draw(damaged(whole)))


@st.composite
def tensors(draw: st.DrawFn) -> tuple[TensorProto, set[str]]:
    """Draw a tensor, perhaps in another file, with the fields of that in any order."""
    proto = numpy_helper.from_array(np.array(draw(st.lists(st.integers(0, 9)))), draw(names))
    if not draw(st.booleans()):
        return proto, set()
    location = draw(names)
    set_external_data(proto, location, offset=draw(st.none() | st.integers(0, 99)))
    proto.ClearField("raw_data")
    return proto, {location}


@st.composite
def zipmaps(draw: st.DrawFn) -> tuple[onnx.NodeProto, dict[str, tuple[Any, ...]]]:
    """Draw a ZipMap node with labels of either kind."""
    labels = draw(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4)
        | st.lists(names, min_size=1, max_size=4)
    )
    output = draw(names)
    key = "classlabels_int64s" if isinstance(labels[0], int) else "classlabels_strings"
    named: dict[str, Any] = {key: labels}
    made = helper.make_node("ZipMap", ["p"], [output], domain="ai.onnx.ml", **named)
    return made, {output: tuple(labels)}


@st.composite
def graphs(draw: st.DrawFn, depth: int = 2) -> tuple[onnx.GraphProto, set[str], dict[str, Any]]:
    """Draw a graph of weights, constants, ZipMaps and graphs within."""
    locations: set[str] = set()
    labels: dict[str, Any] = {}
    nodes, weights, sparse = [], [], []
    for proto, where in draw(st.lists(tensors(), max_size=2)):
        weights.append(proto)
        locations |= where
    for proto, where in draw(st.lists(tensors(), max_size=2)):
        nodes.append(helper.make_node("Constant", [], ["c"], value=proto))
        locations |= where
    for proto, where in draw(st.lists(tensors(), max_size=1)):
        sparse.append(onnx.SparseTensorProto(values=proto))
        locations |= where
    for node, made in draw(st.lists(zipmaps(), max_size=2)):
        nodes.append(node)
        labels |= made
    for inner, where, made in draw(st.lists(graphs(depth - 1), max_size=1)) if depth else ():
        nodes.append(helper.make_node("If", ["c"], ["r"], then_branch=inner, floats=[1.0, 2.0]))
        locations |= where
        labels |= made
    made_graph = helper.make_graph(nodes, "g", [], [], weights, sparse_initializer=sparse)
    return made_graph, locations, labels


@law
@given(graphs())
def test_the_scan_agrees_with_onnx(drawn: tuple[onnx.GraphProto, set[str], dict[str, Any]]) -> None:
    """Other files and class labels are those that the onnx package put in."""
    graph, locations, labels = drawn
    model = helper.make_model(graph)
    contents = scan(memoryview(model.SerializeToString()), "model")
    assert contents.external == locations
    assert contents.zipmaps == labels


def test_functions_are_scanned() -> None:
    """A tensor inside a function of the model may lie in another file, too."""
    proto = located("w.bin").graph.initializer[0]
    constant = helper.make_node("Constant", [], ["c"], value=proto)
    function = helper.make_function("own", "f", [], ["c"], [constant], [])
    model = helper.make_model(helper.make_graph([], "g", [], []), functions=[function])
    assert scan(memoryview(model.SerializeToString()), "model").external == {"w.bin"}


def test_sparse_attributes_are_scanned() -> None:
    """A sparse constant's values may lie in another file, too."""
    sparse = onnx.SparseTensorProto(values=located("w.bin").graph.initializer[0])
    node = onnx.NodeProto(op_type="Constant", output=["c"])
    node.attribute.append(
        onnx.AttributeProto(
            name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse
        )
    )
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    assert scan(memoryview(model.SerializeToString()), "model").external == {"w.bin"}


def test_packed_labels() -> None:
    """Integers that a writer packed together are read like those it wrote one by one."""
    packed = field(1, b"classlabels_int64s") + field(8, varint(3) + varint(2**64 - 1))
    node = field(2, b"out") + field(4, b"ZipMap") + field(5, packed)
    model = field(7, field(1, node)) + field(99, b"later") + fixed(98)
    assert scan(memoryview(model), "model").zipmaps == {"out": (3, -1)}


@pytest.mark.parametrize(
    "data",
    [
        b"\x38\x01",  # a graph that is a number
        b"\x3a\x02\x08\x01",  # a node that is a number
        b"\x3a\x04\x0a\x02\x10\x01",  # an output's name that is a number
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length beyond 64 bits
        b"\xff" * 12,
        b"\x08" + b"\xff" * 10 + b"\x01\x3a\x00",  # a number beyond 64 bits, before a graph
        b"\x3b",  # a group, which nobody writes
        b"\x3a",
    ],
)
def test_wrong_wire_types(data: bytes) -> None:
    """A field of another type than the standard's is no ONNX model."""
    with pytest.raises(ConfigurationError, match="not an ONNX model"):
        scan(memoryview(data), "data")


def fixed(number: int) -> bytes:
    """Write one field of 4 bytes and one of 8."""
    return varint(number << 3 | 5) + struct.pack("<f", 1) + varint(number << 3 | 1) + bytes(8)
