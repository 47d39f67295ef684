"""What an answer may cost: memory, time and work are bounded by what was asked and what came."""

from __future__ import annotations

import gzip
import json
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridModelError,
    ModelSpec,
    ProtocolError,
    SpecMismatch,
    TensorSpec,
    TritonEndpoint,
)
from hybridmodel.remote.answers import answer_limit
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http.connection import Connection, HttpRequest, Reply
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire import layouts, tensor_data
from hybridmodel.remote.wire.json_text import JsonLimit, decode_object
from hybridmodel.remote.wire.protocol import encode_response
from tests.support.faulty import FEEDS, SPEC, FaultyEndpoint, Script, http, raw

MARGIN_BYTES = 300_000
"""What a call takes whatever comes: a piece of 64 kB or two, and modules that are imported late."""


def spec(datatype: str, *shape: int) -> ModelSpec:
    """Describe a model with one output of so many rows."""
    x = TensorSpec("x", "FP32", (-1,), True)
    return ModelSpec((x,), (TensorSpec("y", datatype, (-1, *shape), True),))


def head(status: int = 200, **headers: object) -> bytes:
    """Write the first part of an answer."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


def whole(body: bytes, status: int = 200, **headers: object) -> bytes:
    """Write an answer with its length."""
    return head(status, Content_Length=len(body), **headers) + body


def binary(described: bytes, tensors: bytes) -> bytes:
    """Write an answer with binary tensors."""
    return whole(described + tensors, Inference_Header_Content_Length=len(described))


def output(shape: list[int], datatype: str = "FP32", size: int | None = None) -> bytes:
    """Describe an output of `size` bytes."""
    item: dict[str, Any] = {"name": "y", "datatype": datatype, "shape": shape}
    item["parameters"] = {"binary_data_size": size}
    return json.dumps({"outputs": [item]}).encode()


def values(data: bytes, shape: list[int], datatype: str = "FP32") -> bytes:
    """Write an answer whose values stand in the JSON."""
    described = json.dumps({"name": "y", "datatype": datatype, "shape": shape}).encode()
    return whole(b'{"outputs":[' + described[:-1] + b',"data":' + data + b"}]}")


def padded(junk: bytes, size: int) -> bytes:
    """Write JSON of about so many bytes, made of the same again and again."""
    return b'{"outputs":[],"z":[' + junk * (size // len(junk)) + b"1]}"


def chunked(pieces: Iterator[bytes]) -> bytes:
    """Write a body in chunks, without an end."""
    head_ = head(Transfer_Encoding="chunked", Inference_Header_Content_Length=2)
    return head_ + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def arrays(**outputs: np.ndarray) -> bytes:
    """Write a good answer."""
    message = encode_response(
        outputs,
        dict.fromkeys(outputs, True),
        model_name="m",
        model_version="1",
        request_id=None,
    )
    return binary(message.header, b"".join(message.tensors))


BOMB = gzip.compress(bytes(100_000_000))
TINY_STRINGS = bytes(4_000_000)


@dataclass(frozen=True)
class Case:
    """What comes, of what model, for how many rows; and what the answer itself needs in bytes."""

    name: str
    sent: bytes
    kind: type[HybridModelError] | None = ProtocolError
    model: ModelSpec = field(default_factory=lambda: spec("FP32", 2))
    rows: int = 1
    binary: bool = True
    needs: int = 0


CASES = [
    Case("gzip", whole(BOMB, Content_Encoding="gzip")),
    Case("gzip in chunks", head(Content_Encoding="gzip", Transfer_Encoding="chunked") + b"1\r\na"),
    Case("gzip of a refusal", whole(BOMB, 400, Content_Encoding="gzip"), EndpointRefused),
    Case("lists", whole(padded(b"[],", 1_000_000))),
    Case("lists in lists", whole(b"[" * 1_000_000)),
    Case("objects", whole(padded(b"{},", 1_000_000))),
    Case("numbers", whole(padded(b"300,", 1_000_000))),
    Case("texts", whole(padded(b'"ab",', 1_000_000))),
    Case("a long text", whole(b'{"id":"' + b"a" * 1_000_000 + b'","outputs":[]}')),
    Case("a long name", whole(b'{"outputs":[{"name":"' + b"a" * 1_000_000 + b'"}]}')),
    Case("wide letters", whole('{"id":"😀'.encode() + b"a" * 1_000_000 + b'","outputs":[]}')),
    Case("escaped letters", whole(b'{"id":"\\ud83d\\ude00' + b"a" * 1_000_000 + b'"}')),
    Case("a long number", whole(b'{"outputs":' + b"9" * 1_000_000 + b"}")),
    Case("UTF-16", whole(padded(b"[],", 100_000).decode().encode("utf-16"))),
    Case("a large JSON", whole(padded(b"a", 20_000_000))),
    Case("a large JSON in chunks", head(Transfer_Encoding="chunked")
         + b"1000000\r\n" + bytes(20_000_000)),
    Case("a large JSON without a length", head() + bytes(20_000_000)),
    Case("a large header of tensors", whole(bytes(20_000_000),
         Inference_Header_Content_Length=19_000_000)),
    Case("a large refusal", whole(b"x" * 20_000_000, 400), EndpointRefused),
    Case("a large refusal in chunks", head(400, Transfer_Encoding="chunked")
         + b"1000000\r\n" + b"x" * 20_000_000, EndpointRefused),
    Case("a large refusal without a length", head(400) + b"x" * 20_000_000, EndpointRefused),
    Case("a refusal of lists", whole(b'{"error":[' + b"[]," * 20_000, 400), EndpointRefused),
    Case("many headers", b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 16_000 + b"\r\n"),
    Case("a header without end", b"HTTP/1.1 200 OK\r\na:" + b"a" * 1_000_000),
    Case("interim answers", b"HTTP/1.1 100 C\r\n\r\n" * 100_000),
    Case("tiny chunks", chunked(b"a" for _ in range(60_000)), EndpointUnavailable),
    Case("trailers", head(Transfer_Encoding="chunked") + b"0\r\n" + b"a: b\r\n" * 200_000),
    Case("strings instead of numbers",
         binary(output([1_000_000], "BYTES", 4_000_000), TINY_STRINGS), SpecMismatch),
    Case("another size", binary(output([1, 500_000], size=2_000_000), bytes(2_000_000)),
         SpecMismatch),
    Case("a shape of tebibytes", binary(output([1, 2**40], size=2**42), b"1234"), SpecMismatch,
         spec("FP32", 7)),
    Case("an announced shape of tebibytes",
         binary(output([1, 2**40], size=2**42), b"1234"), ProtocolError, spec("FP32", -1)),
    Case("one long text among numbers", values(b'["' + b"a" * 30_000 + b'"' + b",1" * 999 + b"]",
         [1000, 1]), ProtocolError, spec("FP32", 1), 1000),
    Case("numbers that are too many", values(b"[" + b"1.5," * 100_000 + b"1]", [1, 2])),
    Case("a good answer", arrays(y=np.ones((1_000_000, 2), np.float32)), None,
         rows=1_000_000, needs=8_000_000),
    Case("a good answer that is not aligned", binary(
         output([1_000_000, 2], "FP64", 16_000_000) + b" ", bytes(16_000_000)), None,
         spec("FP64", 2), 1_000_000, needs=16_000_000),
    # A number of JSON is an object of 24 bytes and a place in a list, before it is in an array.
    Case("a good answer in JSON", values(b"[" + b"0.12345678," * 399_999 + b"1.5]", [200_000, 2]),
         None, spec("FP32", 2), 200_000, binary=False, needs=400_000 * (24 + 8 + 8 + 4)),
    Case("nested lists of a good answer", values(b"[" + b"[0.5,0.25]," * 199_999 + b"[1.5,1]]",
         [200_000, 2]), None, spec("FP32", 2), 200_000, binary=False,
         needs=400_000 * (24 + 8 + 8 + 8 + 4) + 200_000 * 80),
    Case("a good answer of texts", arrays(y=np.array([["text"]] * 60_000, object)), None,
         spec("BYTES", 1), 60_000, needs=60_000 * (8 + 53)),
]  # fmt: skip


class Wire:
    """A connection from which bytes come in pieces, and then the end; counts them."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.came = 0

    def send(self, *_: object) -> bool:
        """Take everything."""
        return True

    def receive(self, _: Deadline) -> bytes:
        """Give the next piece."""
        piece = bytes(self._data[self.came : self.came + 65536])
        self.came += len(piece)
        return piece

    def receive_into(self, view: memoryview, _: Deadline) -> int:
        """Give the next piece."""
        piece = self._data[self.came : self.came + len(view)]
        view[: len(piece)] = piece
        self.came += len(piece)
        return len(piece)

    def has_something(self) -> bool:
        """Tell that it is of no further use."""
        return True

    def close(self) -> None:
        """Do nothing."""


