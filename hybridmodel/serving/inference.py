"""Answers an infer request in a worker thread: from the bytes of one to the bytes of the other."""

from __future__ import annotations

import logging
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns

from starlette.exceptions import HTTPException

from hybridmodel.data.tensors import BY_DATATYPE, ModelSpec
from hybridmodel.exceptions import ConfigurationError, ProtocolError
from hybridmodel.remote.wire.protocol import InferRequest, Message, encode_response
from hybridmodel.serving.catalogue import ServedModel
from hybridmodel.serving.limits import Limits
from hybridmodel.serving.requests import TooMuchJson, read_request

_log = logging.getLogger("hybridmodel")

_MAX_LETTERS = 2000
_PATH = re.compile(
    r"(?:[A-Za-z]:)?[\\/]{1,2}[^\s\\/'\",;:()\[\]<>|]+(?:[\\/]+[^\s\\/'\",;:()\[\]<>|]+)*"
)


def spec_of(model: ServedModel) -> ModelSpec:
    """Return the model's tensors, and open it if necessary; only the log says why that failed."""
    try:
        return model.session.spec
    except ConfigurationError as error:
        _log.warning("model %r cannot be served: %s", model.name, error)
        message = f"model {model.name!r} cannot be opened; the server's log says why"
        raise HTTPException(500, message) from error


def infer(model: ServedModel, body: bytearray, length: str | None, limits: Limits) -> Message:
    """Answer a request, or raise 400 or 413 for what is wrong with it, 500 if the model fails."""
    spec = spec_of(model)
    marks_ns = [perf_counter_ns()]
    try:
        request = read_request(body, length, spec, limits)
        binary = _wanted(spec, request)
    except ProtocolError as error:
        status = 413 if isinstance(error, TooMuchJson) else 400
        raise HTTPException(status, f"model {model.name!r}: {error}") from error
    marks_ns.append(perf_counter_ns())
    try:
        outputs = model.session.run(request.inputs, list(binary))
    except Exception as error:
        # The request fits the model's declaration, so the fault is the model's.
        model.statistics.failed(marks_ns[0])
        _log.info("model %r failed: %s", model.name, error)
        message = f"model {model.name!r} failed: {without_paths(str(error))}"
        raise HTTPException(500, message) from error
    marks_ns.append(perf_counter_ns())
    answer = encode_response(
        outputs,
        binary,
        model_name=model.name,
        model_version=model.version,
        request_id=request.request_id,
    )
    model.statistics.succeeded([*marks_ns, perf_counter_ns()])
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


def without_paths(text: str) -> str:
    """Replace the paths of this machine by ``…``, and cut a very long text.

    Names of nodes look like paths too, and are kept: a path counts if its first folder exists.
    """
    folders = {str(Path.cwd()), tempfile.gettempdir(), str(Path("~").expanduser())} - {"/"}
    for folder in sorted(folders, key=len, reverse=True):
        # To the end of the path, which may contain spaces.
        text = re.sub(re.escape(folder) + r"(?![\w-])[^'\",;:\n]*", "…", text)
    return _PATH.sub(_shown, text)[:_MAX_LETTERS]


def _shown(found: re.Match[str]) -> str:
    path = Path(found[0])
    with suppress(OSError):
        if len(path.parts) > 1 and Path(*path.parts[:2]).exists():
            return "…"
    return found[0]
