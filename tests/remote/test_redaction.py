"""Whatever a server repeats of a key, and however: no eight characters of it show up anywhere."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from hybridmodel import EndpointError, HybridModelError, HybridOnnxModel, TritonEndpoint
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.redaction import Redaction, escaped, proxy_secrets
from hybridmodel.remote.resilience import Deadline
from tests.support import models
from tests.support.faulty import FaultyEndpoint, error, http, raw

KEY = "q7Xk-29_Zr/Lw+Ue4=Tb%41yN8vPs"
X = np.ones((3, 4), np.float32)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "in quotes": repr,
    "JSON": json.dumps,
    "JSON in JSON": lambda key: json.dumps(json.dumps(key)),
    "percent": lambda key: quote(key, safe=""),
    "percent, all, upper case": lambda key: "".join(f"%{ord(c):02X}" for c in key),
    "percent, all, lower case": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "percent, twice": lambda key: quote("".join(f"%{ord(c):02X}" for c in key)),
    "percent, here and there": lambda key: "".join(
        f"%{ord(c):02X}" if at % 3 else c for at, c in enumerate(key)
    ),
    "\\uXXXX": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "\\uXXXX in JSON": lambda key: json.dumps("".join(f"\\u{ord(c):04X}" for c in key)),
    "\\xXX": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "octal": lambda key: "".join(f"\\{ord(c):03o}" for c in key),
    "HTML": html.escape,
    "HTML numbers": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "HTML digits": lambda key: "".join(f"&#x{ord(c):X};" for c in key),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of a user": lambda key: base64.b64encode(b"user:" + key.encode()).decode(),
    "base64 of a header": lambda key: base64.urlsafe_b64encode(f"Bearer {key}".encode()).decode(),
    "base64 in a URL": lambda key: quote(base64.b64encode(key.encode()).decode(), safe=""),
    "hexadecimal": lambda key: key.encode().hex(),
    "HEXADECIMAL": lambda key: key.encode().hex().upper(),
    "in lines": lambda key: "\n".join(key[at : at + 5] for at in range(0, len(key), 5)),
    "with zeros": lambda key: "\0".join(key),
    "with invisible letters": lambda key: "\u200b".join(key),
    "without its end": lambda key: key[:-3],
    "without its beginning": lambda key: key[3:],
}

LETTERS = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789-_/+=.%&\\\"'*"
# Not st.text, which tries words of this code, and those may stand in any message.
keys = (
    st.lists(st.sampled_from(LETTERS), min_size=12, max_size=70)
    .map("".join)
    .filter(lambda key: len(set(key)) > 9)
)


def readable(text: str) -> str:
    """Return what somebody can read in a text, in whatever case."""
    return text.lower()


def assert_hidden(key: str, *texts: str) -> None:
    """Make sure that no eight successive characters of the key are in a text."""
    runs = [readable(key[at : at + 8]) for at in range(len(key) - 7)]
    for text in map(readable, texts):
        found = [run for run in runs if run in text]
        assert not found, (found, text)


@given(keys, st.sampled_from(list(FORMS)), st.text(max_size=20), st.text(max_size=20))
@example(KEY, "base64 of a user", "", "")
@example("aaefghi\\abcd", "with zeros", "", "")
@example("abcd***efgh***ijkl", "plain", "abcd", "efgh***ijkl")
def test_no_form_of_a_key_is_left(key: str, form: str, before: str, after: str) -> None:
    """Neither the key nor what it was written as, whatever stands around it."""
    written = FORMS[form](key)
    text = Redaction([key])(f"{before}{written}{after}", 10_000)
    assert "***" in text
    assert_hidden(key, text)
    assert escaped(written) not in text
    assert text.isprintable()


@given(st.text(max_size=2000), st.integers(10, 400))
def test_a_text_is_short_and_in_one_line(text: str, most: int) -> None:
    """Nobody writes a log line of their own, moves the cursor, or fills a disk."""
    shown = Redaction()(text, most)
    assert len(shown) <= most
    assert shown.isprintable()


@pytest.mark.parametrize(
    "text",
    ["answered 503: the queue is full", "https://a.example/v2/models/m", "größer als 3 %", ""],
)
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    """An ordinary sentence is not touched."""
    assert Redaction([KEY, "short"])(text) == text


def test_short_keys_are_hidden_as_a_whole() -> None:
    """A key of five characters is one run."""
    assert Redaction(["ab1cd"])("no ab1cd, no ab1c") == "no ***, no ab1c"


def test_passwords_of_proxies_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are written in the environment, decoded, and as a header carries them."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p%40ss%2Fword-9@proxy:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://token-1234567@proxy:3128")
    found = Redaction(proxy_secrets())
    header = base64.b64encode(b"me:p@ss/word-9").decode()
    text = found(f"p@ss/word-9 p%40ss%2Fword-9 token-1234567 {header}")
    assert_hidden("p@ss/word-9", text)
    assert_hidden("token-1234567", text)
    assert_hidden(header[4:-4], text)


class Server:
    """A transport that answers with what it is given."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.reply = Reply(status, headers, bytearray(body), bytearray())

    def send(self, _: HttpRequest) -> Reply:
        """Answer."""
        return self.reply

    def close(self) -> None:
        """Do nothing."""


