"""The wire format, case by case: what is written, what is read, what is refused and how."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import InputMismatch, ProtocolError
from hybridmodel.remote.wire.json_text import decode_object, shown
from hybridmodel.remote.wire.layouts import decode_metadata
from hybridmodel.remote.wire.protocol import (
    HEADER_LENGTH,
    decode_request,
    encode_metadata,
    encode_request,
    encode_response,
    split_body,
)
from tests.support.protocol_parts import OUT, RAW, X, decode_response, head, response

BINARY = {**OUT, "parameters": {"binary_data_size": 8}}


def test_a_binary_request() -> None:
    """Every tensor states its size in bytes, and every output is asked for by itself."""
    names = np.array(["a", "ß"], object)
    message = encode_request({"x": X, "s": names}, ["y", "z"], request_id="r1")
    assert json.loads(message.header) == {
        "id": "r1",
        "inputs": [
            {
                "name": "x",
                "datatype": "FP32",
                "shape": [1, 2],
                "parameters": {"binary_data_size": 8},
            },
            {
                "name": "s",
                "datatype": "BYTES",
                "shape": [2],
                "parameters": {"binary_data_size": 11},
            },
        ],
        "outputs": [
            {"name": "y", "parameters": {"binary_data": True}},
            {"name": "z", "parameters": {"binary_data": True}},
        ],
    }
    strings = b"\x01\x00\x00\x00a\x02\x00\x00\x00\xc3\x9f"
    assert message.body() == message.header + RAW + strings
    assert message.headers == {
        "Content-Type": "application/octet-stream",
        HEADER_LENGTH: str(len(message.header)),
    }


def test_a_json_request() -> None:
    """Without the extension, values stand in the JSON as a flat list, and nothing follows it."""
    message = encode_request({"x": X}, ["y"], request_id="r1", binary=False)
    assert json.loads(message.header) == {
        "id": "r1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}],
        "outputs": [{"name": "y"}],
    }
    assert message.body() == message.header
    assert message.headers == {"Content-Type": "application/json"}


def test_a_contiguous_tensor_is_not_copied_to_be_encoded() -> None:
    """The buffer of a large array is sent from where it lies."""
    large = np.zeros(100_000, "<f4")
    (buffer,) = encode_request({"x": large}, ["y"], request_id="r").tensors
    assert np.shares_memory(np.frombuffer(buffer, np.uint8), large)


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6, dtype="<f4").reshape(2, 3)),
        np.asfortranarray(np.arange(6_000, dtype="<f4").reshape(2_000, 3)),
        np.arange(12, dtype="<i8").reshape(2, 6)[:, ::2],
        np.arange(12_000, dtype="<i8").reshape(2, 6_000)[:, ::2],
        np.array(5, "<i4"),
        np.ones((2, 0), "<f8"),
    ],
)
def test_any_layout_is_written_row_by_row(array: Any) -> None:
    """The wire holds rows one after the other, however the array lies in memory."""
    message = encode_request({"x": array}, [], request_id="r")
    assert b"".join(message.tensors) == array.tobytes("C")
    decoded = decode_request(*split_body(message.body(), str(len(message.header)))).inputs["x"]
    np.testing.assert_array_equal(decoded, array)
    assert decoded.shape == array.shape


def test_empty_tensors_need_no_second_part() -> None:
    """A response of empty tensors only is JSON without a header length, as Triton writes it."""
    empty = np.empty((0, 2), "<f4")
    message = encode_response(
        {"y": empty}, {"y": True}, model_name="m", model_version="1", request_id=None
    )
    assert message.headers == {"Content-Type": "application/json"}
    decoded = decode_response(message.body()).outputs["y"]
    assert (decoded.shape, decoded.dtype) == ((0, 2), empty.dtype)


def test_a_response() -> None:
    """Each output takes its own form; model, version and id are told."""
    message = encode_response(
        {"a": X, "b": X},
        {"a": True, "b": False},
        model_name="m",
        model_version="3",
        request_id="r1",
    )
    decoded = decode_response(message.header, message.body()[len(message.header) :])
    assert (decoded.model_name, decoded.model_version, decoded.request_id) == ("m", "3", "r1")
    assert list(decoded.outputs) == ["a", "b"]
    for array in decoded.outputs.values():
        np.testing.assert_array_equal(array, X)
        assert array.flags.writeable


def test_without_an_id_none_is_sent() -> None:
    """A request without an id gets a response without one."""
    message = encode_response({}, {}, model_name="m", model_version="1", request_id=None)
    assert "id" not in json.loads(message.header)
    assert decode_response(message.header).request_id is None


def test_float16_has_no_json() -> None:
    """FP16 without the binary extension is refused, with the tensor and a way out."""
    half = {"x": np.ones(1, "<f2")}
    message = r"tensor 'x': FP16 has no form in JSON.*FP32"
    with pytest.raises(InputMismatch, match=message):
        encode_request(half, [], request_id="r", binary=False)
    with pytest.raises(InputMismatch, match=message):
        encode_response(half, {"x": False}, model_name="m", model_version="1", request_id=None)


def test_any_value_can_be_shown() -> None:
    """A value that is too deep to be written is named by its kind."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "a deeply nested list"
    assert len(shown("x" * 1000)) == 80


