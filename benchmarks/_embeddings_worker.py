"""The processes of the embeddings benchmark: a server with its answers ready, and two clients.

Each prints a line when it is ready; a client then prints the seconds of one call for each line that
it reads. Nothing is imported that the process does not need, since one of them has other packages.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
import time
from collections.abc import Callable


def server(texts: int, width: int) -> None:
    """Answer every request with the same vectors, in the form that it asks for."""
    import numpy as np

    vectors = np.random.default_rng(0).normal(size=(texts, width)).astype(np.float32)
    answers = {
        form: _answer([encode(row) for row in vectors])
        for form, encode in (
            (b'"base64"', lambda row: base64.b64encode(row.tobytes()).decode()),
            (b'"float"', lambda row: row.tolist()),
        )
    }
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    while True:
        connection = listening.accept()[0]
        threading.Thread(target=_serve, args=(connection, answers), daemon=True).start()


def _answer(vectors: list[object]) -> bytes:
    data = [
        {"object": "embedding", "index": at, "embedding": vector}
        for at, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    said = {"object": "list", "data": data, "model": "m", "usage": usage}
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _serve(connection: socket.socket, answers: dict[bytes, bytes]) -> None:
    stream = connection.makefile("rb")
    while stream.readline():
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        asked = stream.read(length)
        form = next(form for form in answers if form in asked)
        connection.sendall(answers[form])


def openai(uri: str, texts: list[str], form: str) -> Callable[[], object]:
    """Return a call of OpenAI's client; its own default is base64, which it makes lists of."""
    from openai import OpenAI

    client = OpenAI(base_url=uri, api_key="none")
    said = {} if form == "base64" else {"encoding_format": form}
    return lambda: client.embeddings.create(model="m", input=texts, **said)


def ours(uri: str, texts: list[str], form: str) -> Callable[[], object]:
    """Return a call of our client."""
    import numpy as np

    from hybridmodel import EmbeddingsEndpoint, ModelSpec, TensorSpec
    from hybridmodel.remote.clients import client_of

    spec = ModelSpec(
        (TensorSpec("text", "BYTES", (-1,), True),),
        (TensorSpec("vector", "FP32", (-1, -1), True),),
    )
    width = int(sys.argv[4])
    endpoint = EmbeddingsEndpoint(
        uri=uri, model="m", auth_key_env=None, dimensions=width, encoding_format=form
    )
    client = client_of(endpoint, spec)
    feeds = {"text": np.array(texts, object)}
    return lambda: client.infer(feeds, ["vector"], rows=len(texts))


def main() -> None:
    """Be what the first argument says."""
    if sys.argv[1] == "server":
        server(int(sys.argv[2]), int(sys.argv[3]))
        return
    uri, count, form = sys.argv[2], int(sys.argv[3]), sys.argv[5]
    texts = [f"text number {at} of them all" for at in range(count)]
    call = {"openai": openai, "ours": ours}[sys.argv[1]](uri, texts, form)
    call()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        call()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
