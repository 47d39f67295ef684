"""What the original Azure execution provider and ours are both asked, and what each is seen to do.

`SAME` holds cases in which the original is right, and `DEFECTS` those in which it is not, before an
endpoint that records; `served_cases` asks a real Triton, where the original is right.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import onnx

from hybridmodel.data.tensors import BY_DTYPE, ELEMENT_TYPES
from tests.support import models
from tests.support.azure_ep_driver import packed, unpacked
from tests.support.faulty import Script, error, http

KEY = "SECRETKEY"
CPU = ("CPUExecutionProvider",)
OPSET, IR_VERSION = 15, 8
"""What onnxruntime 1.15 reads."""

Arrays = Mapping[str, "np.ndarray[Any, Any]"]
Observation = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One run of one session.

    Attributes
    ----------
    feeds : mapping of str to ndarray
        What is handed in.
    outputs : sequence of str or None
        What is asked for.
    entries, run : mapping of str to str
        Beside, or instead of, the usual session and run entries; None takes one away.
    reply : Script or None
        What the endpoint does; None goes silent. By default it answers as the model would.
    times : int
        How often the session runs.
    hangs : bool
        Whether the original never ends.
    """

    name: str
    model: bytes = field(repr=False)
    feeds: Arrays = field(repr=False)
    outputs: Sequence[str] | None = None
    entries: Mapping[str, str | None] = field(default_factory=dict)
    run: Mapping[str, str | None] = field(default_factory=dict)
    providers: Sequence[str] = CPU
    times: int = 1
    reply: Script | str | None = "as the model"
    hangs: bool = False

    def to_json(self, uri: str) -> dict[str, Any]:
        """Write what `azure_ep_driver.run_case` reads."""
        usual = {
            "azure.endpoint_type": "triton",
            "azure.uri": uri,
            "azure.model_name": "m",
        }
        run = {"use_azure": "1", "azure.auth_key": KEY}
        return {
            "model": base64.b64encode(self.model).decode(),
            "feeds": {name: packed_as_it_lies(array) for name, array in self.feeds.items()},
            "outputs": self.outputs,
            "entries": given({**usual, **self.entries}, uri),
            "run": given({**run, **self.run}, uri),
            "providers": self.providers,
            "times": self.times,
        }

    def script(self) -> Script | None:
        """Return what the endpoint does."""
        if isinstance(self.reply, str):
            return answer(computed(self.model, self.feeds))
        return self.reply


def given(entries: Mapping[str, str | None], uri: str) -> dict[str, str]:
    """Leave out what is None, and put the address in its place."""
    return {key: value.replace("URI", uri) for key, value in entries.items() if value is not None}


