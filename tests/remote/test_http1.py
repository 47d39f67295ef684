"""HTTP/1.1 as bytes: what is read rightly, and what is never believed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hybridmodel import ProtocolError
from hybridmodel.remote.http import http1
from hybridmodel.remote.http.http1 import ChunkedBody, Head, encode_head, split_head
from hybridmodel.remote.wire.memo import Memo


def test_a_head_is_written_as_http_wants_it() -> None:
    """A request line, headers, an empty line."""
    head = encode_head("POST", "/v2", {"Host": "h:1", "X": "y"})
    assert head == b"POST /v2 HTTP/1.1\r\nHost: h:1\r\nX: y\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00", "a\x7f", "a\u2028b", "ß"])
def test_a_header_cannot_be_broken_out_of(value: str) -> None:
    """A line break in a value is an error that names the header and does not show the value."""
    with pytest.raises(ProtocolError, match="Authorization holds control characters") as caught:
        encode_head("GET", "/", {"Host": "h", "Authorization": value, "X": "y"})
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "reusable"),
    [
        ("HTTP/1.1 200 OK", True),
        ("HTTP/1.1 200 OK\r\nConnection: close", False),
        ("HTTP/1.1 200 OK\r\nCONNECTION: Close", False),
        ("HTTP/1.0 200 OK", False),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive", True),
    ],
)
def test_a_connection_is_reused_when_the_server_agrees(lines: str, reusable: bool) -> None:
    """HTTP/1.1 keeps it open unless told otherwise, HTTP/1.0 the other way round."""
    found = split_head(f"{lines}\r\n\r\nrest".encode())
    assert found is not None
    assert found[0].reusable is reusable
    assert found[1] == len(lines) + 4


def test_names_of_headers_are_found_in_any_case() -> None:
    """Proxies change the case of names."""
    found = split_head(b"HTTP/1.1 200 OK\r\nInFerence-HEADER-content-LENGTH:  12 \r\n\r\n")
    assert found is not None
    assert found[0].headers == {"inference-header-content-length": "12"}


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
        "HTTP/1.1 200 OK\r\nContent-Length : 5",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded",
        "HTTP/1.1 200 OK\r\nno colon",
        "HTTP/1.1 200 OK\r\n: no name",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 abc",
        "HTTP/2 200 OK",
        "HTTP/1.1 200 OK\n\n",
        "SSH-2.0",
    ],
)
def test_a_head_that_bends_the_rules_is_refused_at_once(head: str) -> None:
    """What could be read in two ways is not read, and nobody waits for more of it."""
    with pytest.raises(ProtocolError):
        split_head(f"{head}\r\n\r\n".encode())


def test_bare_line_feeds_are_refused_without_waiting() -> None:
    """A head that will never end as HTTP does is not waited for."""
    with pytest.raises(ProtocolError, match="not HTTP"):
        split_head(b"HTTP/1.1 200 OK\n\n{}")


def test_a_length_beside_chunks_is_not_trusted() -> None:
    """The chunks count, and the connection is not used again."""
    found = split_head(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert found is not None
    assert (found[0].chunked, found[0].reusable) == (True, False)


def test_an_unknown_transfer_encoding_is_refused() -> None:
    """Only chunks are understood."""
    with pytest.raises(ProtocolError, match="gzip, chunked") as caught:
        split_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
    assert caught.value.status == 200


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_an_error(data: bytes) -> None:
    """Nothing that a server sends makes the reader fail in another way."""
    with contextlib.suppress(ProtocolError):
        split_head(data + b"\r\n\r\n")


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\n"


@given(st.binary(max_size=80))
@example(b"HTTP/1.1 200 OK\r\ncontent-length: 3")
@example(b"HTTP/1.1 404 Not Found\r\nContent-Type: a\r\nContent-Length: 3\r\nContent-Length: 3")
@example(b"HTTP/1.0 200 OK\r\nContent-Length: 3")
def test_a_head_that_came_before_is_read_alike(data: bytes) -> None:
    """What is known of earlier heads changes nothing, not even what is wrong with a head."""

    def read() -> str:
        try:
            return repr(split_head(data + b"\r\n\r\n"))
        except ProtocolError as error:
            return str(error)

    http1._heads = Memo()
    first = read()
    assert read() == first


def test_a_head_that_is_known_is_not_read_again() -> None:
    """Triton says the same each time; nobody who gets it can change it for the next."""
    found, again = split_head(PLAIN + b"12345"), split_head(bytearray(PLAIN + b"54321"))
    assert found is not None
    assert again is not None
    assert found[0] is again[0]
    with pytest.raises(TypeError):
        found[0].headers["content-length"] = "6"  # type: ignore[index]


@pytest.mark.parametrize(
    "line",
    [
        "Set-Cookie: s3cret",
        "Authorization: s3cret",
        "Date: today",
        "Content-Type: a" + "s" * 2050,
    ],
)
def test_a_head_that_could_hold_a_secret_is_not_kept(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only heads of nothing but lengths and types are remembered, and only short ones."""
    monkeypatch.setattr(http1, "_heads", heads := Memo[Head]())
    split_head(PLAIN[:-2] + line.encode() + b"\r\n\r\n")
    assert len(heads) == 0
    split_head(PLAIN)
    assert len(heads) == 1


def test_of_ever_new_heads_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of any number of sizes take a bounded place."""
    monkeypatch.setattr(http1, "_heads", heads := Memo[Head]())
    for length in range(1000):
        found = split_head(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
        assert found is not None
        assert found[0].length == length
        assert len(heads) <= 64


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_a_chunked_body_comes_together_however_it_is_cut(
    body: bytes, cuts: list[int], trailer: bool
) -> None:
    """Chunks of any size, arriving in pieces of any size, give the body that was sent."""
    sent, at = b"", 0
    for size in cuts * 300:
        piece = body[at : at + size]
        if not piece:
            break
        sent += f"{len(piece):x};ext=1\r\n".encode() + piece + b"\r\n"
        at += size
    sent += b"0\r\n" + (b"X-Checksum: 1\r\n" if trailer else b"") + b"\r\n"
    chunks, received = ChunkedBody(), b""
    for start in range(0, len(sent), cuts[0]):
        assert not chunks.done
        received += chunks.feed(sent[start : start + cuts[0]])
    assert chunks.done
    assert received == body


@given(st.binary(max_size=200))
def test_any_bytes_are_chunks_or_an_error(data: bytes) -> None:
    """A chunked body never grows beyond what was received."""
    chunks = ChunkedBody()
    with contextlib.suppress(ProtocolError):
        assert len(chunks.feed(data)) <= len(data)


@pytest.mark.parametrize("data", [b"3\r\nabcd\r\n", b"x\r\n", b"\r\n", b"-1\r\n", b"1" * 100_000])
def test_chunks_that_lie_are_refused(data: bytes) -> None:
    """A chunk longer than announced, or without a length, is an error."""
    with pytest.raises(ProtocolError, match="chunk"):
        ChunkedBody().feed(data)