class Once:
    """A transport that gives the same answer each time, over a connection of its own."""

    def __init__(self, sent: bytes) -> None:
        self.wire = Wire(sent)

    def send(self, request: HttpRequest) -> Reply:
        """Read it."""
        try:
            return Connection(self.wire, "", {}).exchange(request)
        except ConnectionError as error:
            raise EndpointUnavailable(str(error)) from error

    def close(self) -> None:
        """Do nothing."""


def client_of(sent: bytes, model: ModelSpec, binary: bool = True) -> tuple[EndpointClient, Wire]:
    """Make a client that gets these bytes, whatever it asks."""
    endpoint = TritonEndpoint(
        uri="http://localhost:1", model_name="m", auth_key_env=None, binary=binary, max_attempts=1
    )
    once = Once(sent)
    return EndpointClient(endpoint, model, make_transport=lambda _: once), once.wire


def cost(case: Case) -> tuple[int, int, float]:
    """Ask once; return how many bytes came, how many were taken, and the seconds."""
    client, wire = client_of(case.sent, case.model, case.binary)
    feeds = {"x": np.zeros(case.rows, np.float32)}
    layouts._layouts.keep(b"", layouts.Layout({}, None, None, None))  # Imported and warm.
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        started = time.perf_counter()
        if case.kind is None:
            client.infer(feeds, ("y",), rows=case.rows)
        else:
            with pytest.raises(case.kind) as caught:
                client.infer(feeds, ("y",), rows=case.rows)
            assert type(caught.value) is case.kind
        seconds = time.perf_counter() - started
        return wire.came, tracemalloc.get_traced_memory()[1] - before, seconds
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_takes_three_bytes_for_each_that_came(
    case: Case, record_property: Callable[[str, object], None]
) -> None:
    """And what the answer itself needs, which the model and the rows tell, not the server."""
    came, taken, seconds = cost(case)
    record_property("bytes", (came, taken, case.needs))
    assert taken <= 3 * came + case.needs + MARGIN_BYTES
    # What is read takes its time, and more while memory is traced; what is refused does not.
    assert seconds < 5 or case.kind in (None, EndpointUnavailable)
    if case.kind is EndpointRefused:
        assert came < 300_000


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "x" * 1000])
def test_an_encoding_nobody_asked_for_is_refused(status: int, encoding: str) -> None:
    """It is not unpacked: a 200 is no answer then, and a refusal keeps its status."""
    packed = zlib.compress(b'{"error": "secret words"}')
    kind = ProtocolError if status == 200 else EndpointUnavailable
    with FaultyEndpoint(http(status, packed, Content_Encoding=encoding)) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC)
        with pytest.raises(kind, match=f"encoded as '{encoding[:40]}'") as caught:
            client.infer(FEEDS, ("y",), rows=1)
    assert caught.value.status == status
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_no_encoding_may_be_said(encoding: str) -> None:
    """What says that nothing is packed is read."""
    body = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[5.0]}]}'
    with FaultyEndpoint(http(200, body, Content_Encoding=encoding)) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC)
        assert client.infer(FEEDS, ("y",), rows=1).outputs["y"].tolist() == [5.0]