class Keys:
    """A `KeySource` of one key."""

    def __init__(self, key: str) -> None:
        self._key = key

    def key(self, _: Deadline) -> str:
        """Return it."""
        return self._key

    def other_than(self, *_: Any) -> None:
        """Return None."""


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collect what is logged, with tracebacks, and what becomes of spans."""
    seen: list[str] = []
    exporter, provider, log = InMemorySpanExporter(), TracerProvider(), io.StringIO()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    class Handler(logging.StreamHandler[io.StringIO]):
        def emit(self, record: logging.LogRecord) -> None:
            super().emit(record)
            seen.append(f"{record.getMessage()} {record.args!r}")

    logger, handler = logging.getLogger("hybridmodel"), Handler(log)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", None)
        patch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
        trace.set_tracer_provider(provider)
        try:
            yield seen
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            seen += [span.to_json() for span in exporter.get_finished_spans()]
            seen.append(log.getvalue())
            provider.shutdown()


def everything_seen(key: str, reply: tuple[int, dict[str, str], bytes]) -> list[str]:
    """Ask a server that gives this reply to all questions, and return what of it can be seen."""
    endpoint = TritonEndpoint(uri="http://localhost", model_name="m", binary=True, max_attempts=1)
    model = HybridOnnxModel(models.linear(), endpoint=endpoint)
    model._routes._client = EndpointClient(
        endpoint, model.spec, Keys(key), make_transport=lambda _: Server(*reply)
    )
    messages: list[str] = []
    with watched() as seen:
        for ask in (lambda: model.infer(X, use_azure=True), model.check_endpoint):
            try:
                answer: Any = ask()
                seen += [repr(answer), str(vars(answer) if hasattr(answer, "__dict__") else "")]
            except HybridModelError as failure:
                seen += [str(failure), repr(failure), repr(failure.args), repr(vars(failure))]
                seen.append("".join(traceback.format_exception(failure)))
                messages.append(str(failure))
        seen.append(json.dumps(model.stats()))
    assert all(len(message) < 10_000 and message.isprintable() for message in messages)
    return seen


def answer_of(text: str, where: str) -> tuple[int, dict[str, str], bytes]:
    """Return a reply that is no failure by its status, and has a text in it somewhere."""
    tensor = {"name": "y", "datatype": "FP32", "shape": [3, 2], "data": [0.0] * 6}
    body: dict[str, Any] = {"outputs": [tensor], "inputs": []}
    headers: dict[str, str] = {}
    if where in ("model_version", "id", "model_name"):
        body[where] = text
    elif where == "output":
        body["outputs"] = [tensor, {**tensor, "name": text}]
    elif where == "datatype":
        body["outputs"] = [{**tensor, "datatype": text}]
    elif where == "input":
        body["inputs"] = [{"name": text, "datatype": "FP32", "shape": [-1, 4]}]
    elif where == "key of a field":
        body = {text: body}
    else:
        headers[where] = text
    return 200, headers, json.dumps(body).encode()


STATUSES = (200, 204, 302, 400, 401, 403, 404, 408, 413, 424, 429, 500, 501, 503)
PLACES = (
    "model_version",
    "id",
    "model_name",
    "output",
    "datatype",
    "input",
    "key of a field",
    "ms-azureml-bandwidth-request-delay-ms",
    "content-type",
    "retry-after",
)
HEADERS = ("location", "ms-azureml-model-error-reason", "content-type", "retry-after", "x-key")
ROOM = st.text(max_size=300) | st.just("x" * 295) | st.just("x" * 1195)


@settings(max_examples=150, deadline=None)
@given(
    keys,
    st.sampled_from(list(FORMS)),
    ROOM,
    st.text(max_size=50),
    st.sampled_from([*STATUSES, *PLACES]),
    st.sampled_from(HEADERS),
)
@example("k" * 3 + KEY * 2, "plain", "x" * 236, "", 401, "location")
@example(KEY, "plain", "", "", "model_version", "location")
@example(KEY, "plain", "", "", "ms-azureml-bandwidth-request-delay-ms", "location")
@example(KEY, "JSON", "", "", 302, "location")
def test_no_reply_shows_a_key(
    key: str, form: str, before: str, after: str, kind: int | str, header: str
) -> None:
    """Wherever a server repeats it: not in messages, arguments, logs, reprs, spans or answers."""
    text = f"{before}{FORMS[form](key)}{after}"
    if isinstance(kind, str):
        reply = answer_of(text, kind)
    else:
        said = json.dumps({"error": text}) if len(before) % 2 else text
        reply = kind, {header: text}, said.encode("utf-8", "replace")
    seen = everything_seen(key, reply)
    assert_hidden(key, *seen)


@pytest.mark.parametrize(
    "script",
    [
        raw(f"{KEY}\r\n\r\n".encode()),
        raw(f"HTTP/1.1 {KEY}\r\n\r\n".encode()),
        raw(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()),
        raw(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {KEY}\r\n\r\n".encode()),
        raw(f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n".encode()),
        raw(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n".encode()),
        http(200, b"{}", Content_Encoding=KEY),
        http(200, b"{}", Inference_Header_Content_Length=KEY),
        http(302, b"", Location=f"https://{KEY.replace('%', '')}.example/"),
        http(424, b"", ms_azureml_model_error_reason=KEY, ms_azureml_model_error_statuscode=KEY),
        error(401, "x" * 270 + KEY),
    ],
)
def test_no_byte_of_http_shows_a_key(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not even HTTP is told of without the key as well, tracebacks included."""
    monkeypatch.setenv("HYBRIDMODEL_API_KEY", KEY)
    with FaultyEndpoint(script) as faulty, watched() as seen:
        endpoint = faulty.endpoint(auth_key_env="HYBRIDMODEL_API_KEY", timeout_s=5.0)
        model = HybridOnnxModel(models.linear(), endpoint=endpoint)
        with pytest.raises(EndpointError) as caught:
            model.infer(X, use_azure=True)
        logging.getLogger("hybridmodel").error("failed", exc_info=caught.value)
        assert KEY.encode() in faulty.requests[0]
    texts = "".join(traceback.format_exception(caught.value))
    assert_hidden(KEY, str(caught.value), texts, repr(vars(caught.value)), *seen)


