"""`hybridmodel.azure_ep`: onnxruntime's session, with an Azure execution provider that works.

What the original does comes from its recording; `test_azure_ep_original.py` holds the original
itself against that, and ``python -m tests.support.original_ep --record`` makes it again.
"""

from __future__ import annotations

import contextvars
import inspect
import json
import logging
import pickle
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
import pytest
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from hybridmodel import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridOnnxModel,
    InputMismatch,
    RateLimited,
    azure_ep,
    load_model,
    save_model,
)
from hybridmodel.azure_ep import InferenceSession
from hybridmodel.azure_ep.entries import Asked, SessionEntries
from hybridmodel.serving import EmbeddedServer, TritonServer, serve
from tests.support import models
from tests.support.azure_ep_cases import (
    A_AND_B,
    DEFECTS,
    KEY,
    SAME,
    Case,
    Defect,
    answer,
    refused,
    served_cases,
)
from tests.support.azure_ep_driver import run_case, unpacked
from tests.support.faulty import FaultyEndpoint, Gateway, error, http
from tests.support.original_ep import (
    observe_ours,
    read_recording,
    recorded,
    report,
    result_differences,
    shortened,
    wire_differences,
)
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "migration.md"

X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
MODEL = models.identity()
ECHO = answer({"y": X})
NOBODY = "http://127.0.0.1:9"

PUBLIC = [name for name in dir(onnxruntime.InferenceSession) if not name.startswith("_")]


def session_options(uri: str = NOBODY, prefix: str = "azure", **entries: str | None) -> Any:
    """Make real SessionOptions with the usual entries, or others; None leaves one out."""
    options = onnxruntime.SessionOptions()
    usual: dict[str, str | None] = {"endpoint_type": "triton", "uri": uri, "model_name": "m"}
    for name, value in {**usual, **entries}.items():
        if value is not None:
            options.add_session_config_entry(f"{prefix}.{name}", value)
    return options


def run_options(key: str | None = KEY, use: str | None = "1", prefix: str = "azure") -> Any:
    """Make real RunOptions."""
    options = onnxruntime.RunOptions()
    for name, value in ((f"use_{prefix}", use), (f"{prefix}.auth_key", key)):
        if value is not None:
            options.add_run_config_entry(name, value)
    return options


def session(uri: str = NOBODY, model: bytes = MODEL, **entries: str | None) -> InferenceSession:
    """Make a session of ours."""
    return InferenceSession(model, session_options(uri, **entries))


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedServer]:
    """Serve the models of the tests in this process, to those who know the key."""
    with serve(models.served(), auth_key=KEY) as server:
        yield server


@pytest.fixture
def quiet() -> Iterator[logging.Logger]:
    """Take back what ``verbose`` does to the library's logger."""
    log = logging.getLogger("hybridmodel")
    before = log.level, log.handlers[:]
    yield log
    log.level, log.handlers[:] = before
    log.setLevel(before[0])


# What the original did


@pytest.mark.parametrize("case", SAME, ids=lambda case: case.name)
def test_where_the_original_is_right(case: Case) -> None:
    """Every byte on the wire but the id, and what the caller gets, are the original's."""
    original, ours = read_recording()[case.name], shortened(observe_ours(case))
    assert wire_differences(original, ours) == []
    assert result_differences(original, ours) == []
    assert ours["printed"] == ""


@pytest.mark.parametrize(
    "defect", DEFECTS, ids=lambda defect: f"{defect.number} {defect.case.name}"
)
def test_where_the_original_is_wrong(defect: Defect) -> None:
    """The recording shows the defect, and ours does what it should."""
    assert defect.look(read_recording()[defect.case.name]) == defect.original
    assert defect.look(observe_ours(defect.case)) == defect.ours


def test_the_table_says_when_something_is_amiss() -> None:
    """The report names no case as it is, and the one that is another way in the recording."""
    recording = read_recording()
    assert report(recording)[1] == []
    recording["rank 1"]["requests"][0]["line"] = "GET / HTTP/1.1"
    recording["401"]["outcome"]["error"] = "AuthenticationFailed"
    assert report(recording)[1] == ["rank 1", "401"]


@pytest.mark.parametrize("case", served_cases(), ids=lambda case: case.name)
def test_a_real_triton_answers_as_the_local_run(triton: TritonServer, case: Case) -> None:
    """With the same file on both sides, a remote run and a local one give the same list."""
    there = run_case(azure_ep, case.to_json(triton.uri))
    here = run_case(azure_ep, {**case.to_json(triton.uri), "run": {}})
    assert there == here
    assert "outputs" in here


