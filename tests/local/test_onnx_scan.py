"""Every other file that an ONNX file may name is found, however it is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local import onnx_scan
from hybridmodel.local.onnx_scan import scan
from hybridmodel.local.protobuf import fields
from tests.local.test_onnx_file import field, varint
from tests.support import models
from tests.support.strategies import law

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXTERNAL = TensorProto.EXTERNAL


def elsewhere(location: str | None = "w.bin", **parts: Any) -> TensorProto:
    """Make a tensor that is said to lie in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], **parts)
    if location is not None:
        tensor.external_data.add(key="location", value=location)
    return tensor


def attribute(**parts: Any) -> AttributeProto:
    """Make an attribute, of whatever kinds at the same time."""
    return AttributeProto(name="value", **parts)


def with_nodes(*nodes: NodeProto) -> ModelProto:
    """Make a model of nodes alone."""
    return helper.make_model(helper.make_graph(nodes, "g", [], []))


def with_attribute(made: AttributeProto) -> ModelProto:
    """Make a model of one node with one attribute."""
    return with_nodes(NodeProto(op_type="Constant", output=["c"], attribute=[made]))


def with_tensor(tensor: TensorProto) -> ModelProto:
    """Make a model of one initializer."""
    return helper.make_model(helper.make_graph([], "g", [], [], [tensor]))


def trained(part: str) -> ModelProto:
    """Keep a tensor in what the model says of its training."""
    model = with_nodes()
    getattr(model.training_info.add(), part).initializer.append(elsewhere())
    return model


def of_function() -> ModelProto:
    """Keep a tensor in the default of a function's attribute."""
    model = with_nodes()
    model.functions.add().attribute_proto.append(attribute(t=elsewhere()))
    return model


def compiled(*attributes: tuple[str, Any]) -> ModelProto:
    """Make a graph that was compiled for a device."""
    made = [helper.make_attribute(name, value) for name, value in attributes]
    return with_nodes(NodeProto(op_type="EPContext", domain="com.microsoft", attribute=made))


GRAPH = helper.make_graph([], "inner", [], [], [elsewhere()])
SPARSE = onnx.SparseTensorProto(values=elsewhere())
NAMING = {
    "external_data without data_location": lambda: with_tensor(elsewhere()),
    "data_location DEFAULT": lambda: with_tensor(elsewhere(data_location=TensorProto.DEFAULT)),
    "values beside": lambda: with_tensor(elsewhere(data_location=EXTERNAL, float_data=[1.0])),
    "raw_data beside": lambda: with_tensor(elsewhere(data_location=EXTERNAL, raw_data=b"\0" * 4)),
    "indices of a sparse tensor": lambda: with_attribute(
        attribute(sparse_tensor=onnx.SparseTensorProto(indices=elsewhere()))
    ),
    "a tensor of a node": lambda: with_attribute(attribute(t=elsewhere())),
    "tensors of a node": lambda: with_attribute(attribute(tensors=[TensorProto(), elsewhere()])),
    "graphs of a node": lambda: with_attribute(attribute(graphs=[GRAPH])),
    "sparse tensors of a node": lambda: with_attribute(attribute(sparse_tensors=[SPARSE])),
    "numbers and tensors": lambda: with_attribute(attribute(ints=[1, 2], tensors=[elsewhere()])),
    "numbers and graphs": lambda: with_attribute(attribute(floats=[0.0], graphs=[GRAPH])),
    "texts and sparse tensors": lambda: with_attribute(
        attribute(strings=[b"a"], sparse_tensors=[SPARSE])
    ),
    "the initialization of a training": lambda: trained("initialization"),
    "the algorithm of a training": lambda: trained("algorithm"),
    "the default of a function's attribute": of_function,
    "a compiled graph": lambda: compiled(("embed_mode", 0), ("ep_cache_context", "w.bin")),
    "an unknown way to embed": lambda: compiled(("embed_mode", 7), ("ep_cache_context", "w.bin")),
}


@pytest.mark.parametrize("kind", NAMING)
def test_every_place_is_looked_at(kind: str) -> None:
    """A file is found wherever the format has room for its name, also beside plain values."""
    data = NAMING[kind]().SerializeToString()
    assert scan(memoryview(data), "model").external == {"w.bin"}


def test_every_location_counts() -> None:
    """Where a tensor names several files, all of them are found: readers differ in which counts."""
    tensor = elsewhere("a")
    tensor.external_data.add(key="offset", value="1")
    tensor.external_data.add(key="location", value="b")
    data = with_tensor(tensor).SerializeToString()
    assert scan(memoryview(data), "model").external == {"a", "b"}


