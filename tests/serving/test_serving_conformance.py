"""The embedded server and a real Triton get the same requests and give the same answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.data.tensors import BY_DATATYPE
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.wire import LENGTH, Call, ask, pack, tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES: dict[str, list[Any]] = {
    "FP32": [1.5, -2.25, 2.0**127],
    "FP64": [0.1, -1e300, 5.0],
    "FP16": [0.5, -2.0, 60000.0],
    "INT8": [-128, 0, 127],
    "INT16": [-(2**15), 0, 2**15 - 1],
    "INT32": [-(2**31), 0, 2**31 - 1],
    "INT64": [-(2**63), 2**53 + 1, 2**63 - 1],
    "UINT8": [0, 1, 255],
    "UINT16": [0, 1, 2**16 - 1],
    "UINT32": [0, 1, 2**32 - 1],
    "UINT64": [0, 2**53 + 1, 2**64 - 1],
    "BOOL": [True, False, True],
    "BYTES": ["", "Grüße", "日本 😀"],
}
ROW = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
RAW_ROW = {"name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
RAW = pack("FP32", np.array([1, 2, 3]))
HEAD = json.dumps({"inputs": [RAW_ROW]}).encode()
BINARY = {"binary_data": True}


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedServer]:
    """Start an embedded server with the models of the shared Triton."""
    with serve(models.served()) as server:
        yield server


@pytest.fixture(params=["embedded", "triton"])
def server(request: pytest.FixtureRequest) -> Any:
    """Give each of the two servers in turn."""
    return request.getfixturevalue(request.param)


def without(item: dict[str, Any], key: str) -> dict[str, Any]:
    """Leave one key out."""
    return {name: value for name, value in item.items() if name != key}


def identity(datatype: str, binary_in: bool, binary_out: bool) -> Call:
    """Ask the identity model of a datatype to send two rows back."""
    array = np.array([VALUES[datatype], VALUES[datatype][::-1]], BY_DATATYPE[datatype].dtype)
    described, raw = tensor("x", datatype, array, binary_in)
    head = {"inputs": [described], "parameters": {"binary_data_output": binary_out}}
    return Call(f"identity_{datatype}", head, raw)


@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("datatype", [name for name in BY_DATATYPE if name != "FP16"])
def test_values_survive(server: Any, datatype: str, binary_in: bool, binary_out: bool) -> None:
    """Every datatype comes back as it went, in both forms and both directions."""
    answer = identity(datatype, binary_in, binary_out).send(server.port)
    assert answer.status == 200
    assert answer.forms == {"y": "binary" if binary_out else "json"}
    np.testing.assert_array_equal(
        answer.outputs["y"], np.array([VALUES[datatype], VALUES[datatype][::-1]])
    )


def test_half_precision_goes_binary_only(server: Any) -> None:
    """FP16 comes back binary, and is refused where JSON is asked for."""
    answer = identity("FP16", True, True).send(server.port)
    assert answer.outputs["y"].tolist() == [VALUES["FP16"], VALUES["FP16"][::-1]]
    assert identity("FP16", True, False).send(server.port).status == 400


def test_numbers_that_are_none_survive_json(server: Any) -> None:
    """NaN and the infinities pass through JSON in both directions."""
    head = {"inputs": [{**ROW, "data": [float("nan"), float("inf"), float("-inf")]}]}
    answer = Call("identity_FP32", head).send(server.port)
    np.testing.assert_array_equal(answer.outputs["y"], [[np.nan, np.inf, -np.inf]])


def test_strings_are_computed_on(server: Any) -> None:
    """Strings reach the model as text and come back as text."""
    described, raw = tensor("text", "BYTES", np.array(["ja", "né"], dtype=object), binary=True)
    answer = Call("strings", {"inputs": [described]}, raw).send(server.port)
    assert answer.outputs["shout"].tolist() == ["ja!", "né!"]


OUTPUTS = {
    "all, one way": ([], {}, {"total": "json", "double": "json"}),
    "all, other way": ([], {"binary_data_output": True}, {"total": "binary", "double": "binary"}),
    "asked in reverse": (
        [{"name": "double"}, {"name": "total"}],
        {},
        {"total": "json", "double": "json"},
    ),
    "one": ([{"name": "double", "parameters": BINARY}], {}, {"double": "binary"}),
    "mixed": (
        [{"name": "double"}, {"name": "total", "parameters": BINARY}],
        {},
        {"total": "binary", "double": "json"},
    ),
    "listed outputs ignore what is said for all": (
        [{"name": "double", "parameters": BINARY}, {"name": "total"}],
        {"binary_data_output": True},
        {"total": "json", "double": "binary"},
    ),
    "a listed one may decline": (
        [{"name": "double", "parameters": {"binary_data": False}}],
        {"binary_data_output": True},
        {"double": "json"},
    ),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_come_as_asked(server: Any, case: str) -> None:
    """Asked outputs come in the model's order, each in the form that was asked of it."""
    asked, parameters, forms = OUTPUTS[case]
    head = {"inputs": [RAW_ROW], "parameters": parameters}
    answer = Call("two_outputs", {**head, "outputs": asked} if asked else head, RAW).send(
        server.port
    )
    assert list(answer.forms.items()) == list(forms.items())
    expected = {"total": [[6.0]], "double": [[2.0, 4.0, 6.0]]}
    assert {name: array.tolist() for name, array in answer.outputs.items()} == {
        name: expected[name] for name in forms
    }
    assert (LENGTH.lower() in answer.headers) == ("binary" in forms.values())