# The import line


def test_the_example_of_the_migration_page_runs(
    embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quiet: logging.Logger
) -> None:
    """What the page shows as new code is the old code with another import, and gives the sum."""
    before, after = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[:2]
    assert after == before.replace(
        "from onnxruntime import *", "from hybridmodel.azure_ep import *"
    )
    (tmp_path / "pair.onnx").write_bytes(pair())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAIR_KEY", KEY)
    with serve({"pair": pair()}, auth_key=KEY) as server:
        names: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(after.replace("https://pair.westeurope.inference.ml.azure.com", server.uri), names)
    np.testing.assert_array_equal(names["total"], [5, 5, 5, 5])


def pair() -> bytes:
    """Make ``Z`` [N] = ``X`` [N] + ``Y`` [N]."""
    ends = [models.tensor(name, "FP32", ("N",)) for name in "XYZ"]
    return models.build([helper.make_node("Add", ["X", "Y"], ["Z"])], ends[:2], ends[2:])


@pytest.mark.parametrize(
    "name", ["RunOptions", "SessionOptions", "OrtValue", "GraphOptimizationLevel"]
)
def test_other_names_are_those_of_onnxruntime(name: str) -> None:
    """The module stands in for onnxruntime, whatever is imported from it."""
    assert getattr(azure_ep, name) is getattr(onnxruntime, name)


def test_a_star_import_brings_what_that_of_onnxruntime_brings() -> None:
    """No name is missing, and only the session is another."""
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    exec("from onnxruntime import *", theirs)
    exec("from hybridmodel.azure_ep import *", ours)
    assert theirs.keys() == ours.keys()
    changed = {name for name in theirs if theirs[name] is not ours[name]} - {"__builtins__"}
    assert changed == {"InferenceSession"}
    assert {"InferenceSession", "RunOptions"} <= set(dir(azure_ep))
    assert azure_ep.__version__ == onnxruntime.__version__
    assert not hasattr(azure_ep, "nothing_of_the_kind")


def test_importing_it_loads_nothing_heavy() -> None:
    """The first session or name loads onnxruntime, not the import."""
    code = (
        "import sys, hybridmodel.azure_ep; "
        "print({'onnxruntime', 'pandas', 'mlflow', 'requests'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", PUBLIC)
def test_it_has_everything_that_a_session_has(name: str) -> None:
    """Each public attribute of onnxruntime's session is there, and listed."""
    ours = session()
    assert callable(getattr(ours, name))
    assert name in dir(ours)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_method_is_its_own(name: str) -> None:
    """Each public method of onnxruntime's session is defined on the class, with its parameters."""
    ours, theirs = (getattr(one, name) for one in (InferenceSession, onnxruntime.InferenceSession))
    known = inspect.signature(ours).parameters
    if not any(item.kind is item.VAR_POSITIONAL for item in known.values()):
        assert list(known) == list(inspect.signature(theirs).parameters)
    assert ours.__doc__


def test_it_can_be_subclassed() -> None:
    """A subclass finds every method of its base by `super`, as one of onnxruntime's session."""

    class Named(InferenceSession):
        def get_inputs(self) -> list[str]:
            return [item.name for item in super().get_inputs()]

        def run(self, *args: Any, **options: Any) -> list[Any]:
            return [super().get_modelmeta().graph_name, *super().run(*args, **options)]

    made = Named(MODEL)
    assert made.get_inputs() == ["x"]
    np.testing.assert_array_equal(made.run(None, {"x": X})[1], X)
    assert isinstance(made, Named)


@pytest.mark.parametrize("name", PUBLIC)
def test_it_can_be_imitated(name: str) -> None:
    """A mock that takes the class as its specification has each method, and no other."""
    imitation = mock.create_autospec(InferenceSession, instance=True)
    assert callable(getattr(imitation, name))
    imitation.run.return_value = [1]
    assert imitation.run(None, {"x": X}) == [1]
    with pytest.raises(TypeError):
        imitation.run()
    with pytest.raises(AttributeError):
        _ = imitation.no_method_of_it