def test_strings_are_not_decoded_where_numbers_were_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Names, datatypes and shapes are held against the model before anything is made of them."""
    made: list[object] = []
    monkeypatch.setattr(tensor_data, "_from_raw", lambda *given: made.append(given))
    for described in (output([1], "BYTES", 8), output([1, 3], size=12), output([9, 2], size=72)):
        client, _ = client_of(binary(described, bytes(100)), spec("FP32", 2))
        with pytest.raises(SpecMismatch):
            client.infer(FEEDS, ("y",), rows=1)
    assert made == []


@pytest.mark.parametrize(
    ("rows", "width"), [(4, 1_000_000), (4000, 100_000)], ids=["few rows", "many rows"]
)
def test_the_first_chunk_does_not_size_the_whole(rows: int, width: int) -> None:
    """Where the model leaves a size open, room for all rows is made once all rows are there."""
    first = arrays(y=np.ones((1, width), np.float32))
    scripts: list[Script] = [raw(first), raw(first), http(400, b"no more")]
    with FaultyEndpoint(*scripts) as faulty:
        endpoint = faulty.endpoint(max_batch_size=1, max_in_flight=1)
        client = EndpointClient(endpoint, spec("FP32", -1))
        feeds = {"x": np.zeros(rows, np.float32)}
        client.infer({"x": feeds["x"][:1]}, ("y",), rows=1)
        tracemalloc.start()
        with pytest.raises(EndpointRefused):
            client.infer(feeds, ("y",), rows=rows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3 * len(first) + MARGIN_BYTES


def test_texts_are_not_decoded_beyond_the_deadline() -> None:
    """Where the model leaves open how many there are, somebody looks at the time meanwhile."""
    count = 3_000_000
    sent = binary(output([1, count], "BYTES", 4 * count), bytes(4 * count))
    client, _ = client_of(sent, spec("BYTES", -1))
    started = time.monotonic()
    with pytest.raises(EndpointTimeout, match="reading the answer"):
        client.infer(FEEDS, ("y",), rows=1, timeout_s=0.2)
    assert time.monotonic() - started < 1.2


def test_json_that_takes_longer_than_is_left_is_not_read() -> None:
    """JSON is read in one go, in which no other thread runs: too much of it is not begun."""
    sent = values(b"[" + b"0.5," * 4_000_000 + b"1]", [1, 4_000_001])
    client, _ = client_of(sent, spec("FP32", -1), binary=False)
    with pytest.raises(EndpointTimeout, match="takes longer than is left") as caught:
        client.infer(FEEDS, ("y",), rows=1, timeout_s=0.5)
    assert "0.5 s" in str(caught.value)
    client, _ = client_of(sent, spec("FP32", -1), binary=False)
    assert client.infer(FEEDS, ("y",), rows=1, timeout_s=60).outputs["y"].shape == (1, 4_000_001)


@pytest.mark.parametrize("path", ["metadata", "/v2", "config"])
def test_descriptions_are_bounded(path: str) -> None:
    """What a server says of itself and its models is not read either when it is too much."""
    answers = {path: padded(b"[],", 900_000)}
    good = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[5.0]}]}'
    client, _ = client_of(whole(answers[path]), SPEC)
    if path == "metadata":
        with pytest.raises(ProtocolError, match="at most 1064 were expected"):
            client.metadata()
    elif path == "/v2":
        with FaultyEndpoint(http(200, answers[path]), http(200, good)) as faulty:
            other = EndpointClient(faulty.endpoint(binary=None), SPEC)
            assert other.infer(FEEDS, ("y",), rows=1).outputs["y"].tolist() == [5.0]
    else:
        scripts = (http(400, b"too many"), http(200, answers[path]))
        with FaultyEndpoint(*scripts) as faulty:
            other = EndpointClient(faulty.endpoint(), SPEC)
            with pytest.raises(EndpointRefused, match="too many"):
                other.infer({"x": np.ones(3, np.float32)}, ("y",), rows=3)


@pytest.mark.parametrize("most", [0, 4300, 1_000_000])
def test_long_numbers_are_refused_whatever_python_was_told(most: int) -> None:
    """Where Python's own limit was lifted, a number of a million digits would take seconds."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(most)
    try:
        started = time.perf_counter()
        with pytest.raises(ProtocolError, match="cannot be read"):
            decode_object(b'{"outputs":' + b"9" * 1_000_000 + b"}")
        assert time.perf_counter() - started < 1
        assert decode_object(b'{"a": -12}') == {"a": -12}
    finally:
        sys.set_int_max_str_digits(before)


