"""The fault table: what can go wrong between client and endpoint, and what follows. No I/O.

Each decision is one cell: whether a 504 is sent again is changed here and nowhere else. The table
in docs/faults.md is this one; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hybridmodel.exceptions import (
    AuthenticationFailed,
    CircuitOpen,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    ProtocolError,
    RateLimited,
)

AZURE_ML_SCOPE = "https://ml.azure.com/.default"
"""Scope of Entra ID tokens for calling (not managing) Azure Machine Learning endpoints."""


@dataclass(frozen=True, slots=True)  # Not kw_only, so that the table has a line for each row.
class Fault:
    """One row of the table.

    `name` is a status, or what happened instead of one; `error` is raised. `retry` says whether the
    same request may be answered when it is sent again: after a pause, or once with another key. For
    the circuit breaker it is a ``"failure"`` of the endpoint, an ``"answer"``, which closes the
    breaker, or ``"nothing"``. A call that could wait less than `fair_s` seconds says nothing about
    the endpoint's health. `hint` says what may help.
    """

    name: str
    error: type[EndpointError]
    retry: Literal["yes", "no", "new key"]
    breaker: Literal["failure", "answer", "nothing"]
    hint: str = ""
    fair_s: float = 0.0


NO_CONNECTION, BROKE, LATE = "no connection", "the connection broke", "no answer in time"
CERTIFICATE, NOT_SECURE = "certificate not accepted", "no secure connection"
NOT_THE_PROTOCOL, CIRCUIT_OPEN, NO_PERMIT = "not the protocol", "circuit open", "no permit in time"
MODEL_FAILED, OTHER = "5xx of the model", "anything else"

# fmt: off
FAULTS = (
    Fault("2xx", ProtocolError, "no", "answer"),
    Fault("3xx", EndpointRefused, "no", "answer"),
    Fault("401", AuthenticationFailed, "new key", "answer",
          f"the key or token is wrong or expired; Entra ID tokens need the scope {AZURE_ML_SCOPE}"),
    Fault("403", AuthenticationFailed, "no", "answer", "the caller may not score here: "
          "a role (onlineEndpoints/score/action), a private network"),
    Fault("404", EndpointRefused, "no", "answer", "no such model or version there, "
          "no deployment with traffic, or none of that name"),
    Fault("408", EndpointTimeout, "no", "failure",
          "the model took longer than the deployment's request_timeout_ms"),
    Fault("413", EndpointRefused, "no", "answer",
          "the request is too large; send fewer rows at a time"),
    Fault("422", EndpointRefused, "no", "answer",
          "the server does not take a value: a text too long, an unknown parameter"),
    Fault("424", EndpointUnavailable, "yes", "failure",
          "the server behind the endpoint is starting, or it crashed"),
    Fault("429", RateLimited, "yes", "answer", "too many requests at once"),
    Fault("4xx", EndpointRefused, "no", "answer"),
    Fault("501", EndpointRefused, "no", "answer",
          "the server does not do this; one that knows no versions needs model_version=None"),
    Fault("502", EndpointUnavailable, "yes", "failure"),
    Fault("503", EndpointUnavailable, "yes", "failure"),
    Fault("504", EndpointTimeout, "no", "failure",
          "the model took longer than the gateway waits; send fewer rows at a time"),
    Fault(MODEL_FAILED, EndpointRefused, "no", "answer"),
    Fault("5xx", EndpointUnavailable, "yes", "failure"),
    Fault(NO_CONNECTION, EndpointUnavailable, "yes", "failure", "is the host's name right, "
          "the endpoint up, and this machine in its network, where it has a private one?"),
    Fault(BROKE, EndpointUnavailable, "yes", "failure"),
    Fault(LATE, EndpointTimeout, "no", "failure", fair_s=0.5),
    Fault(CERTIFICATE, EndpointRefused, "no", "answer", "where a company's own authority signs, "
          "name its file in REQUESTS_CA_BUNDLE or in the endpoint's ca_bundle"),
    Fault(NOT_SECURE, EndpointRefused, "no", "answer"),
    Fault(NOT_THE_PROTOCOL, ProtocolError, "no", "answer"),
    Fault(NO_PERMIT, EndpointTimeout, "no", "nothing"),
    Fault(CIRCUIT_OPEN, CircuitOpen, "no", "nothing"),
    Fault(OTHER, EndpointError, "no", "answer"),
)
# fmt: on

BY_NAME: Mapping[str, Fault] = {row.name: row for row in FAULTS}

_USUAL = ("4xx", "403", BROKE, "429", LATE, CIRCUIT_OPEN, NOT_THE_PROTOCOL)
_NAME_OF: Mapping[type, str] = {BY_NAME[name].error: name for name in _USUAL}
"""The name of the row for errors that were raised without one."""


def fault_of(error: EndpointError) -> Fault:
    """Return the row of an error: the one it names, that of its status, or that of its class."""
    fault = BY_NAME.get(error.fault or str(error.status))
    if fault is not None and isinstance(error, fault.error):
        return fault
    for kind in type(error).__mro__:
        if kind in _NAME_OF:
            return BY_NAME[_NAME_OF[kind]]
    return BY_NAME[OTHER]


def fault_of_status(status: int, *, of_model: bool) -> Fault:
    """Return the row of a status; `of_model` if the model itself failed, and will again."""
    fault = BY_NAME.get(str(status))
    if fault is not None:
        return fault
    if status >= 500:
        return BY_NAME[MODEL_FAILED if of_model else "5xx"]
    return BY_NAME.get(f"{status // 100}xx", BY_NAME["4xx"])


def new_error(name: str, message: str) -> EndpointError:
    """Make the error of a row; one that was raised before anything was sent counts no attempt."""
    fault = BY_NAME[name]
    error = fault.error(message, attempts=0 if fault.breaker == "nothing" else 1)
    error.fault, error.hint = fault.name, fault.hint
    return error