def test_a_proxy_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says to a wrong password is told without it, in the traceback as well."""
    password = "pa55-word-of-the-proxy"
    header = base64.b64encode(f"me:{password}".encode()).decode()
    said = f"no\x1b[2J {password} {header} \x08{'x' * 3000}"
    with FaultyEndpoint(raw(f"HTTP/1.1 407 {said}\r\n\r\n".encode())) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{password}@127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        endpoint = TritonEndpoint(
            uri="https://a.example", model_name="m", auth_key_env=None, max_attempts=1
        )
        client = EndpointClient(endpoint, HybridOnnxModel(models.linear()).spec)
        with pytest.raises(EndpointError, match="407") as caught:
            client.infer({"x": X}, ("y",), rows=3)
        assert header.encode() in proxy.requests[0]
    shown = "".join(traceback.format_exception(caught.value))
    assert_hidden(password, str(caught.value), shown)
    assert header not in shown
    assert "\x1b" not in shown
    assert len(str(caught.value)) < 2000


def test_keys_before_and_beside_todays_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refused key, the second one, and the token before the renewed one."""
    first, second = "first-key-0123456789", "second-key-abcdefghi"
    monkeypatch.setenv("FIRST", first)
    monkeypatch.setenv("SECOND", second)
    both = f"neither {first} nor {second}"
    with FaultyEndpoint(error(401, both)) as faulty:
        endpoint = faulty.endpoint(auth_key_env="FIRST", secondary_key_env="SECOND")
        client = EndpointClient(endpoint, HybridOnnxModel(models.linear()).spec)
        with pytest.raises(EndpointError, match=r"neither \*\*\* nor \*\*\*"):
            client.infer({"x": X}, ("y",), rows=3)
        given_out = iter([first, second])
        asking = EndpointClient(
            faulty.endpoint(), client._spec, lambda: next(given_out, second + "-new")
        )
        for _ in range(2):
            with pytest.raises(EndpointError, match=r"neither \*\*\* nor \*\*\*"):
                asking.infer({"x": X}, ("y",), rows=3)