def test_it_passes_for_a_session_of_onnxruntime(tmp_path: Path) -> None:
    """Libraries that check the type accept it, and local answers are onnxruntime's own."""
    (tmp_path / "m.onnx").write_bytes(MODEL)
    ours = InferenceSession(tmp_path / "m.onnx", disabled_optimizers=["ConstantFolding"])
    theirs = onnxruntime.InferenceSession(MODEL)
    assert isinstance(ours, onnxruntime.InferenceSession)
    assert isinstance(ours, InferenceSession)
    for describe in ("get_inputs", "get_outputs", "get_overridable_initializers"):
        ends = [
            [(end.name, end.type, end.shape) for end in getattr(s, describe)()]
            for s in (ours, theirs)
        ]
        assert ends[0] == ends[1]
    assert ours.get_modelmeta().graph_name == theirs.get_modelmeta().graph_name
    assert ours.get_session_options().intra_op_num_threads == 0
    np.testing.assert_array_equal(ours.run(None, {"x": X})[0], theirs.run(None, {"x": X})[0])
    assert repr(ours) == f"InferenceSession({tmp_path / 'm.onnx'})"
    assert repr(session()) == "InferenceSession(bytes)"


def test_errors_of_loading_are_those_of_onnxruntime(tmp_path: Path) -> None:
    """A missing or broken file fails as it does there."""
    for source in (tmp_path / "none.onnx", b"nothing", 3):
        with pytest.raises(Exception) as theirs:
            onnxruntime.InferenceSession(source)
        with pytest.raises(type(theirs.value)):
            InferenceSession(source)


@pytest.mark.parametrize(
    ("asked", "options", "expected"),
    [
        (None, None, ["CPUExecutionProvider"]),
        (["CloudExecutionProvider"], None, ["CPUExecutionProvider"]),
        ([("azureExecutionProvider", {}), "CPUExecutionProvider"], None, ["CPUExecutionProvider"]),
        (
            ["AzureExecutionProvider", "CPUExecutionProvider"],
            [{}, {"arena_extend_strategy": "kSameAsRequested"}],
            ["AzureExecutionProvider", "CPUExecutionProvider"],
        ),
    ],
)
def test_providers(
    asked: Any, options: Any, expected: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """No spelling of the dead provider reaches onnxruntime; its right name is reported back."""
    made = InferenceSession(MODEL, None, asked, options)
    assert made.get_providers() == expected
    assert sorted(made.get_provider_options()) == sorted(expected)
    made.set_providers(["CPUExecutionProvider", "azureExecutionProvider"])
    assert made.get_providers() == ["CPUExecutionProvider"]
    made.set_providers(["AzureExecutionProvider"])
    assert made.get_providers() == ["AzureExecutionProvider", "CPUExecutionProvider"]
    assert capfd.readouterr() == ("", "")


# Entries


@pytest.mark.parametrize("prefix", ["azure", "cloud"])
def test_both_prefixes_work(embedded: EmbeddedServer, prefix: str) -> None:
    """All keys may have the first prefix of the provider, or its later one."""
    options = session_options(embedded.uri, prefix, model_name="identity_FP32")
    made = InferenceSession(MODEL, options)
    assert_equal(made.run(None, {"x": X}, run_options(prefix=prefix)), X)


def assert_equal(results: list[Any], expected: Any) -> None:
    """Compare the one output, dtype included."""
    (array,) = results
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_mixed_prefixes_are_refused() -> None:
    """In a session, in a run, or between the two: the error says what is mixed."""
    mixed = session_options()
    mixed.add_session_config_entry("cloud.uri", NOBODY)
    with pytest.raises(ConfigurationError, match="the session has entries of both azure and cloud"):
        InferenceSession(MODEL, mixed)
    switches, keys = run_options(use="0"), run_options()
    switches.add_run_config_entry("use_cloud", "1")
    keys.add_run_config_entry("cloud.auth_key", "k")
    for options in (switches, keys, run_options(prefix="cloud")):
        with pytest.raises(ConfigurationError, match="the run has entries of both azure and cloud"):
            session().run(None, {"x": X}, options)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"endpoint_type": None}, r"azure\.endpoint_type are missing; the session has azure\.uri"),
        ({"uri": None, "model_name": None}, r"azure\.uri, azure\.model_name are missing"),
        ({"endpoint_type": "openai"}, "'openai', and can only be 'triton'.*openai package"),
        ({"endpoint_type": "Triton"}, "'Triton', and can only be 'triton'"),
        ({"uri": "http://example.org"}, r"http:// on example\.org.*azure\.allow_http"),
        ({"uri": "localhost:8000"}, "uri is an https:// address"),
        ({"uri": "https://u:p@example.org"}, "must not hold a user or password"),
        ({"model_name": "a/b"}, "without a slash"),
        ({"model_version": "latest"}, "model_version is a number"),
        ({"verbose": "yes"}, r"session entry azure\.verbose is True, False"),
        ({"allow_http": ""}, r"session entry azure\.allow_http is True"),
        ({"timeout_s": "soon"}, r"session entry azure\.timeout_s is a number such as '30'"),
        ({"timeout_s": "0"}, "timeout_s is a positive number of seconds"),
        ({"timeout_s": "nan"}, "timeout_s is a positive number of seconds"),
        ({"max_attempts": "-1"}, r"session entry azure\.max_attempts is a whole number"),
        ({"max_attempts": "99"}, "max_attempts is a whole number from 1 to 10"),
    ],
)
def test_what_cannot_work_is_refused_at_once(entries: dict[str, Any], said: str) -> None:
    """A session with one wrong entry is not made, and the message names the entry."""
    with pytest.raises(ConfigurationError, match=said):
        session(**entries)


