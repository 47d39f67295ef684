"""A web service of coroutines: one prediction a request, few requests at the endpoint.

FastAPI answers each caller with ``await model.apredict(...)``, so no thread waits for the endpoint.
With ``coalesce_rows``, rows of callers who wait at the same time go together in one request.

    python examples/service.py                 the endpoint is the embedded server
    python examples/service.py --triton        the endpoint is a real Triton (Linux x86-64)

Starts both servers, lets 64 callers send rows one by one over HTTP, checks each answer against the
local model, and prints how it went. A service of your own needs ``make_app`` alone, with a model
from ``hybridmodel.load_model`` or MLflow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from hybridmodel import EndpointUnavailable, HybridOnnxModel, InputMismatch
from hybridmodel.serving import TritonServer, serve

SERVERS = {"embedded": serve, "triton": TritonServer}


def make_app(model: HybridOnnxModel) -> FastAPI:
    """Return the service of one model."""
    app = FastAPI()

    @app.post("/predict")
    async def predict(row: list[float]) -> dict[str, int]:
        data = np.array([row], np.float32)
        try:
            label = await model.apredict(data, use_azure=True, output="label", timeout=10)
        except InputMismatch as error:
            raise HTTPException(422, str(error)) from error
        except EndpointUnavailable as error:
            raise HTTPException(503, "try again") from error
        return {"label": int(label[0])}

    return app


def train() -> tuple[bytes, np.ndarray]:
    """Fit a classifier of digits; return it as an ONNX file, with rows to ask for."""
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    fitted = make_pipeline(MinMaxScaler(), LogisticRegression()).fit(X, y)
    return to_onnx(fitted, X[:1], options={"zipmap": False}).SerializeToString(), X


@contextmanager
def running(app: FastAPI) -> Iterator[tuple[str, int]]:
    """Serve an app on a free port, and yield its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join()


async def ask(address: tuple[str, int], rows: np.ndarray, times: list[float]) -> list[int]:
    """Be one caller: send rows one after the other over one connection, and return the labels."""
    reader, writer = await asyncio.open_connection(*address)
    labels = []
    for row in rows:
        body = json.dumps(row.tolist()).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: {address[0]}\r\nContent-Length: {len(body)}\r\n"
        started = time.perf_counter()
        writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(answer.partition("content-length:")[2].split()[0])
        said = json.loads(await reader.readexactly(length))
        times.append(time.perf_counter() - started)
        if " 200 " not in answer.partition("\r\n")[0]:
            raise RuntimeError(f"the service answered {answer.partition(chr(13))[0]}: {said}")
        labels.append(said["label"])
    writer.close()
    return labels


async def load(
    address: tuple[str, int], rows: np.ndarray, callers: int
) -> tuple[list[int], list[float]]:
    """Let many callers share the rows; return the labels in order, and the time of each call."""
    times: list[float] = []
    shares = np.array_split(np.arange(len(rows)), callers)
    found = await asyncio.gather(*(ask(address, rows[share], times) for share in shares))
    return [label for labels in found for label in labels], times


def main() -> None:
    """Tell how a load test went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--triton", dest="server", action="store_const", const="triton")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--coalesce-rows", type=int, default=256)
    options = parser.parse_args()

    onnx, rows = train()
    with SERVERS[options.server or "embedded"]({"digits": onnx}) as server:
        endpoint = server.endpoint("digits", coalesce_rows=options.coalesce_rows)
        with HybridOnnxModel(onnx, endpoint=endpoint) as model:
            with running(make_app(model)) as address:
                started = time.perf_counter()
                labels, times = asyncio.run(load(address, rows, options.callers))
                seconds = time.perf_counter() - started
            requests = model.stats()["azure.requests"]
            wrong = int(np.sum(labels != model.predict(rows, output="label")))

    print(f"{len(labels)} calls of {options.callers} callers, {wrong} wrong")
    print(f"{len(labels) / seconds:.0f} answers/s, median {statistics.median(times) * 1e3:.1f} ms")
    print(f"{requests:.0f} requests at the endpoint, {len(labels) / requests:.1f} calls for each")


if __name__ == "__main__":
    main()