def test_float16_in_json_is_read() -> None:
    """Some server may write FP16 in JSON all the same."""
    item = {"name": "y", "datatype": "FP16", "shape": [1], "data": [0.5]}
    assert response(item)["y"].dtype == np.float16


def test_arrays_are_views_of_a_writable_buffer() -> None:
    """A tensor that lies aligned in a buffer of our own is not copied."""
    buffer = bytearray(RAW)
    (array,) = response(BINARY, buffer).values()  # type: ignore[arg-type]
    assert np.shares_memory(array, np.frombuffer(buffer, np.uint8))


@pytest.mark.parametrize("kind", ["read-only", "unaligned"])
def test_other_buffers_are_copied(kind: str) -> None:
    """A tensor in bytes that are not ours, or at an odd address, becomes an array of its own."""
    items = [{"name": "b", "datatype": "BOOL", "shape": [1], "parameters": {"binary_data_size": 1}}]
    raw: Any = RAW
    if kind == "unaligned":
        raw = bytearray(b"\x01" + RAW)
    outputs = decode_response(
        head(outputs=[*(items if kind == "unaligned" else []), BINARY]), raw
    ).outputs
    array = outputs["y"]
    assert array.flags.writeable
    assert array.flags.aligned
    assert not np.shares_memory(array, np.frombuffer(raw, np.uint8))
    np.testing.assert_array_equal(array, X)