def test_one_entry_alone_is_an_incomplete_endpoint() -> None:
    """Whoever sets any entry means an endpoint."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("cloud.verbose", "1")
    with pytest.raises(
        ConfigurationError, match=r"cloud\.endpoint_type, cloud\.uri, cloud\.model_"
    ):
        InferenceSession(MODEL, options)


def test_entries_become_an_endpoint() -> None:
    """What is said counts, and what is not is the endpoint's default or that of the caller."""
    options = session_options(
        "http://example.org/a",
        model_version="",
        allow_http="true",
        timeout_s="2.5",
        max_attempts="2",
    )
    entries = SessionEntries.read(options)
    assert entries is not None
    endpoint = entries.endpoint(max_attempts=1, auth_key_env=None)
    assert (endpoint.uri, endpoint.model_version) == ("http://example.org/a", None)
    assert (endpoint.timeout_s, endpoint.max_attempts, endpoint.auth_key_env) == (2.5, 2, None)
    plain = SessionEntries.read(session_options())
    assert plain is not None
    assert (plain.endpoint().timeout_s, plain.endpoint().model_version) == (30, "1")
    assert SessionEntries.read(onnxruntime.SessionOptions()) is None


@pytest.mark.parametrize(
    ("made", "run", "said"),
    [
        (lambda: InferenceSession(MODEL), run_options(), r"the session names none.*azure\.uri"),
        (session, run_options(key=None), r"without the run entry azure\.auth_key; leave it empty"),
        (session, run_options(use="yes"), "run entry use_azure is True, False, 0"),
        (session, run_options(use=""), "run entry use_azure is True, False, 0"),
        (session, run_options(key="a b"), r"run entry azure\.auth_key holds control characters"),
        (session, run_options(key="schlüssel"), r"run entry azure\.auth_key holds"),
    ],
)
def test_runs_that_cannot_go_anywhere(
    made: Callable[[], InferenceSession], run: Any, said: str
) -> None:
    """A run whose entries cannot be meant is refused; the key is not in the message."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        made().run(None, {"x": X}, run)
    assert "schlüssel" not in str(caught.value)


@pytest.mark.parametrize(
    "run", [None, run_options(None, None), run_options(None, "0"), run_options(use="false")]
)
def test_runs_are_local_unless_they_say_otherwise(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked without ``use_azure``, whatever the environment says of other models."""
    monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", "1")
    assert_equal(session().run(None, {"x": X}, run), X)
    assert_equal(InferenceSession(MODEL).run(None, {"x": X}, run), X)


# What goes to the endpoint


def test_each_run_sends_its_own_key() -> None:
    """Threads that share a session and its connections never send each other's key."""
    with FaultyEndpoint(ECHO) as endpoint:
        shared = session(endpoint.uri)

        def work(number: int) -> None:
            for _ in range(25):
                shared.run(
                    None, {"x": np.full((2, 3), number, np.float32)}, run_options(f"key{number}")
                )

        in_threads(work, range(6))
        assert len(endpoint.requests) == 150
        for request in endpoint.requests:
            head, _, body = request.partition(b"\r\n\r\n")
            number = int(np.frombuffer(body[-4:], "<f4")[0])
            assert f"Authorization: Bearer key{number}\r\n".encode() in head + b"\r\n"
        assert len(endpoint._open) <= 6


def in_threads(work: Callable[[int], None], numbers: Any) -> None:
    """Call a function in a thread for each number, and wait for all."""
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as raised:
            failed.append(raised)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


def test_every_part_of_a_run_has_its_key(embedded: EmbeddedServer) -> None:
    """Rows that the server takes a few at a time are sent in parts, each with the run's key."""
    rows = np.arange(30, dtype=np.float32).reshape(10, 3)

    def small(request: bytes) -> Any:
        return error(413, "too large") if len(recorded_tensor(request)) > 4 * 12 else None

    with Gateway(embedded.port, small) as gateway:
        shared = session(gateway.uri, model_name="identity_FP32")
        assert_equal(shared.run(None, {"x": rows}, run_options()), rows)
        assert len(gateway.requests) >= 4
        with pytest.raises(AuthenticationFailed):
            shared.run(None, {"x": rows}, run_options("another"))