@pytest.mark.parametrize("kind", [0, 1, 5])
def test_a_field_of_another_kind_hides_no_location(kind: int) -> None:
    """A key of an entry that readers skip, since it is no text, does not stand for the text."""
    skipped = varint(1 << 3 | kind) + {0: b"\x01", 1: b"metadata", 5: b"size"}[kind]
    pair = field(1, b"location") + skipped + field(2, b"../w.bin")
    tensor = elsewhere("inside.bin").SerializeToString() + field(13, pair)
    found = scan(memoryview(field(7, field(5, tensor))), "model").external
    assert found == {"inside.bin", "../w.bin"}


def test_a_location_without_a_value_is_found() -> None:
    """A location that readers take for the empty text is one."""
    tensor = elsewhere("inside.bin").SerializeToString() + field(13, field(1, b"location"))
    assert scan(memoryview(field(7, field(5, tensor))), "model").external == {"inside.bin", ""}


@pytest.mark.parametrize(
    "made",
    [
        lambda: compiled(("embed_mode", 1), ("ep_cache_context", b"\xff\x00")),
        lambda: compiled(("main_context", 0)),
        lambda: with_attribute(attribute(strings=[b"location"], floats=[1.0])),
        lambda: with_tensor(TensorProto(data_location=TensorProto.DEFAULT, raw_data=b"1234")),
        lambda: onnx.load_from_string(models.linear()),
    ],
)
def test_what_names_no_file(made: Callable[[], ModelProto]) -> None:
    """Models that hold all they need name no file."""
    assert scan(memoryview(made().SerializeToString()), "model").external == set()


@pytest.mark.parametrize(
    "tensor",
    [
        elsewhere(None, data_location=EXTERNAL),
        elsewhere(None, data_location=EXTERNAL, raw_data=b"1234"),
        TensorProto(external_data=[onnx.StringStringEntryProto(key="offset", value="4")]),
        TensorProto(external_data=[onnx.StringStringEntryProto()]),
    ],
)
def test_a_file_without_a_name_is_refused(tensor: TensorProto) -> None:
    """A tensor that lies in another file, which is not named, is no model's."""
    with pytest.raises(ConfigurationError, match="which is not named"):
        scan(memoryview(with_tensor(tensor).SerializeToString()), "model")


@pytest.mark.parametrize("key", [0, 7, 1 << 32 | 7 << 3 | 2, 1 << 35 | 7 << 3 | 2, 1 << 63])
def test_keys_that_readers_cut_are_refused(key: int) -> None:
    """A field whose number is 0, or longer than readers keep, is no model's."""
    data = varint(key) + b"\x00" + models.linear()
    with pytest.raises(ConfigurationError, match="not an ONNX model"):
        scan(memoryview(data), "model")


@law
@given(st.lists(st.integers(0, 2**70 - 1), max_size=3), st.booleans())
def test_any_place_but_here_is_elsewhere(places: list[int], is_named: bool) -> None:
    """Whatever ``data_location`` is written, only 0 and nothing mean that the data lies here."""
    tensor = elsewhere("w.bin" if is_named else None).SerializeToString()
    tensor += b"".join(varint(14 << 3) + varint(place) for place in places)
    data = field(7, field(5, tensor))
    if is_named:
        assert scan(memoryview(data), "model").external == {"w.bin"}
    elif any(places):
        with pytest.raises(ConfigurationError, match="not an ONNX model"):
            scan(memoryview(data), "model")
    else:
        assert scan(memoryview(data), "model").external == set()


def test_settings_for_onnxruntime_are_noticed() -> None:
    """Metadata by which onnxruntime can be told to write files is reported."""
    model = onnx.load_from_string(models.linear())
    model.metadata_props.add(key="author", value="ort_config")
    assert not scan(memoryview(model.SerializeToString()), "model").has_settings
    model.metadata_props.add(key="ort_config", value="{}")
    assert scan(memoryview(model.SerializeToString()), "model").has_settings


@pytest.mark.parametrize(
    "model",
    [
        with_attribute(helper.make_attribute("nodes_values", [1.0] * 1_000_000)),
        with_tensor(numpy_helper.from_array(np.zeros(1_000_000, np.float32))),
    ],
    ids=["the numbers of trees", "weights"],
)
def test_what_can_name_no_file_is_skipped(
    model: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Millions of numbers are not looked at one by one."""
    seen = []

    def counted(view: Any) -> Iterator[Any]:
        for item in fields(view):
            seen.append(item)
            yield item

    monkeypatch.setattr(onnx_scan, "fields", counted)
    scan(memoryview(model.SerializeToString()), "model")
    assert 0 < len(seen) < 30
