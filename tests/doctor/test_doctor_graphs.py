"""The doctor finds dead operators anywhere in ONNX files, and says what replaces them."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hybridmodel import TritonEndpoint
from hybridmodel.doctor.graphs import find_in_model
from hybridmodel.doctor.records import Finding, NotRead
from tests.support.doctor_tools import SECRET
from tests.support.models import linear, loop
from tests.support.strategies import damaged, law

EXTENSIONS = "com.microsoft.extensions"
URI = "https://digits.westeurope.inference.ml.azure.com"


def invoker(
    operator: str = "AzureTritonInvoker",
    name: str = "ask",
    domain: str = EXTENSIONS,
    output: str = "y",
    **attributes: Any,
) -> onnx.NodeProto:
    """Make a node that asks an endpoint."""
    given = {"model_uri": URI, "model_name": "digits", "model_version": "1", **attributes}
    return helper.make_node(
        operator,
        ["auth_token", "x"],
        [output],
        name=name,
        domain=domain,
        **{key: value for key, value in given.items() if value is not None},
    )


def graph(*nodes: onnx.NodeProto, **options: Any) -> onnx.GraphProto:
    """Put nodes into a graph."""
    inputs = [
        helper.make_tensor_value_info("auth_token", TensorProto.STRING, [1]),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])]
    return helper.make_graph(nodes, "test", inputs, outputs, **options)


def model(*nodes: onnx.NodeProto, functions: Any = (), **options: Any) -> bytes:
    """Serialize a model of some nodes."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(EXTENSIONS, 1)]
    made = helper.make_model(
        graph(*nodes, **options), opset_imports=opsets, functions=functions, ir_version=8
    )
    return made.SerializeToString()


def found(data: bytes) -> list[Finding]:
    """Return the findings in a model that can be read to its end."""
    findings, problem = find_in_model(data)
    assert problem is None
    return findings


def places(data: bytes) -> list[str | None]:
    """Return where the findings are."""
    return [finding.node for finding in found(data)]


@pytest.mark.parametrize(
    "operator",
    ["AzureTritonInvoker", "AzureTextToText", "AzureAudioToText", "OpenAIAudioToText"],
)
@pytest.mark.parametrize("domain", [EXTENSIONS, "ai.onnx.contrib"])
def test_operators(operator: str, domain: str) -> None:
    """Each dead operator is found by its domain and type, with the node's name."""
    (finding,) = found(model(invoker(operator, domain=domain)))
    assert (finding.kind, finding.name, finding.node) == ("node", operator, "node 'ask'")
    assert (finding.endpoint is not None) == (operator == "AzureTritonInvoker")


@pytest.mark.parametrize(
    "data",
    [
        linear(),
        loop(),
        model(invoker(domain="com.example")),
        model(invoker("AzureTritonInvoker2")),
        model(helper.make_node("Identity", ["x"], ["y"], name="AzureTritonInvoker")),
    ],
    ids=["none", "subgraphs", "other domain", "other type", "other name"],
)
def test_no_false_alarms(data: bytes) -> None:
    """Other operators are not found."""
    assert found(data) == []


def branch(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    """Make a graph for a branch."""
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])]
    return helper.make_graph(nodes, "branch", [], outputs)


def switch(name: str, *nodes: onnx.NodeProto) -> onnx.NodeProto:
    """Make an If with nodes in its second branch."""
    local = branch(helper.make_node("Identity", ["x"], ["y"]))
    return helper.make_node(
        "If", ["c"], ["y"], name=name, then_branch=local, else_branch=branch(*nodes)
    )


