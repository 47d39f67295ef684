"""Laws of the wire format: what is written is read, and nothing else is ever believed."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire import layouts
from hybridmodel.remote.wire.layouts import decode_metadata
from hybridmodel.remote.wire.memo import Memo
from hybridmodel.remote.wire.protocol import (
    HEADER_LENGTH,
    Message,
    decode_request,
    encode_request,
    encode_response,
    split_body,
)
from tests.support.protocol_parts import decode_response
from tests.support.strategies import Array, arrays, damaged, datatypes, json_values, law, names

OBJECTS = 60
"""Bytes that one byte of JSON can take: seven for an empty object with one key take 232."""

MARGIN_BYTES = 300_000
"""For messages, the compiled regular expressions, what is imported, what is remembered."""

Decode = Callable[..., Any]
readers = st.sampled_from([decode_response, decode_request])
tensors = st.dictionaries(names, arrays(), max_size=3)
json_tensors = st.dictionaries(
    names, arrays(datatypes.filter(lambda name: name != "FP16")), max_size=3
)


def parts(message: Message) -> tuple[memoryview, memoryview]:
    """Send a message: join it and cut it again where its headers say."""
    return split_body(bytearray(message.body()), message.headers.get(HEADER_LENGTH))


def assert_same(read: Any, written: dict[str, Array]) -> None:
    """Check names and order, dtypes, shapes, values, and that the arrays are the reader's own."""
    assert list(read) == list(written)
    for name, array in written.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)
        assert read[name].flags.writeable


def believe(decode: Decode, header: Any, raw: Any) -> None:
    """Decode anything: a protocol error, or arrays of exactly the sizes that it announces.

    Either way it takes no more memory than the objects that so much JSON can stand for.
    """
    tracemalloc.start()
    try:
        decoded = decode(header, raw)
    except ProtocolError:
        return
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= OBJECTS * len(header) + len(raw) + MARGIN_BYTES
    key = "outputs" if decode is decode_response else "inputs"
    stated = json.loads(bytes(header))[key]
    arrays_read = getattr(decoded, key)
    assert [item["name"] for item in stated] == list(arrays_read)
    for item in stated:
        assert list(arrays_read[item["name"]].shape) == item["shape"]


@law
@given(tensors, st.lists(names, unique=True, max_size=3), names)
def test_binary_requests(inputs: dict[str, Array], outputs: list[str], request_id: str) -> None:
    """Decoding undoes encoding for every datatype and shape, bit by bit."""
    message = encode_request(inputs, outputs, request_id=request_id)
    request = decode_request(*parts(message))
    assert_same(request.inputs, inputs)
    assert request.outputs == dict.fromkeys(outputs, True)
    assert request.request_id == request_id


@law
@given(json_tensors, st.lists(names, unique=True, max_size=3))
def test_json_requests(inputs: dict[str, Array], outputs: list[str]) -> None:
    """Without the extension, decoding undoes encoding for every datatype but FP16."""
    message = encode_request(inputs, outputs, request_id="r", binary=False)
    request = decode_request(*parts(message))
    assert_same(request.inputs, inputs)
    assert request.outputs == dict.fromkeys(outputs, False)


@law
@given(json_tensors, st.data())
def test_mixed_responses(outputs: dict[str, Array], data: st.DataObject) -> None:
    """Outputs survive in either form, in any mixture."""
    binary = {name: data.draw(st.booleans()) for name in outputs}
    message = encode_response(outputs, binary, model_name="m", model_version="7", request_id="r")
    response = decode_response(*parts(message))
    assert_same(response.outputs, outputs)
    assert (response.model_name, response.model_version, response.request_id) == ("m", "7", "r")


@law
@given(tensors)
def test_binary_responses(outputs: dict[str, Array]) -> None:
    """Outputs of every datatype and shape survive in raw bytes."""
    message = encode_response(
        outputs, dict.fromkeys(outputs, True), model_name="", model_version="", request_id=None
    )
    assert_same(decode_response(*parts(message)).outputs, outputs)


@law
@given(readers, st.binary(max_size=300), st.binary(max_size=50))
def test_any_bytes(decode: Decode, header: bytes, raw: bytes) -> None:
    """Bytes at random are refused, and by nothing but a protocol error."""
    believe(decode, header, raw)


