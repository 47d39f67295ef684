"""Runs in the background and on bound memory, what is logged of them, and the way onward."""

from __future__ import annotations

import contextvars
import logging
import pickle
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from hybridmodel import ConfigurationError, HybridOnnxModel, load_model, save_model
from hybridmodel.azure_ep import InferenceSession
from hybridmodel.azure_ep.entries import Asked
from hybridmodel.serving import EmbeddedServer
from tests.support import models
from tests.support.azure_ep_cases import KEY
from tests.support.azure_ep_sessions import (
    ECHO,
    X,
    assert_equal,
    run_options,
    session,
    session_options,
)
from tests.support.faulty import FaultyEndpoint, error


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
    """Looking one up is an error at once."""
    unmade = InferenceSession.__new__(InferenceSession)
    assert not hasattr(unmade, "_sess")
    with pytest.raises(AttributeError, match="_inputs_meta"):
        unmade.get_inputs()