def test_the_bound_of_json_is_that_of_the_answer() -> None:
    """About a megabyte where tensors are binary, and what the values take otherwise."""
    one = spec("FP32", 2)
    assert answer_limit(one, ("y",), 3, True) == JsonLimit(1 << 20, 1038, 1036)
    assert answer_limit(one, ("y",), 10**6, False).size_bytes == 64 * (3 * 10**6 + 1)
    assert answer_limit(spec("FP32", -1), ("y",), 3, True).size_bytes == 1 << 20
    assert answer_limit(spec("FP32", -1), ("y",), 3, False).size_bytes == 1 << 26
    assert answer_limit(spec("BYTES", 1), ("y",), 3, False) == JsonLimit(1 << 26, None, None)


@pytest.mark.parametrize("datatype", ["FP64", "INT64", "UINT8", "BOOL", "FP32"])
@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("nested", [True, False])
def test_the_longest_json_of_a_good_answer_is_within_the_bound(
    datatype: str, indent: int | None, nested: bool
) -> None:
    """Values as long as they can be, nested or flat, printed wide: all of it is read."""
    longest: Mapping[str, object] = {
        "FP64": -1.2345678901234567e-300,
        "INT64": -(2**63),
        "UINT8": 255,
        "BOOL": False,
        "FP32": -1.2345678901234567e-30,
    }
    rows = 20_000
    row = [[longest[datatype]] * 3]
    data: list[Any] = [row] * rows if nested else [longest[datatype]] * 3 * rows
    item = {"name": "y", "datatype": datatype, "shape": [rows, 1, 3], "data": data}
    body = json.dumps({"outputs": [item]}, indent=indent).encode()
    client, _ = client_of(whole(body), spec(datatype, 1, 3), binary=False)
    feeds = {"x": np.zeros(rows, np.float32)}
    found = client.infer(feeds, ("y",), rows=rows, timeout_s=60).outputs["y"]
    assert found.shape == (rows, 1, 3)
    assert found[0, 0, 0] == np.array(longest[datatype]).astype(found.dtype)


