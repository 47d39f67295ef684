"""What is remembered of requests and answers, and never believed of others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire import layouts, protocol
from hybridmodel.remote.wire.memo import Memo
from hybridmodel.remote.wire.protocol import (
    encode_request,
)
from tests.support.protocol_parts import OUT, RAW, decode_response


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memo[Any]]:
    """Let nothing be known of any answer at first."""
    memo: Memo[Any] = Memo()
    monkeypatch.setattr(layouts, "_layouts", memo)
    yield memo
    assert len(memo) <= 64


def answer(request_id: str, rest: str = "", size: int = 8) -> bytes:
    """Write the header of an answer as Triton does."""
    item = json.dumps({**OUT, "parameters": {"binary_data_size": size}}, separators=(",", ":"))
    return f'{{"id":"{request_id}","model_version":"1","outputs":[{item}]{rest}}}'.encode()


def test_answers_that_differ_in_their_id_are_read_once(known: Memo[Any]) -> None:
    """Each answer has its own id and its own numbers, in memory of its own."""
    buffers = [bytearray(np.array([number, 7], "<f4").tobytes()) for number in range(3)]
    read = [decode_response(answer(f"r-{at}"), raw) for at, raw in enumerate(buffers)]
    assert len(known) == 1
    assert [one.request_id for one in read] == ["r-0", "r-1", "r-2"]
    assert [one.outputs["y"].tolist() for one in read] == [[[0, 7]], [[1, 7]], [[2, 7]]]
    read[0].outputs["y"][:] = -1
    assert read[1].outputs["y"].tolist() == [[1, 7]]
    assert all(one.outputs["y"].flags.writeable for one in read)
    assert decode_response(answer(""), buffers[0]).request_id == ""


@pytest.mark.parametrize(
    "rest",
    [
        ',"id":"b"',
        ', "id" : "b"',
        ',"\\u0069d":"b"',
        ',"i\\u0064":"b"',
        ',"id":null',
        ',"id":5',
        ',"parameters":{"id":"b"}',
    ],
)
def test_a_second_id_is_never_overlooked(rest: str, known: Memo[Any]) -> None:
    """Where JSON has another id further on, that one counts, known or not; nothing is kept."""
    for request_id in ("b", "a", "c"):
        expected = json.loads(answer(request_id, rest))["id"]
        read = decode_response(answer(request_id, rest), bytearray(RAW))
        assert read.request_id == (expected if isinstance(expected, str) else None)
    assert len(known) == 0


def test_what_is_known_is_not_believed_of_other_bytes(known: Memo[Any]) -> None:
    """An answer that begins like a known one is refused for its own faults, each time alike."""
    decode_response(answer("a"), bytearray(RAW))
    for _ in range(2):
        with pytest.raises(ProtocolError, match="announces 8 bytes, 7 bytes are left"):
            decode_response(answer("b"), RAW[:7])
        with pytest.raises(ProtocolError, match="1 bytes are left over"):
            decode_response(answer("b"), RAW + b"!")
        with pytest.raises(ProtocolError, match="takes 8 bytes, 4 came"):
            decode_response(answer("b", size=4), RAW[:4])
        with pytest.raises(ProtocolError, match="cannot be read"):
            decode_response(answer("b") + b"!", RAW)


def test_nothing_is_kept_of_values_errors_and_long_texts(known: Memo[Any]) -> None:
    """What a model computed, what was refused, and what is long is read and forgotten."""
    values = json.dumps({**OUT, "data": [4711.0, 1.0]}, separators=(",", ":"))
    decode_response(f'{{"id":"a","outputs":[{values}]}}'.encode())
    assert len(known) == 0
    with pytest.raises(ProtocolError):
        decode_response(b'{"id":"a","error":"4711"}')
    decode_response(answer("a", f',"model_name":"{"m" * 2048}"'), bytearray(RAW))
    assert len(known) == 0


def test_of_ever_new_answers_few_are_kept(known: Memo[Any]) -> None:
    """However many layouts a server thinks of, from many threads, what is kept stays small."""

    def read(thread: int) -> None:
        for number in range(300):
            rest = f',"model_name":"m{thread}-{number}"'
            response = decode_response(answer(f"{number}", rest), bytearray(RAW))
            assert response.model_name == f"m{thread}-{number}"
            assert response.request_id == f"{number}"
            seen[thread] += len(known) <= 64 + len(threads)

    seen = [0] * 4
    threads = [threading.Thread(target=read, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [300] * 4


def test_of_ever_new_requests_few_are_kept() -> None:
    """However many shapes a caller sends, what is remembered of them stays small."""
    for rows in range(200):
        message = encode_request({"x": np.ones((rows, 1), "<f4")}, ["y"], request_id="r")
        assert json.loads(message.header)["inputs"][0]["shape"] == [rows, 1]
    assert protocol._binary_request.cache_info().currsize <= 64


@pytest.mark.parametrize(
    ("array", "outputs"),
    [
        (np.ones((1, 2), "<f4"), ("y",)),
        (np.ones((1, 2), "<f8"), ("y",)),
        (np.ones((1, 2), "<i4"), ("y",)),
        (np.ones((2, 1), "<f4"), ("y",)),
        (np.ones((2,), "<f4"), ("y",)),
        (np.ones((1, 2), "<f4"), ("y", "z")),
        (np.ones((1, 2), "<f4"), ()),
        (np.array([["a", "b"]], object), ("y",)),
        (np.array([["a", "bc"]], object), ("y",)),
    ],
)
def test_requests_of_one_kind_differ_in_their_id(array: Any, outputs: tuple[str, ...]) -> None:
    """Whatever was asked before, a request says what it holds, and its id, whatever that is."""
    for request_id in ("a-1", 'quoted " and \\ and ß'):
        head = json.loads(encode_request({"x": array}, outputs, request_id=request_id).header)
        size = len(b"".join(encode_request({"x": array}, outputs, request_id="").tensors))
        datatype = {"f": {4: "FP32", 8: "FP64"}, "i": {4: "INT32"}, "O": {8: "BYTES"}}
        assert head == {
            "id": request_id,
            "inputs": [
                {
                    "name": "x",
                    "datatype": datatype[array.dtype.kind][array.dtype.itemsize],
                    "shape": list(array.shape),
                    "parameters": {"binary_data_size": size},
                }
            ],
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
        }