def recorded_tensor(request: bytes) -> bytes:
    """Return what follows the JSON of a request."""
    (tensor,) = recorded(request)["tensors"].values()
    return unpacked(tensor).tobytes()  # type: ignore[no-any-return]


def test_an_empty_key_is_no_key() -> None:
    """A server without keys gets no header, and one with keys says so."""
    with FaultyEndpoint(ECHO) as endpoint:
        session(endpoint.uri).run(None, {"x": X}, run_options(""))
        assert b"authorization" not in endpoint.requests[0].lower()


@pytest.mark.parametrize(
    ("reply", "kind", "wait_s"),
    [
        (refused(401), AuthenticationFailed, None),
        (refused(403), AuthenticationFailed, None),
        (refused(429, Retry_After="7"), RateLimited, 7),
        (refused(503, Retry_After="7"), EndpointUnavailable, 7),
    ],
)
def test_failures_are_raised_at_once(
    reply: Any, kind: type[Exception], wait_s: float | None
) -> None:
    """Typed, with status and waiting time, after one request as ever, and each time again."""
    with FaultyEndpoint(reply) as endpoint:
        shared = session(endpoint.uri)
        for number in range(1, 8):
            with pytest.raises(kind) as caught:
                shared.run(None, {"x": X}, run_options())
            assert len(endpoint.requests) == number
    assert getattr(caught.value, "retry_after_s", None) == wait_s


def test_more_attempts_can_be_asked_for() -> None:
    """The entry ``azure.max_attempts`` allows for a second request."""
    with FaultyEndpoint(http(503, Retry_After="0"), ECHO) as endpoint:
        made = session(endpoint.uri, max_attempts="2")
        assert_equal(made.run(None, {"x": X}, run_options()), X)
        assert len(endpoint.requests) == 2


def test_the_deadline_can_be_set() -> None:
    """A server that is silent for longer than ``azure.timeout_s`` costs no more than that."""
    with (
        FaultyEndpoint(lambda connection: endpoint.wait(30)) as endpoint,
        pytest.raises(EndpointTimeout, match=r"deadline of 0\.2 s"),
    ):
        session(endpoint.uri, timeout_s="0.2").run(None, {"x": X}, run_options())


@pytest.mark.parametrize(
    "feed",
    [
        X.tolist(),
        onnxruntime.OrtValue.ortvalue_from_numpy(X),
        X.astype(">f4"),
        X.astype(">f4").T.copy().T,
        np.repeat(X, 2, axis=1)[:, ::2],
    ],
    ids=["list", "OrtValue", "big-endian", "big-endian columns", "strided"],
)
def test_feeds_of_other_kinds(embedded: EmbeddedServer, feed: Any) -> None:
    """What onnxruntime takes besides arrays goes to the endpoint, as the values it holds."""
    made = session(embedded.uri, model_name="identity_FP32")
    assert_equal(made.run(None, {"x": feed}, run_options()), X)


@pytest.mark.parametrize(
    ("feed", "names"),
    [
        ({"x": X.astype(np.float64)}, None),
        ({"x": X.astype(np.float64).tolist(), "z": 1}, None),
        ({"x": X[0]}, None),
        ({"x": X[:, :2]}, None),
        ({}, None),
        ({"x": X, "z": X}, None),
        ({"x": "text"}, None),
        ({"x": X}, ["z"]),
        ({"x": X}, "y"),
        ({"x": X}, 3),
    ],
    ids=str,
)
def test_what_onnxruntime_refuses_is_refused_as_there(feed: Any, names: Any) -> None:
    """The same exception with the same message as from a local run, and nothing is sent."""
    with pytest.raises(Exception) as theirs:
        onnxruntime.InferenceSession(MODEL).run(names, feed)
    with FaultyEndpoint(ECHO) as endpoint:
        with pytest.raises(type(theirs.value)) as ours:
            session(endpoint.uri).run(names, feed, run_options())
        assert endpoint.requests == []
    first_line = str(theirs.value).partition("\n\nInvoked")[0]
    assert str(ours.value).startswith(first_line)