def test_two_inputs_are_told_apart_by_name(server: Any) -> None:
    """Inputs are bound by name, whatever their order and form."""
    b, raw = tensor("b", "INT64", [[10], [20]], binary=True)
    a, _ = tensor("a", "FP32", [[1.0, 2.0], [3.0, 4.0]])
    answer = Call("two_inputs", {"inputs": [b, a]}, raw).send(server.port)
    assert answer.outputs["y"].tolist() == [[11.0, 12.0], [23.0, 24.0]]


def test_no_rows_give_no_binary_part(server: Any) -> None:
    """An empty binary output has its size in the JSON, and no header that announces raw bytes."""
    empty = {"name": "x", "datatype": "INT64", "shape": [0], "data": []}
    head = {"inputs": [empty], "parameters": {"binary_data_output": True}}
    answer = Call("lookup", head).send(server.port)
    assert LENGTH.lower() not in answer.headers
    assert answer.json["outputs"][0]["parameters"] == {"binary_data_size": 0}
    assert answer.outputs["y"].shape == (0,)


@pytest.mark.parametrize("name", ["classifier", "zipmap"])
def test_classifiers_answer_with_arrays(server: Any, name: str) -> None:
    """A classifier gives labels and probabilities, the same with and without ZipMap."""
    x = np.array([[9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0]], np.float32)
    answer = Call(name, {"inputs": [tensor("X", "FP32", x)[0]]}).send(server.port)
    label, probability = answer.outputs.values()
    assert label.tolist() == ["no", "perhaps", "yes"]
    assert probability.shape == (3, 3)
    assert probability.argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("given", "echoed"), [("abc", "abc"), ("", None), (None, None)])
def test_request_id_is_echoed(server: Any, given: str | None, echoed: str | None) -> None:
    """The answer carries the id of the request, and none where there was none."""
    head = {"inputs": [ROW]} if given is None else {"id": given, "inputs": [ROW]}
    assert Call("identity_FP32", head).send(server.port).json.get("id") == echoed


@pytest.mark.parametrize(
    ("version", "answering"), [("", "3"), ("/versions/1", "1"), ("/versions/3", "3")]
)
def test_versions_are_told_apart(server: Any, version: str, answering: str) -> None:
    """A version in the path is used, and the newest one without it."""
    x, _ = tensor("x", "FP32", [[1.0, 2.0, 3.0, 4.0]])
    answer = Call("versions", {"inputs": [x]}, version=version).send(server.port)
    alone = Call("versions", {"inputs": [x]}, version=f"/versions/{answering}").send(server.port)
    assert answer.json["model_version"] == answering
    assert answer.outputs["y"].tolist() == alone.outputs["y"].tolist()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("name", ["two_outputs", "two_inputs", "strings", "zipmap"])
def test_both_routes_of_a_model_agree(server: Any, name: str, binary: bool) -> None:
    """A hybrid model gets from the server what it computes itself, by way of the real client."""
    data: dict[str, Any] = {
        "two_outputs": {"x": np.ones((3, 3), np.float32)},
        "two_inputs": {"a": np.ones((3, 2), np.float32), "b": np.array([[1], [2], [3]])},
        "strings": {"text": np.array(["ja", "né"], dtype=object)},
        "zipmap": {"X": np.eye(4, dtype=np.float32)},
    }
    endpoint = server.endpoint(name, binary=binary)
    with HybridOnnxModel(models.served()[name], endpoint=endpoint) as model:
        here = model.infer(data[name]).outputs
        there = model.infer(data[name], use_azure=True).outputs
    assert list(here) == list(there)
    for output, expected in here.items():
        assert there[output].dtype == expected.dtype
        np.testing.assert_array_equal(there[output], expected)


def fp32(**changes: Any) -> Call:
    """Ask FP32's identity with a changed input."""
    return Call("identity_FP32", {"inputs": [{**ROW, **changes}]})