@pytest.mark.parametrize("behind", [b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"0\r\n\r\n"])
@pytest.mark.parametrize("status", [200, 400])
def test_bytes_behind_a_chunked_answer_are_no_answer(behind: bytes, status: int) -> None:
    """As with a length: what nobody asked for could be taken for the next answer."""
    body = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[5.0]}]}'
    chunks = b"%x\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(body), body)
    script = raw(head(status, Transfer_Encoding="chunked") + chunks + behind)
    with FaultyEndpoint(script) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC)
        with pytest.raises(ProtocolError, match=f"{len(behind)} bytes follow the answer"):
            client.infer(FEEDS, ("y",), rows=1)


def test_bytes_that_come_later_behind_a_chunked_answer_are_not_read_as_the_next() -> None:
    """What arrives before the connection is used again keeps it from being used."""
    body = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[%d.0]}]}'
    ports: list[object] = []
    late = threading.Event()

    def script(connection: Any) -> None:
        ports.append(connection.getpeername())
        text = body % len(ports)
        connection.sendall(head(Transfer_Encoding="chunked"))
        connection.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text))
        time.sleep(0.2)
        connection.sendall(whole(body % 99))
        late.set()

    with FaultyEndpoint(script) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC)
        for number in (1.0, 2.0):
            assert client.infer(FEEDS, ("y",), rows=1).outputs["y"].tolist() == [number]
            assert late.wait(10)
            late.clear()
    assert len(set(ports)) == 2
