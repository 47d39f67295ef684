"""The way through a proxy: ``CONNECT`` and its answer, before the deadline (RFC 9110, 9.3.6)."""

from __future__ import annotations

from collections.abc import Mapping

from hybridmodel.remote.http.bounded_socket import Stream
from hybridmodel.remote.http.http1 import Head, HeadReader, encode_head
from hybridmodel.remote.resilience import Deadline

_HINTS = {
    403: "the proxy does not let this machine reach the endpoint",
    407: "the proxy wants a user and a password, as in http://user:password@proxy:3128",
}


def open_tunnel(
    stream: Stream, target: str, headers: Mapping[str, str], deadline: Deadline
) -> None:
    """Ask a proxy to carry bytes to a target, both ways.

    Parameters
    ----------
    stream : Stream
        Connected to the proxy.
    target : str
        Host and port.
    headers : mapping of str to str
        What the proxy wants besides, such as a password.
    deadline : Deadline
        Ends it.

    Raises
    ------
    ProtocolError
        If the answer is not HTTP.
    EndpointTimeout, OSError
        If there is no answer in time, or it is no.
    """
    reader = HeadReader()
    found: tuple[Head, bytes] | None = None

    def hear(piece: bytes) -> bool:
        nonlocal found
        found = reader.feed(piece)
        return not piece or found is not None

    head = encode_head("CONNECT", target, {"Host": target, **headers})
    stream.send((head,), deadline, hear)
    while found is None:
        piece = stream.receive(deadline)
        if not piece:
            raise ConnectionResetError("the proxy closed the connection in its answer to CONNECT")
        found = reader.feed(piece)
    status, rest = found[0].status, found[1]
    if not 200 <= status < 300:
        hint = f"; {_HINTS[status]}" if status in _HINTS else ""
        raise ConnectionRefusedError(f"the proxy answered {status} to CONNECT{hint}")
    if rest:
        raise ConnectionResetError("the proxy speaks before the endpoint is asked")