def raw_fp32(raw: bytes, length: int | str = len(HEAD)) -> Call:
    """Ask FP32's identity with other raw bytes or header length."""
    return Call("identity_FP32", HEAD, raw, {LENGTH: str(length)})


# Where Triton answers 500 to a value that it cannot parse, the embedded server says 400.
REFUSED: dict[str, tuple[Call, int]] = {
    "unknown model": (Call("nobody", {"inputs": [ROW]}), 404),
    "unknown version": (Call("identity_FP32", {"inputs": [ROW]}, version="/versions/7"), 404),
    "name in other letters": (Call("identity%5FFP32", {"inputs": [ROW]}), 404),
    "unknown output": (Call("identity_FP32", {"inputs": [ROW], "outputs": [{"name": "q"}]}), 400),
    "unknown input": (fp32(name="q"), 400),
    "one input too many": (Call("identity_FP32", {"inputs": [ROW, {**ROW, "name": "q"}]}), 400),
    "an input twice": (Call("identity_FP32", {"inputs": [ROW, ROW]}), 400),
    "no input": (Call("identity_FP32", {"inputs": []}), 400),
    "an input missing": (
        Call("two_inputs", {"inputs": [tensor("a", "FP32", [[1.0, 2.0]])[0]]}),
        400,
    ),
    "wrong width": (fp32(shape=[1, 4], data=[1, 2, 3, 4]), 400),
    "wrong rank": (fp32(shape=[3]), 400),
    "wrong datatype": (fp32(datatype="FP64"), 400),
    "unknown datatype": (fp32(datatype="FLOAT"), 400),
    "no data": (Call("identity_FP32", {"inputs": [without(ROW, "data")]}), 400),
    "body cut short": (raw_fp32(RAW[:8]), 400),
    "body too long": (raw_fp32(RAW + b"...."), 400),
    "header length beyond the body": (raw_fp32(RAW, length=9999), 400),
    "header length negative": (raw_fp32(RAW, length=-5), 400),
    "header length one too long": (raw_fp32(RAW, length=len(HEAD) + 1), 400),
    "header length no number": (raw_fp32(RAW, length="abc"), 400),
    "header length missing": (Call("identity_FP32", HEAD + RAW), 400),
    "size of another shape": (
        Call(
            "identity_FP32",
            {"inputs": [{**RAW_ROW, "parameters": {"binary_data_size": 8}}]},
            RAW[:8],
        ),
        400,
    ),
    "string beyond the end": (
        Call(
            "strings",
            {
                "inputs": [
                    {
                        "name": "text",
                        "datatype": "BYTES",
                        "shape": [1],
                        "parameters": {"binary_data_size": 5},
                    }
                ]
            },
            b"\x09\0\0\0a",
        ),
        400,
    ),
    "compression": (
        Call("identity_FP32", {"inputs": [ROW]}, headers={"Content-Encoding": "br"}),
        501,
    ),
    "the model fails": (
        Call("lookup", {"inputs": [tensor("x", "INT64", [7])[0]]}),
        500,
    ),
    "not JSON": (Call("identity_FP32", b"nonsense"), 500),
    "JSON cut by a short header length": (raw_fp32(RAW, length=len(HEAD) - 1), 500),
    "no object": (Call("identity_FP32", b"[1]"), 500),
    "no inputs": (Call("identity_FP32", {}), 500),
    "inputs no list": (Call("identity_FP32", {"inputs": {}}), 500),
    "no name": (Call("identity_FP32", {"inputs": [without(ROW, "name")]}), 500),
    "no shape": (Call("identity_FP32", {"inputs": [without(ROW, "shape")]}), 500),
    "negative size": (fp32(shape=[-1, 3]), 500),
    "too few values": (fp32(data=[1, 2]), 500),
    "too many values": (fp32(data=[1, 2, 3, 4]), 500),
    "text for a number": (fp32(data=["1", 2, 3]), 500),
    "null for a number": (fp32(data=[None, 2, 3]), 500),
    "truth for a number": (fp32(data=[True, True, False]), 500),
    "a fraction for an integer": (
        Call("identity_UINT8", {"inputs": [{**ROW, "datatype": "UINT8", "data": [1.5, 2, 3]}]}),
        500,
    ),
    "a number for truth": (
        Call("identity_BOOL", {"inputs": [{**ROW, "datatype": "BOOL", "data": [1, 0, 1]}]}),
        500,
    ),
    "a number for text": (
        Call("identity_BYTES", {"inputs": [{**ROW, "datatype": "BYTES"}]}),
        500,
    ),
}
UNPARSABLE = list(REFUSED)[list(REFUSED).index("not JSON") :]


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_refused(server: Any, case: str) -> None:
    """A request that cannot be answered gets Triton's status and an error text, never tensors."""
    call, status = REFUSED[case]
    if isinstance(server, EmbeddedServer) and case in UNPARSABLE:
        status = 400
    answer = call.send(server.port)
    assert (answer.status, list(answer.json)) == (status, ["error"])
    assert isinstance(answer.json["error"], str)
    assert answer.json["error"]