@law
@given(readers, json_values, st.binary(max_size=20))
def test_any_json(decode: Decode, value: Any, raw: bytes) -> None:
    """JSON at random, where the list of tensors or the whole header should be."""
    believe(decode, json.dumps(value).encode(), raw)
    believe(decode, json.dumps({"outputs": value, "inputs": value}).encode(), raw)


@st.composite
def almost_tensors(draw: st.DrawFn) -> Any:
    """Draw the description of a tensor in which any part may be nonsense."""
    sizes = st.lists(st.integers(-2, 4) | st.sampled_from([2**31, 2**63, 2**64, True]), max_size=3)
    item = {
        "name": draw(st.sampled_from(["x", "y"]) | json_values),
        "datatype": draw(datatypes | json_values),
        "shape": draw(sizes | json_values),
        "data": draw(st.lists(json_values, max_size=4) | json_values),
        "parameters": draw(
            st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40) | json_values})
            | json_values
        ),
    }
    kept = draw(st.sets(st.sampled_from(sorted(item)), min_size=3))
    return {key: value for key, value in item.items() if key in kept}


@law
@given(readers, st.lists(almost_tensors(), max_size=3), st.binary(max_size=40))
def test_almost_tensors(decode: Decode, items: Any, raw: bytes) -> None:
    """Descriptions that are nearly right are refused, or right."""
    believe(decode, json.dumps({"outputs": items, "inputs": items}).encode(), raw)


@law
@given(json_tensors, st.booleans(), st.data())
def test_damaged_messages(inputs: dict[str, Array], binary: bool, data: st.DataObject) -> None:
    """A good message with bytes changed, lost or added is refused, or adds up."""
    message = encode_request(inputs, [], request_id="r", binary=binary)
    body = data.draw(damaged(message.body()))
    cut = data.draw(st.integers(0, len(body)) | st.just(min(len(message.header), len(body))))
    believe(decode_request, body[:cut], body[cut:])


@law
@given(tensors, st.data())
def test_any_split(inputs: dict[str, Array], data: st.DataObject) -> None:
    """Cut anywhere but between header and tensors, a message is refused."""
    message = encode_request(inputs, ["y"], request_id="r")
    body = message.body()
    cut = data.draw(st.integers(1, len(body)))
    header, raw = split_body(body, str(cut))
    if cut == len(message.header):
        assert_same(decode_request(header, raw).inputs, inputs)
    else:
        with pytest.raises(ProtocolError):
            decode_request(header, raw)


@law
@given(st.text(max_size=12) | st.integers(-5, 50).map(str), st.binary(max_size=30))
@example("²", b"12")
def test_any_header_length(length: str, body: bytes) -> None:
    """Any header length is refused, or cuts the body in two."""
    try:
        header, raw = split_body(body, length)
    except ProtocolError:
        return
    assert 0 < int(length) == len(header)
    assert bytes(header) + bytes(raw) == body


@law
@given(json_values, st.lists(almost_tensors(), max_size=2))
def test_any_metadata(value: Any, items: Any) -> None:
    """A description of a model is refused, or has the tensors that it lists."""
    for head in (value, {"inputs": items, "outputs": items}):
        try:
            spec = decode_metadata(json.dumps(head).encode())
        except ProtocolError:
            continue
        assert [item["name"] for item in items] == list(spec.input_names)


@pytest.mark.parametrize("depth", [10, 62, 64, 65, 200, 400, 700, 900, 940, 960, 980, 990, 2000])
@pytest.mark.parametrize("place", ["name", "datatype", "shape", "data", "parameters", "size"])
@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_deep_nesting(place: str, depth: int, datatype: str) -> None:
    """Lists within lists within lists are refused at any depth, wherever they stand."""
    deep = "[" * depth + "1" + "]" * depth
    fields = {
        "name": '"y"',
        "datatype": f'"{datatype}"',
        "shape": "[1]",
        "data": '["1"]' if datatype == "BYTES" else "[1]",
        "parameters": "{}",
    }
    if place == "size":
        fields["parameters"] = f'{{"binary_data_size": {deep}}}'
    else:
        fields[place] = deep
    body = ", ".join(f'"{key}": {value}' for key, value in fields.items())
    believe(decode_response, f'{{"outputs": [{{{body}}}]}}'.encode(), b"")


