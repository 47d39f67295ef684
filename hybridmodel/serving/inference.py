"""Answers an infer request in a worker thread: from the bytes of one to the bytes of the other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from hybridmodel.data.tensors import BY_DATATYPE
from hybridmodel.exceptions import ConfigurationError, ProtocolError
from hybridmodel.remote.wire.protocol import InferRequest, Message, encode_response
from hybridmodel.serving.redaction import without_paths
from hybridmodel.serving.requests import TooMuchJson, read_request

if TYPE_CHECKING:
    from hybridmodel.data.tensors import ModelSpec
    from hybridmodel.serving.catalogue import ServedModel
    from hybridmodel.serving.limits import Limits

_log = logging.getLogger("hybridmodel")


@dataclass(frozen=True, slots=True)
class Asked:
    """The version of a model that a request is for."""

    name: str
    version: str
    model: ServedModel


def spec_of(asked: Asked) -> ModelSpec:
    """Return the model's tensors, and open it if necessary; only the log says why that failed."""
    try:
        return asked.model.session.spec
    except ConfigurationError as error:
        _log.warning("model %r cannot be served: %s", asked.name, error)
        message = f"model {asked.name!r} cannot be opened; the server's log says why"
        raise HTTPException(500, message) from error


def infer(asked: Asked, body: bytearray, header_length: str | None, limits: Limits) -> Message:
    """Answer a request, or raise 400 for an invalid one, 413 for too much JSON, 500 for the model.

    The result still has to be joined to a body.
    """
    spec = spec_of(asked)
    marks_ns = [perf_counter_ns()]
    try:
        request = read_request(body, header_length, spec, limits)
        binary = _wanted(spec, request)
    except ProtocolError as error:
        status = 413 if isinstance(error, TooMuchJson) else 400
        raise HTTPException(status, f"model {asked.name!r}: {error}") from error
    marks_ns.append(perf_counter_ns())
    try:
        outputs = asked.model.session.run(request.inputs, list(binary))
    except Exception as error:
        # The request fits the model's declaration, so the fault is the model's.
        asked.model.statistics.failed(marks_ns[0])
        _log.info("model %r failed: %s", asked.name, error)
        message = f"model {asked.name!r} failed: {without_paths(str(error))}"
        raise HTTPException(500, message) from error
    marks_ns.append(perf_counter_ns())
    answer = encode_response(
        outputs,
        binary,
        model_name=asked.name,
        model_version=asked.version,
        request_id=request.request_id,
    )
    asked.model.statistics.succeeded([*marks_ns, perf_counter_ns()])
    return answer


def _wanted(spec: ModelSpec, request: InferRequest) -> dict[str, bool]:
    """Return the outputs to compute, in the model's order, and whether each is sent as binary."""
    for asked in request.outputs:
        if asked not in spec.output_names:
            raise ProtocolError(f"unexpected inference output {asked!r}")
    wanted = request.outputs or dict.fromkeys(spec.output_names, request.binary)
    for output, binary in wanted.items():
        datatype = spec.output(output).datatype
        if not binary and not BY_DATATYPE[datatype].in_json:
            raise ProtocolError(
                f"output {output!r} is {datatype}, which JSON cannot carry; ask for it as "
                "binary_data"
            )
    return {output: wanted[output] for output in spec.output_names if output in wanted}