@pytest.mark.parametrize(
    ("item", "raw", "message"),
    [
        ({**BINARY, "shape": [1, 3]}, RAW, r"output 'y': FP32\[1, 3\] takes 12 bytes, 8 came"),
        ({**BINARY, "shape": [1, 1]}, RAW, "takes 4 bytes, 8 came"),
        (BINARY, RAW[:7], "announces 8 bytes, 7 bytes are left"),
        (BINARY, RAW + b"!", "1 bytes are left over after the last output"),
        ({**OUT, "parameters": {"binary_data_size": -1}}, RAW, "announces -1 bytes"),
        ({**OUT, "parameters": {"binary_data_size": True}}, RAW, "announces True bytes"),
        ({**OUT, "parameters": {"binary_data_size": "8"}}, RAW, "announces '8' bytes"),
        ({**OUT, "parameters": {"binary_data_size": 8.0}}, RAW, "announces 8.0 bytes"),
        ({**OUT, "parameters": {"binary_data_size": 10**99}}, RAW, "announces 1000"),
        ({**OUT, "parameters": {"binary_data_size": None}}, b"", "neither data nor a binary"),
        ({**OUT, "parameters": "binary"}, b"", "neither data nor a binary"),
        (OUT, b"", "has neither data nor a binary_data_size"),
        ({**OUT, "data": 5}, b"", "has neither data"),
        ({**OUT, "data": [1.0]}, b"", r"shape \[1, 2\] takes 2 values, 1 came"),
        ({**OUT, "data": [1.0, 2.0, 3.0]}, b"", "takes 2 values, 3 came"),
        ({**OUT, "data": [[1.0], [2.0, 3.0]]}, b"", "data is not FP32"),
        ({**OUT, "data": [1.0, "2"]}, b"", "data holds values that are not FP32"),
        ({**OUT, "data": [1.0, None]}, b"", "data holds null, which some servers write"),
        ({**OUT, "data": [True, False]}, b"", "data holds values that are not FP32"),
        ({**OUT, "data": [{}, []]}, b"", "data"),
        ({**OUT, "data": [1e39, 0]}, b"", "data is not FP32"),
        ({**OUT, "data": [10**400, 0]}, b"", "data holds values that are not FP32"),
        ({**OUT, "datatype": "INT8", "data": [1, 128]}, b"", "not INT8"),
        ({**OUT, "datatype": "UINT8", "data": [1, -1]}, b"", "not UINT8"),
        ({**OUT, "datatype": "INT64", "data": [1, 2**63]}, b"", "not INT64"),
        ({**OUT, "datatype": "UINT64", "data": [1, 2**64]}, b"", "not UINT64"),
        ({**OUT, "datatype": "INT32", "data": [1, 1.5]}, b"", "not INT32"),
        ({**OUT, "datatype": "BOOL", "data": [1, 0]}, b"", "not BOOL"),
        ({**OUT, "datatype": "BYTES", "data": ["a", 1]}, b"", "not BYTES"),
        ({**OUT, "datatype": "BYTES", "data": ["a", "\ud800"]}, b"", "not BYTES"),
        ({**OUT, "datatype": "BYTES", "data": ["ü", None]}, b"", "not BYTES"),
        ({**OUT, "datatype": "BF16", "data": []}, b"", "datatype 'BF16' is not one of FP32"),
        ({**OUT, "datatype": ["FP32"], "data": []}, b"", r"datatype \['FP32'\] is not one of"),
        ({"name": "y", "shape": [1], "data": [1]}, b"", "datatype None is not one of"),
        ({**OUT, "shape": None, "data": []}, b"", "shape None is not a list of sizes"),
        ({**OUT, "shape": [-1], "data": []}, b"", "is not a list of sizes"),
        ({**OUT, "shape": [1.0], "data": []}, b"", "is not a list of sizes"),
        ({**OUT, "shape": [True], "data": []}, b"", "is not a list of sizes"),
        ({**OUT, "shape": [1] * 33, "data": [1]}, b"", "is not a list of sizes"),
        ({**OUT, "shape": [2**40, 2**40], "data": [1]}, b"", "is larger than any array"),
        ({**OUT, "shape": [0, 2**62], "data": []}, b"", "is larger than any array"),
        ({**OUT, "shape": [10**4000], "data": []}, b"", "is larger than any array"),
        ({"datatype": "FP32", "shape": [], "data": [1]}, b"", "an output has no name"),
        ({**OUT, "name": 5, "data": [1, 2]}, b"", "an output has no name"),
        ("y", b"", "'outputs' is not a list of objects"),
    ],
)
def test_refused_outputs(item: Any, raw: bytes, message: str) -> None:
    """A tensor whose sizes or values do not add up is refused as a whole, in a short message."""
    with pytest.raises(ProtocolError, match=message) as caught:
        response(item, raw)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("datatype", "size", "raw", "message"),
    [
        ("BOOL", 2, b"\x00\x02", "a BOOL byte is neither 0 nor 1"),
        ("BYTES", 7, bytes(7), "7 bytes cannot hold 2 strings"),
        ("BYTES", 8, struct.pack("<II", 4, 0), "string 1 of 2 is longer than what is left"),
        ("BYTES", 8, struct.pack("<II", 5, 0), "string 0 of 2 is longer than what is left"),
        ("BYTES", 8, struct.pack("<II", 2**32 - 1, 0), "string 0 of 2 is longer"),
        ("BYTES", 9, struct.pack("<I", 1) + b"\xff" + bytes(4), "string 0 is not UTF-8"),
        ("BYTES", 12, bytes(12), "4 bytes after the last string"),
    ],
)
def test_refused_bytes(datatype: str, size: int, raw: bytes, message: str) -> None:
    """Raw bytes that are no such tensor are refused."""
    item = {
        "name": "y",
        "datatype": datatype,
        "shape": [1, 2],
        "parameters": {"binary_data_size": size},
    }
    with pytest.raises(ProtocolError, match=f"^output 'y': {message}"):
        response(item, raw)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "cannot be read"),
        (b"<html>", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1, 2", "cannot be read"),
        (b"[" * 10**5, "cannot be read"),
        (b'{"outputs": ' + b"9" * 5000 + b"}", "cannot be read"),
        (b"[]", "is a list, not an object"),
        (b"null", "is a NoneType, not an object"),
        (b"NaN", "is a float, not an object"),
        (b"{}", "'outputs' is not a list of objects"),
        (b'{"outputs": {}}', "'outputs' is not a list of objects"),
        (b'{"outputs": [[]]}', "'outputs' is not a list of objects"),
        (b'{"error": "no GPU", "outputs": []}', "reports an error: 'no GPU'"),
        (b'{"error": ' + b"[" * 900 + b"]" * 900 + b"}", "reports an error"),
    ],
)
def test_refused_headers(header: bytes, message: str) -> None:
    """What is no response is refused, however long or deep it is, in a short message."""
    with pytest.raises(ProtocolError, match=message) as caught:
        decode_response(header)
    assert len(str(caught.value)) < 300


