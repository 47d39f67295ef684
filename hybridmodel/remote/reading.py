"""An answer, held against what was asked for before anything of it is decoded or allocated."""

from __future__ import annotations

from collections.abc import Sequence

from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import EndpointTimeout, ProtocolError
from hybridmodel.remote.answers import differences
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.wire.json_text import BYTES_PER_S, JSON_BYTES, JsonLimit
from hybridmodel.remote.wire.layouts import fill
from hybridmodel.remote.wire.protocol import read_response
from hybridmodel.remote.wire.tensor_data import Array


def read_answer(
    call: Call,
    reply: Reply,
    spec: ModelSpec,
    outputs: Sequence[str],
    rows: int | None,
    limit: JsonLimit,
) -> tuple[dict[str, Array], str | None, tuple[str, ...]]:
    """Read an answer, if it is that of the local model.

    Parameters
    ----------
    call : Call
        What it is the answer to, and how much time there is.
    reply : Reply
        Its tensors must not be used again.
    spec : ModelSpec
        Of the local model.
    outputs : sequence of str
        Names that were asked for.
    rows : int or None
        That every batched output must have.
    limit : JsonLimit
        What its JSON may hold.

    Returns
    -------
    tuple of (dict of str to ndarray, str or None, tuple of str)
        The outputs, the version of the model, and instead of these how the answer differs.

    Raises
    ------
    ProtocolError
        If it is anything but a complete answer to this call.
    EndpointTimeout
        If there is no time to read it.
    """
    if len(reply.header) > JSON_BYTES:
        _check_time(call, len(reply.header))
    layout, request_id = read_response(reply.header, limit)
    if request_id not in (None, "", call.request_id):
        raise ProtocolError(f"the answer is that of request {request_id!r:.80}")
    found = differences(layout.by_name, spec, outputs, rows)
    if found:
        return {}, None, found
    arrays = fill(layout.slots, reply.tensors, "output", lambda: call.deadline.check(_READING))
    return arrays, layout.model_version, ()


_READING = "reading the answer"


def _check_time(call: Call, size_bytes: int) -> None:
    """Raise if so much JSON cannot be read in the time that is left: it is read in one go."""
    if size_bytes / BYTES_PER_S > call.deadline.remaining_s():
        raise EndpointTimeout(
            f"{size_bytes} bytes of JSON came, and reading them takes longer than is left of the "
            f"deadline of {call.deadline.timeout_s:g} s; binary tensors take less"
        )