@law
@given(arrays(datatypes.filter(lambda name: name != "BYTES")), st.integers(0, 4))
def test_numbers_take_no_memory_beside_their_bytes(array: Array, shift: int) -> None:
    """Raw numbers in a buffer of our own stay there, and are copied once where they must be."""
    repeated = np.concatenate([array.ravel()] * 500) if array.size else array
    outputs = {"y": repeated}
    message = encode_response(
        outputs, {"y": True}, model_name="m", model_version="1", request_id="r"
    )
    buffer = bytearray(bytes(shift) + b"".join(message.tensors))
    tracemalloc.start()
    read = decode_response(message.header, memoryview(buffer)[shift:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    aligned = shift % array.itemsize == 0
    assert peak <= MARGIN_BYTES + (0 if aligned else repeated.nbytes)
    assert_same(read.outputs, outputs)


def outcome(header: bytes, raw: bytes) -> Any:
    """Say everything about how a response is read."""
    try:
        read = decode_response(header, bytearray(raw))
    except ProtocolError as error:
        return str(error)
    arrays_read = [
        (name, array.dtype, array.shape, array.tolist()) for name, array in read.outputs.items()
    ]
    return repr((arrays_read, read.model_name, read.model_version, read.request_id))


def assert_same_however_often(header: bytes, raw: bytes) -> None:
    """Read a response when nothing is known, and when all is that can be known of it."""
    layouts._layouts = Memo()
    first = outcome(header, raw)
    assert outcome(header, raw) == first
    for other in (b"other", b"", b"a"):
        start = layouts._ID.match(header)
        if start is not None:
            changed = header.replace(start[1], other, 1) if start[1] else header
            outcome(changed, raw)
    assert outcome(header, raw) == first


ids = st.from_regex(r"[\w-]{0,6}", fullmatch=True) | st.text(max_size=6)
tails = st.dictionaries(
    st.sampled_from(["id", "model_name", "model_version", "parameters", "error"]),
    st.sampled_from(["a", "b"]) | json_values,
    max_size=3,
)


@law
@given(tensors, ids, tails, st.booleans(), st.data())
def test_what_is_known_changes_nothing(
    outputs: dict[str, Array], request_id: str, tail: Any, escaped: bool, data: st.DataObject
) -> None:
    """A response, whole or damaged, is read alike whether one like it came before or not."""
    message = encode_response(
        outputs, dict.fromkeys(outputs, True), model_name="m", model_version="1", request_id="r"
    )
    described = json.loads(message.header)["outputs"]
    pieces = [f'"id":{json.dumps(request_id)}', f'"outputs":{json.dumps(described)}']
    pieces += [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in tail.items()]
    header = ("{" + ",".join(pieces) + "}").encode()
    if escaped:
        header = header.replace(b'"id"', b'"\\u0069d"').replace(b'"\\u0069d"', b'"id"', 1)
    raw = b"".join(message.tensors)
    assert_same_however_often(header, raw)
    assert_same_however_often(data.draw(damaged(header)), raw)
    assert_same_however_often(header, data.draw(damaged(raw)))


@law
@given(st.binary(max_size=100), st.binary(max_size=20))
def test_what_is_known_changes_nothing_for_any_bytes(rest: bytes, raw: bytes) -> None:
    """Bytes at random, behind what looks like an id, are read alike each time."""
    assert_same_however_often(b'{"id":"a"' + rest, raw)


@law
@given(tensors, st.lists(ids, min_size=2, max_size=5))
def test_ids_are_never_confused(outputs: dict[str, Array], request_ids: list[str]) -> None:
    """Of many answers with the same tensors each has the id that it came with."""
    layouts._layouts = Memo()
    for request_id in request_ids:
        message = encode_response(
            outputs,
            dict.fromkeys(outputs, True),
            model_name="m",
            model_version="1",
            request_id=request_id,
        )
        assert decode_response(*parts(message)).request_id == (request_id or None)
