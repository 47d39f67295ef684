"""From the bytes of an infer request to those of its answer, in a worker thread."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from hybridmodel.data.tensors import BY_DATATYPE
from hybridmodel.exceptions import ConfigurationError, ProtocolError
from hybridmodel.remote.wire.protocol import InferRequest, Message, encode_response
from hybridmodel.serving.redaction import without_paths
from hybridmodel.serving.requests import TooMuchJson, read_request
from hybridmodel.serving.statistics import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hybridmodel.data.tensors import ModelSpec
    from hybridmodel.remote.wire.tensor_data import Array
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
    """Return a model's tensors, opening it if need be.

    Raises
    ------
    HTTPException
        500 if it cannot be opened; why stands in this process' log only.
    """
    try:
        return asked.model.spec
    except ConfigurationError as error:
        _log.warning("model %r cannot be served: %s", asked.name, error)
        message = f"model {asked.name!r} cannot be opened; the log of the server says why"
        raise HTTPException(500, message) from error


def infer(asked: Asked, body: bytearray, header_length: str | None, limits: Limits) -> Message:
    """Answer an infer request.

    Raises
    ------
    HTTPException
        400 for what is wrong with the request, 413 for too much JSON, 500 if the model fails.
    """
    spec = spec_of(asked)
    clock = Clock()
    try:
        request = read_request(body, header_length, spec, limits)
        binary = _wanted(spec, request)
    except ProtocolError as error:
        status = 413 if isinstance(error, TooMuchJson) else 400
        raise HTTPException(status, f"model {asked.name!r}: {error}") from error
    clock.next()
    outputs = _run(asked, request.inputs, list(binary), clock)
    clock.next()
    answer = encode_response(
        outputs,
        binary,
        model_name=asked.name,
        model_version=asked.version,
        request_id=request.request_id,
    )
    asked.model.statistics.succeeded(clock)
    return answer


def _run(
    asked: Asked, inputs: Mapping[str, Array], outputs: list[str], clock: Clock
) -> dict[str, Array]:
    try:
        return asked.model.session.run(inputs, outputs)
    except Exception as error:
        # The request fits the model's declaration, so that what failed is the model.
        asked.model.statistics.failed(clock)
        _log.info("model %r failed: %s", asked.name, error)
        message = f"model {asked.name!r} failed: {without_paths(str(error))}"
        raise HTTPException(500, message) from error


def _wanted(spec: ModelSpec, request: InferRequest) -> dict[str, bool]:
    """Return the outputs to compute in the model's order, and whether each goes out binary."""
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