def test_every_input_is_judged() -> None:
    """One wrong input of two is refused, and which one is wrong does not matter."""
    right = {"a": np.ones((2, 2), np.float32), "b": np.ones((2, 1), np.int64)}
    made = session(model=models.two_inputs())
    for name, dtype in (("a", np.float64), ("b", np.int32)):
        with pytest.raises(InvalidArgument, match="Unexpected input data type"):
            made.run(None, {**right, name: right[name].astype(dtype)}, run_options())


def test_judging_computes_nothing(embedded: EmbeddedServer) -> None:
    """A feed that onnxruntime has to judge is not run here: the endpoint is the one that fails."""
    made = session(embedded.uri, models.lookup(), model_name="lookup")
    assert_equal(made.run(None, {"x": [0, 2]}, run_options()), np.array([10, 30], np.float32))
    with pytest.raises(EndpointRefused):
        made.run(None, {"x": [99]}, run_options())


def test_what_only_onnxruntime_takes_is_an_input_mismatch() -> None:
    """An overridden initializer, nothing, or numbers for strings: no request can hold them."""
    with_default = overridable()
    made = session(model=with_default)
    feed = {"x": np.ones(2, np.float32), "w": np.array([5], np.float32)}
    assert_equal(made.run(None, feed), np.array([5, 5], np.float32))
    with pytest.raises(InputMismatch, match="unexpected 'w'"):
        made.run(None, feed, run_options())
    with pytest.raises(InputMismatch, match=r"input 'x'.*NoneType"):
        session().run(None, {"x": None}, run_options())
    with pytest.raises(InputMismatch, match="input 'text'"):
        session(model=models.strings()).run(
            None, {"text": np.array([1, 2], dtype=object)}, run_options()
        )


def overridable() -> bytes:
    """Make ``y`` [N] = ``x`` [N] times the initializer ``w`` [1], which a feed may replace."""
    ends = [models.tensor(name, "FP32", shape) for name, shape in (("x", ("N",)), ("w", (1,)))]
    return models.build(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        ends,
        [models.tensor("y", "FP32", ("N",))],
        {"w": np.array([2], np.float32)},
    )


@pytest.mark.parametrize("names", [["B_out"], ("B_out", "A_out"), ["A_out", "A_out"], [], None])
def test_outputs_as_asked(names: Any) -> None:
    """The asked outputs in the asked order, as a local run gives them, and no others requested."""
    feeds = {"A": np.array([1], np.float32), "B": np.array([2], np.float32)}
    reply = answer({"A_out": feeds["A"], "B_out": feeds["B"]})
    with FaultyEndpoint(reply) as endpoint:
        made = session(endpoint.uri, A_AND_B)
        assert made.run(names, feeds, run_options()) == made.run(names, feeds)
        (request,) = endpoint.requests
    asked = json.loads(re.search(rb'\{"id".*\]\}', request)[0])["outputs"]  # type: ignore[index]
    assert [item["name"] for item in asked] == list(dict.fromkeys(names or ["A_out", "B_out"]))


def test_zero_rows_are_answered_where_there_is_an_answer() -> None:
    """Every row-wise output is empty, without a call; a mean of nothing is an error."""
    made = session(model=models.two_outputs())
    total, double = made.run(None, {"x": X[:0]}, run_options())
    assert (total.shape, double.shape) == ((0, 1), (0, 3))
    with pytest.raises(InputMismatch, match="there is no answer"):
        session(model=models.mean()).run(None, {"x": X[:0, :2]}, run_options())


def test_strings_and_texts(embedded: EmbeddedServer) -> None:
    """Strings go there and come back, as object arrays or as numpy's own."""
    made = session(embedded.uri, models.strings(), model_name="strings")
    for feed in (np.array(["a", "zürich"], dtype=object), np.array(["a", "zürich"])):
        (there,), (here,) = (
            made.run(None, {"text": feed}, run_options()),
            made.run(None, {"text": feed}),
        )
        assert there.dtype == here.dtype == object
        assert there.tolist() == here.tolist() == ["a!", "zürich!"]


@pytest.mark.parametrize(
    ("feed", "texts"),
    [
        (np.array([b"abc", b"d"], "S4"), ["abc", "d"]),
        (np.array(["zürich".encode(), b""], "S8"), ["zürich", ""]),
        (np.array([b"abc", b"d"], "V3"), ["abc", "d\0\0"]),
        (np.array([b"abc", b"d", b"ef", b"g"], "V3")[::2], ["abc", "ef\0"]),
        (np.zeros(2, "V0"), ["", ""]),
        (np.array([], "S3"), []),
    ],
    ids=str,
)
def test_bytes_of_a_fixed_size_are_strings(
    embedded: EmbeddedServer, feed: Any, texts: list[str]
) -> None:
    """Arrays of S and V stand for strings at the endpoint as in a local run."""
    made = session(embedded.uri, models.strings(), model_name="strings")
    for options in (None, run_options()):
        (shouted,) = made.run(None, {"text": feed}, options)
        assert shouted.dtype == object
        assert shouted.tolist() == [f"{text}!" for text in texts]


