"""What an HTTP status other than 200 means, and what the caller can do about it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from hybridmodel.exceptions import EndpointError, EndpointUnavailable, ProtocolError
from hybridmodel.remote.faults import fault_of_status, new_error
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.wire.json_text import ERROR_LIMIT, decode_object

MODEL_STATUS = "ms-azureml-model-error-statuscode"
"""Azure Machine Learning answers 424 for any failure of the server behind it, whose own status
is in this header."""

_MODEL_REASON = "ms-azureml-model-error-reason"

_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")
"""Headers of Azure's services that are finer than ``Retry-After``."""

_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_DURATION = re.compile(rf"(?:{_PART.pattern}){{1,4}}", re.ASCII)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

_READ_BYTES = 4000
"""So much of what a server says is read; less is shown."""


def error_from_reply(reply: Reply, show: Callable[[str], str]) -> EndpointError:
    """Return the error that a reply of another status than 200 stands for.

    Its body may be the protocol's ``{"error": ...}``, a gateway's text or a web page; `show` makes
    it fit for a message: without secrets, and bounded.
    """
    own = reply.headers.get(MODEL_STATUS, "") if reply.status == 424 else ""
    status = int(own) if re.fullmatch("[0-9]{3}", own) else reply.status
    said, is_protocol = _said(reply)
    shown = f"{reply.status}" if status == reply.status else f"{reply.status} (model: {status})"
    message = ": ".join(filter(None, (f"answered {shown}", _text(reply, said, show))))
    # A 500 with the protocol's own error, or behind a 424, is the model that failed; it will again.
    of_model = reply.status == 424 != status or is_protocol
    error = new_error(fault_of_status(status, of_model=of_model).name, message)
    if isinstance(error, EndpointUnavailable):
        error.retry_after_s = _retry_after_s(reply.headers)
    return error


def _text(reply: Reply, said: str | None, show: Callable[[str], str]) -> str:
    if 300 <= reply.status < 400:
        host = show(_redirected_to(reply))
        return f"a redirect to {host}, which is not followed; check the uri"
    encoding = reply.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        return f"its text is encoded as {show(repr(encoding[:40]))}, which was not asked for"
    if said is None:
        said = bytes(reply.header[:_READ_BYTES]).decode("utf-8", "replace")
    return show(" ".join(said[:_READ_BYTES].split()) or reply.headers.get(_MODEL_REASON, ""))


def _redirected_to(reply: Reply) -> str:
    """Return the host only: the rest of the address may hold a token."""
    try:
        return urlsplit(reply.headers.get("location", "")).hostname or "another path"
    except ValueError:
        return "no address"


def _said(reply: Reply) -> tuple[str | None, bool]:
    """Return the text of an error, and whether it has the form of the Open Inference Protocol.

    OpenAI's API and what follows it put the text one level deeper, some into ``message``.
    """
    try:
        head = decode_object(reply.header, ERROR_LIMIT)
    except ProtocolError:
        return None, False
    error = head.get("error", head.get("message"))
    if isinstance(error, str):
        return error, "error" in head
    text = error.get("message") if isinstance(error, dict) else None
    return (text, False) if isinstance(text, str) else (None, False)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read how long to wait: Azure's milliseconds, seconds or a date (RFC 9110, 10.2.3).

    Without these, until what OpenAI's limits have used up is there again.
    """
    for name in _MILLISECONDS:
        if (wait := _number(headers.get(name))) is not None:
            return wait / 1000
    value = headers.get("retry-after", "")
    if not value:
        return _reset_s(headers)
    if (wait := _number(value)) is not None:
        return wait
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _reset_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the limits that are used up begin anew, such as ``1m30.5s``."""
    waits = [
        _duration_s(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _duration_s(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