def test_a_credential_that_fails_tells_no_key(caplog: pytest.LogCaptureFixture) -> None:
    """What it says is bounded, in one line, and without the key that it gave before."""
    from hybridmodel.remote.trust.credentials import AskedKey

    state: dict[str, Any] = {"now": 0.0, "fail": False}

    def ask() -> str:
        if state["fail"]:
            raise OSError(f"no token\nINFO root: all is well {KEY}" + "x" * 10_000)
        return KEY

    source = AskedKey(ask, now=lambda: state["now"])
    assert source.key(Deadline(5.0)) == KEY
    state.update(now=400.0, fail=True)
    with caplog.at_level(logging.DEBUG, "hybridmodel"):
        assert source.key(Deadline(5.0)) == KEY
    (line,) = [record.getMessage() for record in caplog.records]
    with pytest.raises(EndpointError) as caught:
        source.other_than(KEY, Deadline(5.0))
    shown = "".join(traceback.format_exception(caught.value))
    assert_hidden(KEY, line, str(caught.value), shown)
    assert max(len(line), len(str(caught.value))) < 500
    assert (line + str(caught.value)).isprintable()


def test_versions_of_many_parts_are_bounded() -> None:
    """A server that names another version for each part of a call fills no log."""
    numbers = iter(range(10_000))

    def versioned(connection: Any) -> None:
        tensor = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 0.0]}
        body = {"model_version": f"{next(numbers)}" + "v" * 5000, "outputs": [tensor]}
        http(200, json.dumps(body).encode())(connection)

    with FaultyEndpoint(versioned) as faulty, watched() as seen:
        endpoint = faulty.endpoint(max_batch_size=1)
        model = HybridOnnxModel(models.linear(), endpoint=endpoint)
        answer = model.infer(np.ones((40, 4), np.float32), use_azure=True)
    assert len(answer.model_version or "") < 600
    assert max(len(line) for text in seen for line in text.splitlines()) < 2000


def test_a_short_version_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server says again and again is looked at once."""
    looked: list[str] = []
    before = Redaction.__call__

    def looking(self: Redaction, text: str, most: int = 300) -> str:
        looked.append(text)
        return before(self, text, most)

    monkeypatch.setattr(Redaction, "__call__", looking)
    reply = answer_of("v1.2.3-rc.4", "model_version")
    endpoint = TritonEndpoint(
        uri="http://localhost", model_name="m", binary=True, auth_key_env=None
    )
    spec = HybridOnnxModel(models.linear()).spec
    client = EndpointClient(endpoint, spec, make_transport=lambda _: Server(*reply))
    for _ in range(5):
        assert client.infer({"x": X}, ("y",), rows=3).model_version == "v1.2.3-rc.4"
    assert looked == ["v1.2.3-rc.4"]


def test_records_that_hold_a_key_do_not_show_it() -> None:
    """The key of a call is in no repr."""
    from hybridmodel.remote.exchange import Call

    call = Call(deadline=Deadline(1.0), request_id=None, key=KEY, earlier_key=KEY[::-1])
    assert_hidden(KEY, repr(call))
    assert_hidden(KEY[::-1], repr(call))
    assert {item.name for item in dataclasses.fields(call) if not item.repr} == {
        "key",
        "earlier_key",
        "feeds",
    }
    assert sys.getsizeof(call)