ROUTES = [
    ("GET", "/v2", 200),
    ("GET", "/v2?query=ignored", 200),
    ("GET", "/v2/health/live", 200),
    ("GET", "/v2/health/ready", 200),
    ("GET", "/v2/models/linear", 200),
    ("GET", "/v2/models/linear/versions/1", 200),
    ("GET", "/v2/models/linear/ready", 200),
    ("GET", "/v2/models/linear/versions/1/ready", 200),
    ("GET", "/v2/models/linear/config", 200),
    ("GET", "/v2/models/linear/versions/1/config", 200),
    ("GET", "/", 404),
    ("GET", "/v2/", 404),
    ("GET", "//v2", 404),
    ("GET", "/v2/health", 404),
    ("GET", "/v2/health/ready/", 404),
    ("GET", "/v2/models", 404),
    ("GET", "/v2/models/linear/", 404),
    ("GET", "/v2/models/linear/nonsense", 404),
    ("GET", "/v2/models/linear/versions/x", 404),
    ("GET", "/v2/models/linear/versions/7", 404),
    ("GET", "/v2/models/linear/versions/7/config", 404),
    ("GET", "/v2/models/nobody", 404),
    ("GET", "/v2/models/nobody/config", 404),
    ("GET", "/v2/models/nobody/ready", 400),
    ("GET", "/v2/models/linear/versions/7/ready", 400),
    ("POST", "/v2", 405),
    ("POST", "/v2/health/live", 405),
    ("POST", "/v2/models/linear", 405),
    ("POST", "/v2/models/linear/ready", 405),
    ("DELETE", "/v2/models/linear/config", 405),
    ("GET", "/v2/models/linear/infer", 405),
    ("PUT", "/v2/models/linear/infer", 405),
    ("POST", "/v2/models/linear/infer/", 404),
    ("HEAD", "/v2", 405),
    ("HEAD", "/v2/health/live", 405),
    ("HEAD", "/v2/models/linear", 405),
    ("HEAD", "/v2/models/linear/infer", 405),
    ("HEAD", "/v2/nothing", 404),
    ("OPTIONS", "/v2/models/linear/infer", 405),
    ("PATCH", "/v2/models/linear/ready", 405),
    ("GET", "/v2/models/linear/generate", 405),
    ("GET", "/v2/models/stats", 200),
    ("GET", "/v2/models/linear/stats", 200),
    ("GET", "/v2/models/linear/versions/1/stats", 200),
    ("GET", "/v2/models/linear/versions/7/stats", 400),
    ("GET", "/v2/models/nobody/stats", 400),
    ("POST", "/v2/models/linear/stats", 405),
    ("GET", "/v2/models/linear/versions/01", 200),
    ("GET", "/v2/models/linear/versions/0", 404),
]


@pytest.mark.parametrize(("method", "path", "status"), ROUTES)
def test_routes(server: Any, method: str, path: str, status: int) -> None:
    """Each path and verb gets the status that Triton gives it, and errors a JSON body."""
    answer = ask(server.port, method, path)
    assert answer.status == status
    if method == "HEAD":
        assert answer.body == b""
    elif status != 200:
        assert list(answer.json) == ["error"]
    elif path.endswith(("ready", "live")) and not isinstance(server, EmbeddedServer):
        assert answer.body == b""


@pytest.mark.parametrize("name", ["linear", "strings", "zipmap", "versions", "versions/versions/1"])
def test_metadata_agrees(embedded: EmbeddedServer, triton: Any, name: str) -> None:
    """Both servers describe a model's versions and tensors in the same words."""
    ours, theirs = (ask(s.port, "GET", f"/v2/models/{name}").json for s in (embedded, triton))
    assert without(ours, "platform") == without(theirs, "platform")


@pytest.mark.parametrize("name", ["linear", "strings", "two_inputs"])
def test_config_agrees(embedded: EmbeddedServer, triton: Any, name: str) -> None:
    """What the embedded server says of a model's configuration, Triton says too."""
    ours, theirs = (
        ask(s.port, "GET", f"/v2/models/{name}/config").json for s in (embedded, triton)
    )
    for what in ("input", "output"):
        for mine, yours in zip(ours.pop(what), theirs[what], strict=True):
            assert mine.items() <= yours.items()
    assert without(ours, "backend").items() <= theirs.items()


def test_binary_extension_is_announced(server: Any) -> None:
    """Clients learn from the server's metadata that tensors may go binary."""
    assert "binary_tensor_data" in ask(server.port, "GET", "/v2").json["extensions"]