def test_an_output_that_comes_twice_is_refused() -> None:
    """Two tensors of one name leave open which is meant."""
    item = {**OUT, "data": [1, 2]}
    with pytest.raises(ProtocolError, match="output 'y' appears twice"):
        decode_response(head(outputs=[item, item]))


def test_doubled_keys_count_once() -> None:
    """Of doubled keys in JSON the last counts, and sizes are checked against that."""
    header = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[9],"shape":[1],"data":[2]}]}'
    assert decode_response(header).outputs["y"].tolist() == [2.0]


def test_nan_and_infinity_in_json() -> None:
    """The words that Triton writes for what JSON has no number for are read."""
    header = (
        b'{"outputs":[{"name":"y","datatype":"FP32","shape":[3],"data":[NaN,Infinity,-Infinity]}]}'
    )
    np.testing.assert_array_equal(
        decode_response(header).outputs["y"], np.array([np.nan, np.inf, -np.inf])
    )


def test_nested_data_is_read() -> None:
    """Lists may be nested as the shape is, or flat."""
    assert response({**OUT, "data": [[1, 2]]})["y"].tolist() == [[1.0, 2.0]]


def test_integers_beyond_a_double_are_exact() -> None:
    """A 64-bit integer in JSON keeps its last digit."""
    item = {"name": "y", "datatype": "INT64", "shape": [2], "data": [2**53 + 1, -(2**63)]}
    assert response(item)["y"].tolist() == [2**53 + 1, -(2**63)]


