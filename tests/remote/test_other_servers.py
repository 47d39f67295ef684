"""The remote route against MLServer and KServe: what they carry, and what is refused how."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import (
    EndpointError,
    EndpointRefused,
    EndpointUnavailable,
    HybridOnnxModel,
    InputMismatch,
    ProtocolError,
    SpecMismatch,
)
from hybridmodel.data.tensors import ELEMENT_TYPES
from tests.support import models
from tests.support.other_servers import SERVED, OtherServer, extremes, lacking, running
from tests.support.wire import ask

KINDS = ["mlserver", "kserve"]
WAYS = {"mlserver": ("mlserver", None), "kserve": ("kserve", None), "binary": ("kserve", True)}
FEATURES = np.linspace(-1, 1, 200, dtype=np.float32).reshape(50, 4)


def started(kind: str, factory: pytest.TempPathFactory) -> Iterator[OtherServer]:
    """Run one server with all models."""
    if reason := lacking(kind):
        pytest.skip(reason)
    with running(kind, SERVED, factory.mktemp(kind)) as server:
        yield server


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherServer]:
    """Run MLServer."""
    yield from started("mlserver", tmp_path_factory)


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherServer]:
    """Run KServe."""
    yield from started("kserve", tmp_path_factory)


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> OtherServer:
    """Give one server after the other."""
    chosen: OtherServer = request.getfixturevalue(request.param)
    return chosen


@dataclass(frozen=True)
class Way:
    """A server, and what its endpoint says of binary tensors."""

    name: str
    server: OtherServer
    binary: bool | None

    def hybrid(self, name: str, **options: Any) -> HybridOnnxModel:
        """Make a model whose endpoint serves the very same file."""
        return hybrid(self.server, name, binary=self.binary, **options)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    """Give MLServer, then KServe as it comes, then with binary tensors."""
    kind, binary = WAYS[request.param]
    return Way(request.param, request.getfixturevalue(kind), binary)


def hybrid(server: OtherServer, name: str, **options: Any) -> HybridOnnxModel:
    """Make a model whose endpoint serves the very same file."""
    return HybridOnnxModel(SERVED[name], endpoint=server.endpoint(name, **options))


def assert_equal(here: Any, there: Any) -> None:
    """Compare two answers to the bit: container, names, dtypes, index, shapes and values."""
    assert type(here) is type(there)
    if isinstance(here, pd.DataFrame):
        pd.testing.assert_frame_equal(here, there, check_exact=True)
    elif isinstance(here, pd.Series):
        pd.testing.assert_series_equal(here, there, check_exact=True)
    elif isinstance(here, dict):
        assert list(here) == list(there)
        for name in here:
            assert_equal(here[name], there[name])
    else:
        assert (here.dtype, here.shape) == (there.dtype, there.shape)
        assert there.flags.writeable
        if here.dtype == object:
            assert here.tolist() == there.tolist()
        else:
            assert here.tobytes() == there.tobytes()


@pytest.mark.parametrize("datatype", [row.datatype for row in ELEMENT_TYPES])
def test_each_datatype_comes_back_as_it_was(way: Way, datatype: str) -> None:
    """The extremes of every datatype survive to the bit, but for FP16 without binary tensors."""
    sent = extremes(datatype)
    with way.hybrid(f"identity_{datatype}") as model:
        if datatype == "FP16" and not way.binary:
            with pytest.raises(InputMismatch, match=r"tensor 'x': FP16 has no form in JSON"):
                model.predict(sent, use_azure=True)
        else:
            assert_equal(sent, model.predict(sent, use_azure=True))


Refused = tuple[type[EndpointError], str]
UNREAD: Refused = (EndpointRefused, r"answered 422: .*JSON decode error")
GUESSWORK: Refused = (ProtocolError, r"output 'y': data holds")
NO_HALF: Refused = (EndpointRefused, r"answered 400: Sending FP16 data via JSON is not supported")

SPECIAL: dict[str, tuple[str, list[float], dict[str, Refused]]] = {
    # What: the model, its input, and what happens each way.
    "NaN in": ("is_nan", [1, np.nan], {"mlserver": UNREAD}),
    "infinity in": ("is_nan", [1, np.inf], {"mlserver": UNREAD}),
    "-infinity in": ("is_nan", [1, -np.inf], {"mlserver": UNREAD}),
    "NaN out": ("log", [1, -1], {"mlserver": GUESSWORK, "kserve": GUESSWORK}),
    "-infinity out": ("log", [1, 0], {"mlserver": GUESSWORK, "kserve": GUESSWORK}),
    "FP16 out": ("to_half", [1, 1 / 3], {"kserve": NO_HALF}),
    "FP16 infinity out": ("to_half", [1, 1e6], {"mlserver": GUESSWORK, "kserve": NO_HALF}),
}


@pytest.mark.parametrize("case", SPECIAL)
def test_what_json_cannot_say_is_right_or_refused(way: Way, case: str) -> None:
    """NaN, infinity and FP16 come out right or raise, never as another number."""
    name, values, refused = SPECIAL[case]
    sent = np.array(values, np.float32)
    with way.hybrid(name) as model:
        if way.name not in refused:
            assert_equal(model.predict(sent), model.predict(sent, use_azure=True))
            return
        kind, words = refused[way.name]
        with pytest.raises(kind, match=words):
            model.predict(sent, use_azure=True)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("classifier", pd.DataFrame(FEATURES, index=range(5, 55)), id="frame"),
        pytest.param("classifier", FEATURES[:1], id="one row"),
        pytest.param("two_outputs", FEATURES[:, :3].astype(float), id="several outputs"),
        pytest.param("two_inputs", {"a": np.ones((3, 2)), "b": [[1], [2], [3]]}, id="dict"),
        pytest.param("strings", pd.Series(["a", "ü", ""], index=[7, 8, 9]), id="strings"),
        pytest.param("linear", FEATURES[::-3], id="strided"),
    ],
)
def test_both_routes_answer_alike(way: Way, name: str, data: Any) -> None:
    """A model behind another server gives what the local one gives, to the bit."""
    with way.hybrid(name) as model:
        answer = model.infer(data, use_azure=True)
        assert (answer.route, answer.attempts, answer.model_version) == ("azure", 1, None)
        assert_equal(model.predict(data), model.predict(data, use_azure=True))


@pytest.mark.parametrize("options", [{"max_batch_size": 7}, {"max_request_bytes": 7 * 16}])
def test_rows_are_cut_and_put_together(server: OtherServer, options: dict[str, int]) -> None:
    """50 rows by seven are eight requests, and the answer is the same."""
    with hybrid(server, "linear", **options) as model:
        there = model.infer(FEATURES, use_azure=True)
        assert there.attempts == 8
        np.testing.assert_allclose(model.predict(FEATURES), there.outputs["y"], rtol=1e-6)


def test_zero_rows_are_answered_here(server: OtherServer) -> None:
    """No request is made for an empty array or frame."""
    with hybrid(server, "classifier") as model:
        for empty in (FEATURES[:0], pd.DataFrame(FEATURES)[:0]):
            assert_equal(model.predict(empty), model.predict(empty, use_azure=True))
        assert model.infer(FEATURES[:0], use_azure=True).attempts == 0
        assert "requests" not in model.client.stats()


@pytest.mark.parametrize("name", SERVED)
def test_the_server_describes_what_it_serves(server: OtherServer, name: str) -> None:
    """`check_endpoint` finds no difference, and the model is ready."""
    with hybrid(server, name) as model:
        assert model.check_endpoint().output_names == model.spec.output_names
        assert model.client.is_ready()


def test_another_model_behind_the_name_is_found_out(server: OtherServer) -> None:
    """`check_endpoint` says what differs, and a prediction is refused in the model's words."""
    endpoint = server.endpoint("identity_FP32")
    with HybridOnnxModel(models.identity("FP64"), endpoint=endpoint) as model:
        with pytest.raises(SpecMismatch, match="input 'x': FP64 locally, FP32 at the endpoint"):
            model.check_endpoint()
        with pytest.raises(EndpointRefused, match=r"answered 500: .*Unexpected input data type"):
            model.predict(np.ones((1, 3)), use_azure=True)


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"model_name": "nobody"}, {"mlserver": 404, "kserve": 404}, "nobody"),
        ({"model_version": "1"}, {"mlserver": 404, "kserve": 501}, "version"),
    ],
)
def test_what_is_not_served_is_refused(
    server: OtherServer, options: dict[str, str], status: dict[str, int], words: str
) -> None:
    """An unknown model or version is an error at once, with the server's own words."""
    endpoint = server.endpoint("linear").with_overrides(**options)
    with HybridOnnxModel(models.linear(), endpoint=endpoint) as model:
        assert not model.client.is_ready()
        for ask_it in (model.check_endpoint, lambda: model.predict(FEATURES, use_azure=True)):
            with pytest.raises(EndpointRefused, match=words) as caught:
                ask_it()
            assert caught.value.status == status[server.kind]
            assert caught.value.attempts == 1