def test_an_element_of_full_size_ends_where_it_ends(embedded: EmbeddedServer) -> None:
    """Where a local run reads on into the next element, the endpoint gets the element."""
    made = session(embedded.uri, models.strings(), model_name="strings")
    (shouted,) = made.run(None, {"text": np.array([b"abc", b"d"])}, run_options())
    assert shouted.tolist() == ["abc!", "d!"]


@pytest.mark.parametrize("kind", ["S2", "V2"])
def test_bytes_that_are_no_text_are_refused(kind: str) -> None:
    """What is not UTF-8 is an error of the input, and is not sent."""
    with FaultyEndpoint(ECHO) as endpoint:
        made = session(endpoint.uri, models.strings())
        with pytest.raises(InputMismatch, match=r"'text'.*UTF-8"):
            made.run(None, {"text": np.array([b"\xff\xfe"], kind)}, run_options())
        assert endpoint.requests == []


@pytest.mark.parametrize("kind", ["S4", "V4"])
def test_bytes_for_numbers_are_refused_as_there(embedded: EmbeddedServer, kind: str) -> None:
    """For an input of numbers such an array is refused by onnxruntime, on either route."""
    feed = {"x": np.array([[b"1", b"2", b"3"]], kind)}
    said = []
    for options in (None, run_options()):
        with pytest.raises(InvalidArgument) as caught:
            session(embedded.uri).run(None, feed, options)
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: models.classifier(zipmap=True), r"seq\(map.*zipmap=False"),
        (lambda: bfloat16(), r"bfloat16.*no array carries"),
    ],
)
def test_a_model_that_cannot_go_remote(model: Callable[[], bytes], said: str) -> None:
    """It is refused where an endpoint is named, and runs locally where none is."""
    with pytest.raises(ConfigurationError, match=said):
        session(model=model())
    assert InferenceSession(model()).get_outputs()


def bfloat16() -> bytes:
    """Make ``y`` = ``x``, a type that numpy does not know."""
    from onnx import TensorProto

    ends = [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, ["N"]) for name in "xy"]
    return models.build([helper.make_node("Identity", ["x"], ["y"])], ends[:1], ends[1:])


# Other ways to run


class Heard:
    """A callback of `run_async` that can be waited for."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.arguments: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> None:
        """Keep what is said."""
        self.arguments = arguments
        self.event.set()

    def wait(self) -> tuple[Any, ...]:
        """Return what was said, within a minute."""
        assert self.event.wait(60)
        return self.arguments


@pytest.mark.parametrize("remote", [True, False])
def test_run_async(embedded: EmbeddedServer, remote: bool) -> None:
    """The callback hears the outputs, its data and no error, on either route."""
    made, heard = session(embedded.uri, model_name="identity_FP32"), Heard()
    options = run_options() if remote else None
    assert made.run_async(["y"], {"x": X}, heard, "data", options) is None
    results, data, said = heard.wait()
    assert_equal(results, X)
    assert (data, said) == ("data", "")


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ({"x": X[0]}, "InvalidArgument: .*Invalid rank for input: x"),
        ({"x": X}, r"RateLimited: .*answered 429"),
    ],
)
def test_run_async_tells_what_went_wrong(feed: Any, said: str) -> None:
    """The callback hears an empty list and the error, for a feed as for an endpoint."""
    heard = Heard()
    with FaultyEndpoint(error(429, "slow down")) as endpoint:
        session(endpoint.uri).run_async(None, feed, heard, None, run_options())
        results, data, text = heard.wait()
    assert (results, data) == ([], None)
    assert re.match(said, text)


def test_a_callback_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Its exception is in the log, and later runs are answered."""
    heard = Heard()

    def fails(*arguments: Any) -> None:
        raise LookupError("of the callback")

    with FaultyEndpoint(ECHO) as endpoint:
        made = session(endpoint.uri)
        made.run_async(None, {"x": X}, fails, None, run_options())
        made.run_async(None, {"x": X}, heard, None, run_options())
        heard.wait()
        made._workers.discard().shutdown(wait=True)  # type: ignore[union-attr]
    assert "of the callback" in caplog.text


