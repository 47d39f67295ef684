"""The last Azure execution provider, ``onnxruntime-azure==1.15.0``, beside ours.

    python -m tests.support.original_ep             # ask both, and print how they compare
    python -m tests.support.original_ep --triton    # ask both for what a real Triton serves, too
    python -m tests.support.original_ep --recorded  # with what the original did before
    python -m tests.support.original_ep --record    # ask the original, and record what it does

Needs Linux x86-64 and Python 3.11 except for ``--recorded``. Recordings are kept in
``tests/recordings``; only what an endpoint sees and a caller gets is in them.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import logging
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hybridmodel import azure_ep
from hybridmodel.data.tensors import BY_DATATYPE
from tests.support.azure_ep_cases import DEFECTS, SAME, Case, Defect, Observation, served_cases
from tests.support.azure_ep_driver import run_case
from tests.support.faulty import FaultyEndpoint
from tests.support.paths import ROOT

VERSION = "1.15.0"
REQUIREMENTS = (f"onnxruntime-azure=={VERSION}", "numpy<2", "protobuf<5")
RECORDING = ROOT / "tests" / "recordings" / f"onnxruntime_azure_{VERSION}.json"

_HANGS_S = 3.0
_PATIENCE_S = 60.0
_LONGEST = 200
_WIDTH = 100

EXPLAINED = {
    "Accept": "libcurl's default, which says nothing",
    "Accept-Encoding": "identity: Triton would compress each answer otherwise",
    "Authorization": "without a key the original sends 'Bearer ', ours no header",
    "Content-Length": "36 more for the request's id",
    "Inference-Header-Content-Length": "36 more for the request's id",
    "User-Agent": "each says who it is",
    "x-ms-client-request-id": "the id of the request, for the endpoint's logs",
}
"""Headers in which the two differ, and why."""


class Original:
    """The original in a process and environment of its own; begun anew when it hangs or crashes.

    Raises
    ------
    hybridmodel.exceptions.ConfigurationError
        If its environment cannot be made.
    """

    def __init__(self) -> None:
        from hybridmodel.serving.environments import environment

        name = REQUIREMENTS[0].replace("==", "-")
        self._python = environment(name, REQUIREMENTS) / "bin" / "python"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Original:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, case: Case, uri: str) -> dict[str, Any] | None:
        """Run a case; None when it does not end, after some patience."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(case.to_json(uri)).encode() + b"\n")
        process.stdin.flush()
        outcome = self._read(process, _HANGS_S if case.hangs else _PATIENCE_S)
        if outcome is None:
            self._end()
        return outcome

    def _start(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("azure_ep_driver.py")
        self._process = subprocess.Popen(
            [str(self._python), "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._read(self._process, _PATIENCE_S) == {"version": VERSION}
        return self._process

    def _read(self, process: subprocess.Popen[bytes], patience_s: float) -> Any:
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([process.stdout], [], [], patience_s)[0]:
                return None
            chunk = process.stdout.read(1 << 20)
            if not chunk:
                raise RuntimeError("the process of the original has crashed")
            line += chunk
        return json.loads(line)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:
                pass
        self._process = None


def observe_original(original: Original, case: Case) -> Observation:
    """See what the original does in a case."""
    with listening(case) as endpoint:
        outcome = original.run(case, endpoint.uri)
        return observation(endpoint, outcome)


def observe_ours(case: Case) -> Observation:
    """See what ours does in a case."""
    with listening(case) as endpoint, audible() as printed:
        outcome = run_case(azure_ep, case.to_json(endpoint.uri))
        outcome["printed"] = printed.getvalue()
        return observation(endpoint, outcome)


@contextmanager
def listening(case: Case) -> Iterator[FaultyEndpoint]:
    """Open the endpoint of a case."""
    script = case.script() or (lambda connection: endpoint.wait(60))
    endpoint = FaultyEndpoint(script)
    with endpoint:
        yield endpoint


@contextmanager
def audible() -> Iterator[io.StringIO]:
    """Collect what is printed and logged, and take back what ``verbose`` sets up."""
    log = logging.getLogger("hybridmodel")
    before = log.level, log.handlers[:], log.propagate
    printed = io.StringIO()
    log.propagate = False
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield printed
    finally:
        log.level, log.handlers[:], log.propagate = before


def observation(endpoint: FaultyEndpoint, outcome: dict[str, Any] | None) -> Observation:
    """Put together what the endpoint saw and what the caller got."""
    printed = (outcome or {}).pop("printed", "")
    if outcome is not None and outcome.get("message"):
        outcome["message"] = without_port(outcome["message"], endpoint)
    return {
        "connections": len(endpoint._open),
        "requests": [recorded(request) for request in endpoint.requests],
        "outcome": outcome,
        "printed": without_port(printed, endpoint),
    }


def without_port(text: str, endpoint: FaultyEndpoint) -> str:
    """Make what is said the same in every run."""
    return text.replace(str(endpoint.port), "PORT")


def recorded(request: bytes) -> dict[str, Any]:
    """Take a request apart: line, headers, JSON, and the tensors by name."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    del headers["Host"]
    length = int(headers.get("Inference-Header-Content-Length", len(body)))
    text, rest = body[:length].decode(), body[length:]
    tensors = {}
    for item in json.loads(text)["inputs"]:
        size = item["parameters"]["binary_data_size"]
        tensors[item["name"]] = tensor(item, rest[:size])
        rest = rest[size:]
    assert rest == b""
    return {"line": line, "headers": headers, "json": text, "tensors": tensors}


def tensor(item: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """Write the bytes of a tensor, or their hash if they are many."""
    dtype = BY_DATATYPE[item["datatype"]].dtype
    what = {"dtype": dtype.str, "shape": item["shape"]}
    if len(raw) > _LONGEST:
        return {**what, "sha256": hashlib.sha256(raw).hexdigest(), "size_bytes": len(raw)}
    return {**what, "data": base64.b64encode(raw).decode()}


def shortened(seen: Observation) -> Observation:
    """Write the hash of large outputs instead of their bytes."""
    outcome = seen["outcome"]
    if outcome is None or "outputs" not in outcome:
        return seen
    outputs = [
        {**array, "data": hashlib.sha256(array["data"].encode()).hexdigest()}
        if len(array.get("data", "")) > _LONGEST
        else array
        for array in outcome["outputs"]
    ]
    return {**seen, "outcome": {**outcome, "outputs": outputs}}


def wire_differences(original: Observation, ours: Observation) -> list[str]:
    """Say in what the requests of the two differ, beyond what is explained."""
    if len(original["requests"]) != len(ours["requests"]):
        return [f"{len(original['requests'])} and {len(ours['requests'])} requests"]
    return [
        f"{name}: {one.get(name)} and {other.get(name)}"
        for one, other in zip(*map(_comparable, (original, ours)), strict=True)
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]


def _comparable(seen: Observation) -> list[dict[str, Any]]:
    return [
        {
            "line": request["line"],
            "json": re.sub('"id":"[0-9a-f-]*"', '"id":""', request["json"]),
            "tensors": request["tensors"],
            "key": request["headers"].get("Authorization", "Bearer "),
            **{key: value for key, value in request["headers"].items() if key not in EXPLAINED},
        }
        for request in seen["requests"]
    ]


def result_differences(original: Observation, ours: Observation) -> list[str]:
    """Say in what the outcomes of the two differ: values or the kind of error, and providers."""
    one, other = original["outcome"], ours["outcome"]
    return [
        f"{name}: {one.get(name)} and {other.get(name)}"
        for name in ("error", "outputs", "providers")
        if one.get(name) != other.get(name)
    ]


def read_recording() -> dict[str, Observation]:
    """Read what the original did, by the names of the cases."""
    observations: dict[str, Observation] = json.loads(RECORDING.read_text(encoding="utf-8"))
    return observations


def write_recording(observations: dict[str, Observation]) -> None:
    """Write down what the original did."""
    RECORDING.write_text(written(observations) + "\n", encoding="utf-8")


def written(value: Any, indent: str = "") -> str:
    """Write JSON with a line for whatever fits into one, so that a change can be read."""
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(indent + text) <= _WIDTH:
        return text
    inner = indent + " "
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {written(item, inner)}" for key, item in value.items()]
    else:
        items = [written(item, inner) for item in value]
    start, end = text[0], text[-1]
    return f"{start}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{end}"


def report(theirs: dict[str, Observation]) -> tuple[str, list[str]]:
    """Compare the original's observations with ours, now; return the text, and what is amiss."""
    seen = {case.name: (theirs[case.name], shortened(observe_ours(case))) for case in cases()}
    amiss = [
        *(case.name for case in SAME if any(differences(*seen[case.name]))),
        *(
            defect.case.name
            for defect in DEFECTS
            if not as_expected(defect, *seen[defect.case.name])
        ),
    ]
    parts = [
        same_table(seen),
        defect_table(seen),
        table(["header that differs", "why"], list(EXPLAINED.items())),
        f"{len(SAME)} cases the same, {len(DEFECTS)} defects; amiss: {', '.join(amiss) or 'none'}",
    ]
    return "\n\n".join(parts) + "\n", amiss


def cases() -> list[Case]:
    """List everything that is asked."""
    return [*SAME, *(defect.case for defect in DEFECTS)]


def differences(original: Observation, ours: Observation) -> tuple[str, str]:
    """Say in what wire and result differ, in empty texts where they do not."""
    return (
        "; ".join(wire_differences(original, ours)),
        "; ".join(result_differences(original, ours)),
    )


def as_expected(defect: Defect, original: Observation, ours: Observation) -> bool:
    """Tell whether the original shows a defect, and ours does what it should."""
    return (defect.look(original), defect.look(ours)) == (defect.original, defect.ours)


def same_table(seen: dict[str, tuple[Observation, Observation]]) -> str:
    """Lay out the cases in which the original is right."""
    rows = []
    for case in SAME:
        original, _ = both = seen[case.name]
        wire, result = (text or "same" for text in differences(*both))
        rows.append([case.name, ended(original), str(len(original["requests"])), wire, result])
    return table(["case", "original", "requests", "wire", "result"], rows)


def ended(seen: Observation) -> str:
    """Say of what kind an outcome is."""
    outcome = seen["outcome"]
    if "error" in outcome:
        return str(outcome["error"])
    return ", ".join(f"{array['dtype'][1:]}{array['shape']}" for array in outcome["outputs"])


def defect_table(seen: dict[str, tuple[Observation, Observation]]) -> str:
    """Lay out the defects side by side."""
    rows = [
        [defect.number, defect.case.name, *map(defect.look, seen[defect.case.name])]
        for defect in DEFECTS
    ]
    return table(["", "case", f"original {VERSION}", "ours"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table of words."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def ask_triton(original: Original, case: Case, uri: str) -> tuple[Observation, Observation]:
    """See what both do with a real server; what went over the wire is not seen."""
    outcomes = original.run(case, uri), run_case(azure_ep, case.to_json(uri))
    theirs, ours = ({"outcome": outcome, "requests": []} for outcome in outcomes)
    return theirs, ours


def triton_report(original: Original) -> tuple[str, list[str]]:
    """Compare what the two get from a real Triton; return the text, and what is amiss."""
    from hybridmodel.serving import TritonServer
    from tests.support.models import served

    asked = served_cases()
    names = {case.entries["azure.model_name"] for case in asked}
    files = {name: model for name, model in served().items() if name in names}
    with TritonServer(files) as server:
        seen = {case.name: ask_triton(original, case, server.uri) for case in asked}
    found = {name: "; ".join(result_differences(*both)) for name, both in seen.items()}
    rows = [[name, ended(seen[name][0]), text or "same"] for name, text in found.items()]
    amiss = [name for name, text in found.items() if text]
    return table(["served by Triton", "original", "result"], rows) + "\n\n", amiss


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how the two compare; status 1 when something is amiss."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.original_ep")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--recorded", action="store_true", help="compare with the recording")
    group.add_argument("--record", action="store_true", help="make the recording again")
    group.add_argument("--triton", action="store_true", help="ask a real Triton, too")
    options = parser.parse_args(arguments)
    amiss: list[str] = []
    if options.recorded:
        theirs = read_recording()
    else:
        with Original() as original:
            theirs = {case.name: shortened(observe_original(original, case)) for case in cases()}
            if options.triton:
                text, amiss = triton_report(original)
                sys.stdout.write(text)
    if options.record:
        write_recording(theirs)
        return 0
    text, more = report(theirs)
    sys.stdout.write(text)
    return 1 if amiss or more else 0


if __name__ == "__main__":
    sys.exit(main())