def test_mlserver_knows_versions(mlserver: OtherServer) -> None:
    """A version that MLServer has been told can be asked for, and answers with its name."""
    with hybrid(mlserver, "versions", model_version="2") as model:
        answer = model.infer(FEATURES, use_azure=True)
    assert answer.model_version == "2"


def test_a_model_that_fails_is_not_asked_again(server: OtherServer) -> None:
    """What the model says of its failure reaches the caller, after one attempt."""
    with hybrid(server, "lookup") as model:
        with pytest.raises(
            EndpointRefused, match=r"answered 500: .*idx=99 must be within"
        ) as caught:
            model.predict(np.array([99]), use_azure=True)
        assert caught.value.attempts == 1
        assert model.predict(np.array([1]), use_azure=True).tolist() == [20]


def test_no_server_announces_binary_tensors(server: OtherServer) -> None:
    """Left to itself the client asks once, and sends JSON."""
    listed = {"mlserver": [], "kserve": ["model_repository_extension"]}[server.kind]
    assert ask(server.port, "GET", "/v2").json["extensions"] == listed
    with hybrid(server, "linear") as model:
        for _ in range(2):
            model.predict(FEATURES, use_azure=True)
        assert model.client.stats()["requests"] == 3


def test_mlserver_takes_no_binary_tensors(mlserver: OtherServer) -> None:
    """Who says `binary=True` all the same gets an error, whatever the bytes are."""
    with hybrid(mlserver, "linear", binary=True, max_attempts=1) as model:
        for rows in (FEATURES, np.zeros((1, 4), np.float32)):
            with pytest.raises(EndpointError, match=r"answered (422|500): "):
                model.predict(rows, use_azure=True)


