"""The request of a call, written where that keeps nobody waiting."""

from __future__ import annotations

from functools import partial

from hybridmodel.data.extent import is_large
from hybridmodel.process import loops
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.wire.protocol import Message, encode_request


def written_request(call: Call, request_id: str, binary: bool) -> Message:
    """Write the request of a call; not on an event loop where that takes long."""
    write = partial(encode_request, call.feeds, call.outputs, request_id=request_id, binary=binary)
    if loops.current_loop() is None or not is_large(call.feeds):
        return write()
    lies_ready = binary and all(array.dtype.kind != "O" for array in call.feeds.values())
    return write() if lies_ready else loops.apart(write)