INSIDE = {
    "If": (
        model(switch("route", invoker())),
        ["node 'ask' in else_branch of If node 'route'"],
    ),
    "If in If": (
        model(switch("outer", switch("inner", invoker()))),
        ["node 'ask' in else_branch of If node 'inner' in else_branch of If node 'outer'"],
    ),
    "Loop": (
        model(helper.make_node("Loop", ["", "c"], ["y"], name="l", body=branch(invoker()))),
        ["node 'ask' in body of Loop node 'l'"],
    ),
    "Scan": (
        model(helper.make_node("Scan", ["x"], ["y"], body=branch(invoker()), num_scan_inputs=1)),
        ["node 'ask' in body of Scan node without a name, for 'y'"],
    ),
    "graphs of an attribute": (
        model(helper.make_node("Any", [], ["y"], name="n", several=[branch(), branch(invoker())])),
        ["node 'ask' in several of Any node 'n'"],
    ),
    "a function": (
        model(
            helper.make_node("Remote", ["auth_token", "x"], ["y"], domain="local"),
            functions=[
                helper.make_function(
                    "local", "Remote", ["auth_token", "x"], ["y"], [invoker()], [],
                )
            ],
        ),
        ["node 'ask' of function 'Remote'"],
    ),
    "several": (
        model(invoker(name="a"), switch("route", invoker(name="c")), invoker(name="b")),
        ["node 'a'", "node 'b'", "node 'c' in else_branch of If node 'route'"],
    ),
    "beside weights": (
        model(helper.make_node("Tree", ["x"], ["z"], weights=[1.0, 2.0]), invoker()),
        ["node 'ask'"],
    ),
    "no name": (model(invoker(name="")), ["node without a name, for 'y'"]),
    "control characters": (
        model(invoker(name="\x1b[31m\u202e\x9b")),
        [r"node '\\x1b[31m\\u202e\\x9b'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), INSIDE.values(), ids=INSIDE)
def test_places(data: bytes, expected: list[str]) -> None:
    """Nodes are found in graphs within graphs and in functions, and the way to them is told."""
    assert places(data) == expected


ENDPOINTS = {
    "all said": ({"timeout_seconds": 3}, {"timeout_s": 3.0}),
    "a time as text": ({"timeout_seconds": "7"}, {"timeout_s": 7.0}),
    "a time that cannot be": ({"timeout_seconds": 0}, {}),
    "no version": ({"model_version": None}, {"model_version": None}),
    "version 0": ({"model_version": "0"}, {"model_version": None}),
    "a version as a number": ({"model_version": 2}, {"model_version": "2"}),
    "a scoring address": ({"model_uri": f"{URI}/score?code={SECRET}"}, {}),
    "this machine": ({"model_uri": "localhost:8000"}, {"uri": "http://localhost:8000"}),
    "another machine": (
        {"model_uri": "http://triton:8000"},
        {"uri": "http://triton:8000", "allow_http": True},
    ),
}


@pytest.mark.parametrize(("attributes", "expected"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_the_endpoint_that_replaces_a_node(
    attributes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """The node's attributes become an endpoint that can be made, and what is printed makes it."""
    (finding,) = found(model(invoker(**attributes)))
    usual = {
        "uri": URI,
        "model_name": "digits",
        "model_version": "1",
        "timeout_s": 15.0,
        "auth_key_env": "HYBRIDMODEL_API_KEY",
    }
    assert finding.endpoint == {**usual, **expected}
    code = finding.change.partition("endpoint=")[2].partition("\n))")[0]
    printed = eval(f"{code}\n)", {"TritonEndpoint": TritonEndpoint})
    assert printed == TritonEndpoint(**finding.endpoint)
    assert SECRET not in repr(finding)


@pytest.mark.parametrize(
    ("version", "said"),
    [(None, "names none"), ("0", "names version 0"), ("1", None)],
)
def test_the_trap_of_version_0_is_explained(version: str | None, said: str | None) -> None:
    """A node that names no version asked for version 0, and the advice says so."""
    (finding,) = found(model(invoker(model_version=version)))
    assert ("/versions/0/infer" in finding.change) == (said is not None)
    assert (said or "") in finding.change


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"model_uri": None}, "uri is an https:// address"),
        ({"model_uri": f"https://user:{SECRET}@host"}, "uri must not hold a user"),
        ({"model_name": None}, "model_name is the model's name"),
        ({"model_version": "latest"}, "model_version is a number"),
    ],
)
def test_attributes_that_make_no_endpoint(attributes: dict[str, Any], reason: str) -> None:
    """Where no endpoint can be made, the reason is told, without any secret."""
    (finding,) = found(model(invoker(**attributes)))
    assert finding.endpoint is None
    assert reason in finding.change
    assert SECRET not in repr(finding)


@pytest.mark.parametrize("uri", [None, f"https://user:{SECRET}@x.openai.azure.com/?k={SECRET}"])
def test_other_services_get_other_advice(uri: str | None) -> None:
    """An operator that asked OpenAI is not sent to a Triton endpoint, and its key is not shown."""
    (finding,) = found(model(invoker("AzureTextToText", model_uri=uri)))
    assert finding.endpoint is None
    assert "such as the openai package" in finding.change
    assert SECRET not in repr(finding)


TOKEN = numpy_helper.from_array(np.array([SECRET], dtype=object), "auth_token")
CONSTANTS: dict[str, bytes] = {
    "an initializer": model(invoker(), initializer=[TOKEN]),
    "a tensor": model(helper.make_node("Constant", [], ["auth_token"], value=TOKEN), invoker()),
    "a text": model(
        helper.make_node("Constant", [], ["auth_token"], value_string=SECRET), invoker()
    ),
    "texts": model(
        helper.make_node("Constant", [], ["auth_token"], value_strings=[SECRET]), invoker()
    ),
    "one outside": model(switch("route", invoker()), initializer=[TOKEN]),
}


@pytest.mark.parametrize("data", CONSTANTS.values(), ids=CONSTANTS)
def test_keys_in_graphs(data: bytes) -> None:
    """A key that is a constant of the graph is a finding of its own, and not shown."""
    node, key = found(data)
    assert (node.kind, key.kind, key.node) == ("node", "auth-key", node.node)
    assert SECRET not in repr((node, key))


def test_a_key_without_a_name_is_nobodys() -> None:
    """A text without a name is not the key of a node that leaves its key out."""
    node = invoker()
    node.input[0] = ""
    token = numpy_helper.from_array(np.array([SECRET], dtype=object))
    assert len(found(model(node, initializer=[token]))) == 1


@pytest.mark.parametrize("text", ["", None])
def test_no_key_is_no_key(text: str | None) -> None:
    """An empty text, and a tensor of numbers, are no key."""
    values = [1.0] if text is None else np.array([text], dtype=object)
    token = numpy_helper.from_array(np.array(values), "auth_token")
    assert len(found(model(invoker(), initializer=[token]))) == 1


def test_external_data_is_not_needed(tmp_path: Path) -> None:
    """A model is read without the files in which its tensors lie."""
    weights = numpy_helper.from_array(np.ones(2000, np.float32), "w")
    made = onnx.load_from_string(model(invoker(), initializer=[weights]))
    onnx.save_model(made, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin")
    (tmp_path / "w.bin").unlink()
    assert len(found((tmp_path / "m.onnx").read_bytes())) == 1


def test_large_files_are_not_loaded(tmp_path: Path) -> None:
    """A model of 200 MB is read through a map of the file, and next to nothing is kept of it."""
    import tracemalloc

    path = tmp_path / "m.onnx"
    size = 200 << 20
    small = model(switch("route", invoker()), initializer=[])
    # A field that no reader knows, of zeros that take no room on the disk.
    field = b"\xfa\x3f" + b"\x80\x80\x80\x64"
    with path.open("wb") as file:
        file.write(field)
        file.truncate(len(field) + size)
        file.seek(0, 2)
        file.write(small)
    tracemalloc.start()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        findings, problem = find_in_model(mapped)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problem is None
    assert len(findings) == 1
    assert peak_bytes < 1 << 20


def test_deep_graphs() -> None:
    """Graphs within graphs, deeper than the interpreter's stack, are read to the innermost one."""
    inner = graph(invoker()).SerializeToString()
    for _ in range(3000):
        attribute = b"\x0a\x04body" + b"\x32" + varint(len(inner)) + inner
        node = b"\x22\x02If" + b"\x2a" + varint(len(attribute)) + attribute
        inner = b"\x0a" + varint(len(node)) + node
    (finding,) = found(b"\x3a" + varint(len(inner)) + inner)
    assert finding.node is not None
    assert len(finding.node) < 600


def varint(number: int) -> bytes:
    """Encode a length as protobuf does."""
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it holds no graph"),
        (b"no model", "it is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (model(invoker())[:-5], "it is damaged"),
    ],
)
def test_what_is_no_model(data: bytes, reason: str) -> None:
    """What is no model, or not a whole one, is told."""
    with pytest.raises(NotRead, match=reason):
        find_in_model(data)


def test_what_was_found_before_the_damage_counts() -> None:
    """Nodes before a damaged one are found, and the damage is told."""
    data = model(invoker(), helper.make_node("If", ["c"], ["y"]))
    at = data.rindex(b"If")
    findings, problem = find_in_model(data[: at - 1] + b"\x7f" + data[at:])
    assert [finding.node for finding in findings] == ["node 'ask'"]
    assert problem == "it is damaged"


@law
@given(
    st.binary()
    | damaged(INSIDE["If in If"][0])
    | damaged(CONSTANTS["texts"])
    | damaged(INSIDE["a function"][0])
)
def test_no_bytes_break_it(data: bytes) -> None:
    """Any bytes are read or refused, and all that is said about them can be printed."""
    try:
        findings, problem = find_in_model(data)
    except NotRead as error:
        findings, problem = [], str(error)
    assert all(finding.place.isprintable() for finding in findings)
    assert (problem or "").isprintable()


@law
@given(st.text(), st.text(), st.text() | st.integers(0, 2**62) | st.floats(width=32))
def test_no_attribute_breaks_it(name: str, uri: str, version: Any) -> None:
    """Whatever the attributes are, what is said about them can be printed."""
    name, uri = (text.encode(errors="replace").decode() for text in (name, uri))
    (finding,) = found(model(invoker(name=name, model_uri=uri, timeout_seconds=version)))
    assert all(line.isprintable() for line in finding.change.split("\n"))
    assert finding.place.isprintable()