def test_codecs_of_mlserver_change_the_shape(mlserver: OtherServer) -> None:
    """MLServer's own codecs send (n, 1) for (n), and that is not passed on as the answer."""
    with (
        hybrid(mlserver, "codec") as model,
        pytest.raises(SpecMismatch, match=r"output 'y': shape \[2, 1\] came, \[\?\] was expected"),
    ):
        model.predict(np.array([0, 1]), use_azure=True)


def test_an_id_of_its_own_is_not_believed(kserve: OtherServer) -> None:
    """A KServe model that makes up its own id may be answering another request."""
    with (
        hybrid(kserve, "own_id") as model,
        pytest.raises(ProtocolError, match="the answer is that of request 'of-its-own'"),
    ):
        model.predict(FEATURES, use_azure=True)


def test_threads_get_their_own_answers(way: Way) -> None:
    """Four threads with 25 calls each, on one model, never see each other's rows."""
    right: list[int] = []

    def work(number: int) -> None:
        for turn in range(25):
            rows = np.full((turn + 1, 3), number * 100 + turn, np.float32)
            if np.array_equal(model.predict(rows, use_azure=True), rows):
                right.append(number)

    with way.hybrid("identity_FP32") as model:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(right) == 100


@given(
    floats=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
    integers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=3, max_size=3),
)
@settings(deadline=None, max_examples=20)
@pytest.mark.parametrize("kind", KINDS)
def test_json_changes_no_value(
    request: pytest.FixtureRequest,
    kind: str,
    floats: list[float],
    integers: list[int],
    texts: list[str],
) -> None:
    """Finite floats, whole numbers of 64 bits and texts come back through JSON as they were."""
    server: OtherServer = request.getfixturevalue(kind)
    for datatype, row in (("FP64", floats), ("INT64", integers), ("BYTES", texts)):
        sent = np.array([row], object if datatype == "BYTES" else None)
        with hybrid(server, f"identity_{datatype}", binary=False) as model:
            assert_equal(sent, model.predict(sent, use_azure=True))


@pytest.mark.skipif(lacking("mlserver") is not None, reason=str(lacking("mlserver")))
def test_mlserver_without_workers_and_the_end_of_its_processes(tmp_path: Path) -> None:
    """A traceback is no protocol's error, so it is tried again; and nobody stays behind."""
    left: list[int] = []

    def fail() -> None:
        with running("mlserver", {"lookup": models.lookup()}, tmp_path, parallel_workers=0) as one:
            left.append(one.popen.pid)
            with (
                hybrid(one, "lookup", max_attempts=2) as model,
                pytest.raises(EndpointUnavailable, match="answered 500") as caught,
            ):
                model.predict(np.array([99]), use_azure=True)
            assert caught.value.attempts == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(ProcessLookupError):
        os.killpg(left[0], 0)
