"""What fuzzing starts from: good messages and nearly good ones, and the words they are made of."""

from __future__ import annotations

import gzip

ITEM = b'{"name":"y","datatype":"%b","shape":%b,"parameters":{"binary_data_size":%d}}'
IN_JSON = b'{"name":"z","datatype":"%b","shape":%b,"data":%b}'
ONE = ITEM % (b"FP32", b"[1,2]", 8)
NUMBERS = bytes(range(8))


def _message(items: bytes, raw: bytes = b"", key: bytes = b"outputs", start: bytes = b"") -> bytes:
    return b'{"id":"a",%b"model_name":"m","model_version":"1","%b":[%b]}\n%b' % (
        start,
        key,
        items,
        raw,
    )


RESPONSES = [
    _message(ONE, NUMBERS),
    _message(ONE, NUMBERS, start=b'"id":"b",'),
    _message(ONE, NUMBERS, start=b'"\\u0069d":"b",'),
    _message(ONE, NUMBERS[:7]),
    _message(ITEM % (b"INT64", b"[0,2]", 0)),
    _message(ITEM % (b"BOOL", b"[2]", 2), b"\0\1"),
    _message(ITEM % (b"FP16", b"[]", 2), b"\0\1"),
    _message(ITEM % (b"BYTES", b"[2]", 10), b"\1\0\0\0a\1\0\0\0b"),
    _message(ITEM % (b"BYTES", b"[1]", 6), b"\2\0\0\0\xc3\x9f"),
    _message(
        b",".join([ITEM % (b"UINT8", b"[1]", 1), IN_JSON % (b"FP64", b"[2]", b"[1,NaN]")]), b"1"
    ),
    _message(IN_JSON % (b"BYTES", b"[1,2]", b'[["a","b"]]')),
    _message(IN_JSON % (b"BOOL", b"[1]", b"[true]")),
    _message(IN_JSON % (b"UINT64", b"[1]", b"[18446744073709551615]")),
    _message(IN_JSON % (b"INT8", b"[1]", b"[-129]")),
    _message(ITEM % (b"FP32", b"[0,4611686018427387904]", 0)),
    b'{"error":"no such model"}\n',
    b"[[[[[[\n",
]
REQUESTS = [
    _message(
        ONE,
        NUMBERS,
        b"inputs",
        b'"outputs":[{"name":"y","parameters":{"binary_data":true}}],'
        b'"parameters":{"binary_data_output":false},',
    ),
    *(seed.replace(b'"outputs"', b'"inputs"') for seed in RESPONSES[:8]),
]
METADATA = [
    (
        b'{"name":"m","inputs":[{"name":"x","datatype":"FP32","shape":[-1,3]}],'
        b'"outputs":[{"name":"y","datatype":"BYTES","shape":["-1"]}]}'
    ),
]
_BODY = RESPONSES[0].replace(b"\n", b"", 1)
_PACKED = gzip.compress(_BODY, mtime=0)
_HEAD = (
    b"\x05HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
    b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
)
HTTP = [
    _HEAD % (len(_BODY) - 8, len(_BODY)) + _BODY,
    b"\xffHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno",
    (
        b"\x02HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        b"Inference-Header-Content-Length: 4\r\n\r\n"
        b"5;x=1\r\nabcde\r\n1\r\nf\r\n0\r\nX: 1\r\n\r\n"
    ),
    b"\x20HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_PACKED), _PACKED),
    b"\x03HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nuntil the end",
    b"\x01HTTP/1.1 204 No Content\r\n\r\n",
    b"\x09HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\nlies",
]
_VECTOR = b'{"object":"embedding","index":%d,"embedding":%b}'
_VECTORS = (
    b'{"object":"list","data":[%b,%b],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}'
)
VECTORS = [
    _VECTORS % (_VECTOR % (0, b'"AACAPwAAAEA="'), _VECTOR % (1, b'"AABAQAAAgEA="')),
    _VECTORS % (_VECTOR % (1, b"[1,2.5]"), _VECTOR % (0, b"[-1e-3,0]")),
    _VECTORS % (_VECTOR % (0, b"[1,2,3]"), _VECTOR % (1, b"[1,2,3]")),
    _VECTORS % (_VECTOR % (0, b"[1,2]"), _VECTOR % (0, b"[1,2]")),
    _VECTORS % (_VECTOR % (0, b'"AACAPw=="'), _VECTOR % (1, b'"AACA*w=="')),
    b'{"error":{"message":"no"}}',
]
SEEDS = {
    "response": RESPONSES,
    "request": REQUESTS,
    "metadata": METADATA,
    "http": HTTP,
    "vectors": VECTORS,
}

WORDS = [
    *(b'"id" "name" "datatype" "shape" "data" "parameters" "binary_data_size" "outputs"'.split()),
    *(b'"inputs" "binary_data" "binary_data_output" "error" "model_name" "\\u0069d"'.split()),
    *(b"true false null NaN Infinity -Infinity 1e400 18446744073709551616 -1 0".split()),
    *(b'"FP16" "FP32" "FP64" "INT8" "INT64" "UINT8" "UINT64" "BOOL" "BYTES" "BF16"'.split()),
    *(b'"index" "embedding" "usage" "prompt_tokens" "model" "AACAPw==" 1e39'.split()),
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 ",
    b"HTTP/1.1 100 C\r\n\r\n",
    b"Content-Length: ",
    b"Inference-Header-Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: deflate\r\n",
    b"Connection: close\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"\xff\xff\xff\xff",
    b"\\ud800",
]