def packed_as_it_lies(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Write an array, and whether it is column-major."""
    columns = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
    return {**packed(array), "order": "F" if columns else "C"}


def answer(arrays: Arrays, **changes: Any) -> Script:
    """Return the script of an endpoint that answers with these arrays, in binary.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The outputs.
    raw : bytes, optional
        What stands behind the JSON instead of their values.
    """
    outputs, raw = [], b""
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes() if array.dtype != object else texts(array)
        data = changes.get("raw", data)
        outputs.append(
            {
                "name": name,
                "datatype": BY_DTYPE[array.dtype].datatype,
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(data)},
            }
        )
        raw += data
    head = json.dumps({"model_name": "m", "model_version": "1", "outputs": outputs}).encode()
    lengths = {"Inference_Header_Content_Length": str(len(head))}
    return http(200, head + raw, Content_Type="application/octet-stream", **lengths)


def texts(array: np.ndarray[Any, Any]) -> bytes:
    """Write strings as the protocol does."""
    encoded = [text.encode() for text in array.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in encoded)


def computed(model: bytes, feeds: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    """Compute every output of a model here."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=list(CPU))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


@lru_cache
def older(model: bytes) -> bytes:
    """Return a model of the tests in an opset that onnxruntime 1.15 reads."""
    parsed = onnx.load_from_string(model)
    parsed.ir_version = IR_VERSION
    for imported in parsed.opset_import:
        if imported.domain == "":
            imported.version = min(imported.version, OPSET)
    return parsed.SerializeToString()


def copies(**inputs: Any) -> bytes:
    """Make an output ``<name>_out`` for each input."""
    return older(models.passthrough(**inputs))


def short(providers: Sequence[str]) -> str:
    """Name execution providers by their first word."""
    return " ".join(name.removesuffix("ExecutionProvider") for name in providers)


def numbers(shape: Sequence[int], dtype: Any = "<f4") -> np.ndarray[Any, Any]:
    """Count up in a dtype: floats by halves, truth values by turns."""
    dtype = np.dtype(dtype)
    most = 2 if dtype.kind == "b" else 100
    values = np.arange(np.prod(shape)).reshape(shape) % most
    return (values / 2 if dtype.kind == "f" else values).astype(dtype)


IDENTITY = older(models.identity("FP32", ("N", 2)))
TWO = older(models.two_outputs())
A_AND_B = copies(A=("FP32", ("N",)), B=("FP32", ("M",)))
X = np.array([[1, 2], [3, 4]], "<f4")
ONE = {"x": X[:1]}
AB = {"A": np.array([1, 2], "<f4"), "B": np.array([3, 4, 5], "<f4")}


def same_cases() -> list[Case]:
    """List what the original does right: bytes, results, and refusals before anything is sent."""
    plain = [row for row in ELEMENT_TYPES if row.datatype != "BYTES"]
    return [
        *(
            Case(
                f"dtype {row.datatype}",
                older(models.identity(row.datatype)),
                {"x": numbers((2, 3), row.dtype)},
            )
            for row in plain
        ),
        *(
            Case(
                f"rank {rank}",
                older(models.identity("FP32", ("N", "A", "B", "C")[:rank])),
                {"x": numbers((2, 3, 4, 5)[:rank])},
            )
            for rank in (1, 2, 3, 4)
        ),
        *(
            Case(f"{rows} rows", older(models.linear()), {"x": numbers((rows, 4))})
            for rows in (1, 10, 100, 1_000, 10_000)
        ),
        Case("column-major", IDENTITY, {"x": np.asfortranarray(X)}),
        Case("two outputs, all", TWO, {"x": numbers((2, 3))}),
        Case("two outputs, by name", TWO, {"x": numbers((2, 3))}, ["total", "double"]),
        # The original's order is that of a hash table, and right for these names.
        Case(
            "two inputs, lucky names",
            copies(input_ids=("INT64", ("N",)), attention_mask=("INT64", ("N",))),
            {"input_ids": numbers((2,), "<i8"), "attention_mask": numbers((2,), "<i8") + 7},
        ),
        Case("version 3", IDENTITY, ONE, entries={"azure.model_version": "3"}),
        Case("version of the server", IDENTITY, ONE, entries={"azure.model_version": ""}),
        Case("path before /v2", IDENTITY, ONE, entries={"azure.uri": "URI/a/b"}),
        Case("empty key", IDENTITY, ONE, run={"azure.auth_key": ""}),
        Case("no use_azure", IDENTITY, ONE, run={"use_azure": None}),
        Case("use_azure 0", IDENTITY, ONE, run={"use_azure": "0"}),
        *(
            Case(name, IDENTITY, feeds, outputs, reply=answer(ONE))
            for name, feeds, outputs in (
                ("float64 for FP32", {"x": X.astype("<f8")}, None),
                ("rank 1 for 2", {"x": X[0]}, None),
                ("1 column for 2", {"x": X[:, :1]}, None),
                ("input missing", {}, None),
                ("input unknown", {**ONE, "z": X}, None),
                ("output unknown", ONE, ["z"]),
            )
        ),
        *(
            Case(f"providers {short(providers)}", IDENTITY, ONE, providers=providers)
            for providers in (
                ("CPUExecutionProvider", "AzureExecutionProvider"),
                ("AzureExecutionProvider", "CPUExecutionProvider"),
                ("AzureExecutionProvider",),
                ("CPUExecutionProvider", "azureExecutionProvider"),
                ("CPUExecutionProvider", "CloudExecutionProvider"),
            )
        ),
    ]


def served_cases() -> list[Case]:
    """List runs of what the shared Triton of the tests serves."""
    plain = [row for row in ELEMENT_TYPES if row.datatype != "BYTES"]
    asked: list[tuple[str, Arrays]] = [
        *((f"identity_{row.datatype}", {"x": numbers((2, 3), row.dtype)}) for row in plain),
        *(("linear", {"x": numbers((rows, 4))}) for rows in (1, 10, 100, 1_000, 10_000)),
        ("lookup", {"x": np.array([0, 2, 1], "<i8")}),
        ("image", {"x": numbers((2, 3, 4, 5))}),
        ("two_outputs", {"x": numbers((2, 3))}),
        ("many_weights", {"x": numbers((5,), "<f8")}),
    ]
    served = models.served()
    return [
        Case(
            f"{name} {' '.join(str(list(array.shape)) for array in feeds.values())}",
            older(served[name]),
            feeds,
            entries={"azure.model_name": name},
        )
        for name, feeds in asked
    ]


@dataclass(frozen=True)
class Defect:
    """What the original does wrong.

    Attributes
    ----------
    number : str
        As the migration page numbers them.
    case : Case
        In which it shows.
    look : callable
        Says in a few words what an observation shows.
    original, ours : str
        What it says of either.
    """

    number: str
    case: Case
    look: Callable[[Observation], str]
    original: str
    ours: str


def outcome(seen: Observation) -> str:
    """Say how a run ended: values, an error with its status, or not at all."""
    end = seen["outcome"]
    if end is None:
        return "no end within 3 s"
    if "error" in end:
        status = f" {end['status']}" if end["status"] else ""
        return f"{end['error']}{status}"
    return " ".join(str(unpacked(array).tolist()).replace(".0", "") for array in end["outputs"])


def kinds(seen: Observation) -> str:
    """Say how a run ended: dtypes and shapes, since the values are anybody's guess."""
    end = seen["outcome"]
    if end is None or "error" in end:
        return outcome(seen)
    arrays = [unpacked(array) for array in end["outputs"]]
    return " ".join(f"{array.dtype}{list(array.shape)}" for array in arrays)


def ended_after(seen: Observation) -> str:
    """Say how a run ended, and after how many requests."""
    return f"{outcome(seen)}, requests: {len(seen['requests'])}"


def sent(seen: Observation) -> str:
    """Say which values went under which name."""
    tensors = seen["requests"][0]["tensors"]
    return " ".join(f"{name}={unpacked(tensor).tolist()}" for name, tensor in tensors.items())


def injected(seen: Observation) -> str:
    """Say whether a header of the attacker's arrived."""
    arrived = any("X-Evil" in request["headers"] for request in seen["requests"])
    return "X-Evil arrived" if arrived else ended_after(seen)


def told(seen: Observation) -> str:
    """Say whether the key can be read in what was printed or logged."""
    printed = seen["printed"]
    return f"{'the key' if KEY in printed else 'no key'} in {'a message' if printed else 'nothing'}"


def connections(seen: Observation) -> str:
    """Say how many connections were opened."""
    return f"connections: {seen['connections']}"


def refused(status: int, **headers: str) -> Script:
    """Return the script of an endpoint that says no, as Triton does."""
    return error(status, "no", **headers)


P_AND_Q = answer({"A_out": np.array([1, 1], "<f4"), "B_out": np.array([2, 2], "<f4")})
PAIR = {"A": np.array([1, 2], "<f4"), "B": np.array([3, 4], "<f4")}
LOGIN = http(502, b"<html>Bad gateway</html>", Content_Type="text/html")


def status_defect(number: str, name: str, reply: Script, ours: str) -> Defect:
    """Make a case of a reply that is not 200."""
    return Defect(number, Case(name, IDENTITY, ONE, reply=reply), outcome, "Fail", ours)


def defects() -> list[Defect]:
    """List what the original does wrong, with what was seen."""
    swapped, bound = "A=[3.0, 4.0, 5.0] B=[1.0, 2.0]", "A=[1.0, 2.0] B=[3.0, 4.0, 5.0]"
    silent, short = "no end within 3 s", answer(ONE_OUT, raw=b"\0\0\0\x40")
    text = {"text": np.array(["a", "ü"], dtype=object)}
    crlf = {"azure.auth_key": "k\r\nX-Evil: 1"}
    return [
        Defect("1", Case("two inputs", A_AND_B, AB), sent, swapped, bound),
        Defect(
            "2",
            Case("one of two outputs", A_AND_B, PAIR, ["B_out"], reply=P_AND_Q),
            outcome,
            "[1, 1] [2, 2]",
            "[2, 2]",
        ),
        Defect(
            "3",
            Case("outputs turned round", A_AND_B, PAIR, ["B_out", "A_out"], reply=P_AND_Q),
            outcome,
            "[1, 1] [2, 2]",
            "[2, 2] [1, 1]",
        ),
        Defect(
            "4",
            Case("zero rows", IDENTITY, {"x": X[:0]}, hangs=True),
            ended_after,
            f"{silent}, requests: 0",
            "[], requests: 0",
        ),
        Defect(
            "5",
            Case(
                "server is silent",
                IDENTITY,
                ONE,
                None,
                {"azure.timeout_s": "1"},
                reply=None,
                hangs=True,
            ),
            outcome,
            silent,
            "EndpointTimeout",
        ),
        Defect(
            "6",
            Case("4 bytes for 8", IDENTITY, ONE, reply=short),
            kinds,
            "float32[1, 2]",
            "ProtocolError 200",
        ),
        Defect(
            "7",
            Case("12 bytes for 8", IDENTITY, ONE, reply=answer(ONE_OUT, raw=bytes(12))),
            kinds,
            "float32[1, 2]",
            "ProtocolError 200",
        ),
        Defect(
            "8a",
            Case("FP64 for FP32", IDENTITY, ONE, reply=answer({"y": X[:1].astype("<f8")})),
            kinds,
            "float64[1, 2]",
            "SpecMismatch",
        ),
        Defect(
            "8b",
            Case("another shape", IDENTITY, ONE, reply=answer({"y": X.ravel()})),
            kinds,
            "float32[4]",
            "SpecMismatch",
        ),
        Defect(
            "9",
            Case("verbose", IDENTITY, ONE, entries={"azure.verbose": "true"}),
            told,
            "the key in a message",
            "no key in a message",
        ),
        Defect(
            "10",
            Case("line break in the key", IDENTITY, ONE, run=crlf),
            injected,
            "X-Evil arrived",
            "ConfigurationError, requests: 0",
        ),
        Defect(
            "11a",
            Case("use_azure 'false'", IDENTITY, ONE, run={"use_azure": "false"}),
            ended_after,
            "[[1, 2]], requests: 1",
            "[[1, 2]], requests: 0",
        ),
        Defect(
            "11b",
            Case("use_azure ''", IDENTITY, ONE, run={"use_azure": ""}),
            ended_after,
            "[[1, 2]], requests: 1",
            "ConfigurationError, requests: 0",
        ),
        status_defect("12a", "401", refused(401), "AuthenticationFailed 401"),
        status_defect("12b", "429", refused(429, Retry_After="7"), "RateLimited 429"),
        status_defect("12c", "503", refused(503), "EndpointUnavailable 503"),
        status_defect("12d", "502 and a page", LOGIN, "EndpointUnavailable 502"),
        Defect(
            "13",
            Case("five runs", IDENTITY, ONE, times=5),
            connections,
            "connections: 5",
            "connections: 1",
        ),
        Defect(
            "14",
            Case("strings", copies(text=("BYTES", ("N",))), text),
            outcome,
            "Fail",
            "['a', 'ü']",
        ),
        Defect(
            "15",
            Case("no uri, local run", IDENTITY, ONE, None, {"azure.uri": None}, {"use_azure": "0"}),
            outcome,
            "[[1, 2]]",
            "ConfigurationError",
        ),
    ]


ONE_OUT = {"y": X[:1]}
SAME = same_cases()
DEFECTS = defects()