def test_bound_memory_stays_here() -> None:
    """IO binding and OrtValues work locally, and refuse to be asked for more."""
    made = session()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(X)
    (result,) = made.run_with_ort_values(None, {"x": value})
    np.testing.assert_array_equal(result.numpy(), X)
    binding = made.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    made.run_with_iobinding(binding, run_options(use="0"))
    assert_equal(binding.copy_outputs_to_cpu(), X)
    with pytest.raises(ConfigurationError, match="run_with_iobinding works on memory of this"):
        made.run_with_iobinding(binding, run_options())
    with pytest.raises(ConfigurationError, match="run_with_ort_values works on memory of this"):
        made.run_with_ort_values(None, {"x": value}, run_options())
    assert onnxruntime.IOBinding(made)


# What is said


@pytest.mark.parametrize("listened_to", [True, False])
def test_verbose_is_heard(
    listened_to: bool, capsys: pytest.CaptureFixture[str], quiet: logging.Logger
) -> None:
    """Where nobody listens the messages go to stderr, else to whoever does; never the key."""
    root, said = logging.getLogger(), []
    handlers = root.handlers[:]

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    root.handlers[:] = [Listener()] if listened_to else []
    try:
        with FaultyEndpoint(ECHO) as endpoint:
            session(endpoint.uri, verbose="true").run(None, {"x": X}, run_options())
    finally:
        root.handlers[:] = handlers
    text = "\n".join(said) if listened_to else capsys.readouterr().err
    assert f"POST {endpoint.uri}/v2/models/m/versions/1/infer: x float32[2, 3]" in text
    assert re.search(r"answered [0-9a-f-]{36}: y float32\[2, 3\]", text)
    assert KEY not in text
    assert bool(quiet.handlers) is not listened_to


def test_the_key_is_nowhere() -> None:
    """Not in what a session or its parts show, nor in an error of a server that repeats it."""
    with FaultyEndpoint(error(400, f"what is {KEY}?")) as endpoint:
        made = session(endpoint.uri)
        with pytest.raises(Exception, match="what is") as caught:
            made.run(None, {"x": X}, run_options())
    shown = [caught.value, made, made._remote, Asked(KEY), vars(made), vars(made._remote)]
    left_behind = contextvars.copy_context().values()
    assert KEY not in " ".join(map(repr, [*shown, *left_behind]))


# Onward


def test_to_model_is_ready_to_be_saved(
    embedded: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model answers on both routes, before and after saving, with the key of the variable."""
    monkeypatch.setenv("HYBRIDMODEL_API_KEY", KEY)
    (tmp_path / "m.onnx").write_bytes(models.linear())
    options = session_options(embedded.uri, model_name="linear", timeout_s="7")
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    made = InferenceSession(str(tmp_path / "m.onnx"), options, ["AzureExecutionProvider"])
    model = made.to_model(feature_names=["a", "b", "c", "d"], use_azure=True)
    rows = np.ones((2, 4), np.float32)
    (expected,) = made.run(None, {"x": rows}, run_options())
    save_model(model, tmp_path / "saved", signature="params")
    for twin in (model, load_model(str(tmp_path / "saved")), pickle.loads(pickle.dumps(model))):
        with twin:
            assert isinstance(twin, HybridOnnxModel)
            np.testing.assert_array_equal(twin.predict(rows), expected)
            np.testing.assert_allclose(twin.predict(rows, use_azure=False), expected, rtol=1e-6)
            assert twin.endpoint is not None
            assert (twin.endpoint.timeout_s, twin.endpoint.max_attempts) == (7, 3)
            assert twin.local.providers == ("CPUExecutionProvider",)
            assert twin.local.session_options == {
                "intra_op_num_threads": 1,
                "graph_optimization_level": "ORT_DISABLE_ALL",
            }


def test_to_model_names_the_variable() -> None:
    """The endpoint holds the name of the variable; without entries there is no endpoint."""
    model = session().to_model(auth_key_env="PAIR_KEY")
    assert model.local._process.peek() is None, "the model is not opened before it runs"
    endpoint = model.endpoint
    assert endpoint is not None
    assert endpoint.auth_key_env == "PAIR_KEY"
    plain = InferenceSession(models.classifier(zipmap=True)).to_model()
    assert plain.endpoint is None
    assert plain.spec.outputs[1].labels == ("no", "perhaps", "yes")


def test_an_unmade_session_has_no_attributes() -> None:
    """Looking one up ends, instead of looking for where to look."""
    unmade = InferenceSession.__new__(InferenceSession)
    assert not hasattr(unmade, "_sess")
    with pytest.raises(AttributeError, match="_local"):
        unmade.get_inputs()