@pytest.mark.parametrize(
    ("fields", "outputs", "binary"),
    [
        ({}, {}, False),
        ({"parameters": {"binary_data_output": True}}, {}, True),
        ({"outputs": [{"name": "y"}]}, {"y": False}, False),
        (
            {"outputs": [{"name": "y", "parameters": {"binary_data": True}}, {"name": "z"}]},
            {"y": True, "z": False},
            False,
        ),
    ],
)
def test_what_a_request_asks_for(fields: Any, outputs: dict[str, bool], binary: bool) -> None:
    """A request says which outputs it wants, and which of them binary."""
    request = decode_request(head(inputs=[], **fields))
    assert dict(request.outputs) == outputs
    assert request.binary is binary
    assert request.request_id is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "'inputs' is not a list of objects"),
        ({"inputs": [], "outputs": None}, "'outputs' is not a list of objects"),
        ({"inputs": [], "outputs": [{}]}, "an output has no name"),
        ({"inputs": [{}]}, "an input has no name"),
        (
            {"inputs": [], "parameters": {"binary_data_output": "false"}},
            "parameter 'binary_data_output' is 'false', not true or false",
        ),
        (
            {"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
            "parameter 'binary_data' is 1",
        ),
    ],
)
def test_refused_requests(fields: Any, message: str) -> None:
    """What is no request is refused; "false" must not come to mean true."""
    with pytest.raises(ProtocolError, match=message):
        decode_request(head(**fields))


def test_metadata_survives() -> None:
    """What a server says of a model, a client reads."""
    spec = ModelSpec(
        (TensorSpec("x", "FP32", (-1, 3)), TensorSpec("s", "BYTES", ())),
        (TensorSpec("y", "INT64", (-1,)),),
    )
    described = encode_metadata("m", ["1", "2"], spec)
    assert (described["name"], described["versions"]) == ("m", ["1", "2"])
    assert decode_metadata(json.dumps(described).encode()) == spec


def test_metadata_with_sizes_as_text() -> None:
    """Sizes that went through protobuf's JSON are strings, and mean the same."""
    item = {"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}
    assert decode_metadata(head(inputs=[item], outputs=[])).inputs[0].shape == (-1, 3)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"datatype": "FP32", "shape": []}, "an input has no name"),
        ({"name": "x", "datatype": "BF16", "shape": []}, "input 'x': datatype 'BF16'"),
        ({"name": "x", "datatype": "FP32"}, "input 'x': shape None is not a list of sizes"),
        ({"name": "x", "datatype": "FP32", "shape": [True]}, r"shape \[True\] is not"),
        ({"name": "x", "datatype": "FP32", "shape": [-2]}, r"shape \[-2\] is not"),
        ({"name": "x", "datatype": "FP32", "shape": [1.5]}, r"shape \[1.5\] is not"),
        ({"name": "x", "datatype": "FP32", "shape": ["many"]}, r"shape \['many'\] is not"),
        ({"name": "x", "datatype": "FP32", "shape": [None]}, r"shape \[None\] is not"),
    ],
)
def test_refused_metadata(item: Any, message: str) -> None:
    """A description that names no tensor of ours is refused."""
    with pytest.raises(ProtocolError, match=message):
        decode_metadata(head(inputs=[item], outputs=[]))


def test_any_object_is_read() -> None:
    """Other answers are JSON objects, too."""
    assert decode_object(bytearray(b'{"extensions": []}')) == {"extensions": []}


@pytest.mark.parametrize(("length", "cut"), [(None, 5), ("5", 5), ("1", 1), ("0000000003", 3)])
def test_a_body_is_cut(length: str | None, cut: int) -> None:
    """The header length cuts the body; without one, all of it is JSON."""
    header, tensors = split_body(b"12345", length)
    assert (bytes(header), bytes(tensors)) == (b"12345"[:cut], b"12345"[cut:])


@pytest.mark.parametrize(
    "length", ["0", "6", "-1", "+1", "1.0", "1e0", "", " 1", "0x1", "²", "٣", "9" * 11, "9" * 5000]
)
def test_impossible_header_lengths(length: str) -> None:
    """A length that is no number, or beyond the body, is refused in a short message."""
    with pytest.raises(ProtocolError, match=f"^{HEADER_LENGTH} is ") as caught:
        split_body(b"12345", length)
    assert len(str(caught.value)) < 150
