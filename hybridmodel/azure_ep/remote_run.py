"""Remote runs: turn the arguments of onnxruntime's `run` into a request to the endpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from hybridmodel.azure_ep.entries import Asked, SessionEntries
from hybridmodel.data.binding import Binding
from hybridmodel.data.tensors import Array, TensorSpec, format_shape
from hybridmodel.exceptions import InputMismatch
from hybridmodel.local.session import spec_of
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.resilience import Deadline

_log = logging.getLogger("hybridmodel")

_KEY: ContextVar[str | None] = ContextVar("auth_key", default=None)


class RemoteRun:
    """Answers runs of one session from its endpoint; making one calls nothing.

    It raises `ConfigurationError` for an entry that cannot work, and for a model with an input or
    output that the protocol cannot carry: sequences, maps, sparse tensors, bfloat16.
    """

    def __init__(self, session: onnxruntime.InferenceSession, entries: SessionEntries) -> None:
        self.spec = spec_of(session, {})
        self._input_names = set(self.spec.input_names)
        self._output_names = set(self.spec.output_names)
        self._binding = Binding(self.spec)
        # As the original provider: one request for each run, and none before the first run.
        endpoint = entries.endpoint(binary=True, max_attempts=1, breaker_failures=None)
        self._client = EndpointClient(endpoint, self.spec, RunKey())
        if entries.verbose:
            _make_audible()

    def __call__(
        self,
        run_locally: Callable[..., Any],
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        asked: Asked,
    ) -> list[Array]:
        """Return the outputs in the order given; invalid arguments fail as in a local run."""
        if not self._is_plain(output_names, input_feed):
            input_feed = _checked(run_locally, output_names, input_feed)
        names = tuple(output_names or self.spec.output_names)
        bound = self._binding.bind(input_feed)
        if bound.rows == 0:
            outputs = self._binding.empty(names)
        else:
            outputs = self._ask(bound.feeds, tuple(dict.fromkeys(names)), bound.rows, asked)
        return [outputs[name] for name in names]

    def __repr__(self) -> str:
        return f"RemoteRun({self._client.endpoint!r})"

    def _ask(
        self, feeds: Mapping[str, Array], names: tuple[str, ...], rows: int | None, asked: Asked
    ) -> dict[str, Array]:
        url = self._client.endpoint.model_url
        _log_tensors(feeds, "POST %s/infer: %s", url)
        before = _KEY.set(asked.auth_key)
        try:
            answer = self._client.infer(feeds, names, rows=rows)
        finally:
            _KEY.reset(before)
        _log_tensors(answer.outputs, "%s answered %s: %s", url, answer.request_id)
        return answer.outputs

    def _is_plain(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> bool:
        """Tell whether the arguments are valid without asking onnxruntime."""
        return (
            isinstance(output_names, (list, tuple, type(None)))
            and self._output_names.issuperset(output_names or ())
            and input_feed.keys() == self._input_names
            and all(_is_tensor(input_feed[spec.name], spec) for spec in self.spec.inputs)
        )


class RunKey:
    """A `KeySource` that returns the key of the run in this thread."""

    def key(self, deadline: Deadline) -> str | None:  # noqa: ARG002 - never waits
        """Return the key; None for a server without keys."""
        return _KEY.get()

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:  # noqa: ARG002
        """Return None: a run has one key only."""
        return None


def _log_tensors(arrays: Mapping[str, Array], message: str, *words: str | None) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        described = [f"{name} {one.dtype}{format_shape(one.shape)}" for name, one in arrays.items()]
        _log.debug(message, *words, ", ".join(described))


def _checked(
    run_locally: Callable[..., Any],
    output_names: Sequence[str] | None,
    input_feed: Mapping[str, Any],
) -> dict[str, Any]:
    """Let onnxruntime check the arguments, and return the feed as numpy arrays."""
    # A run with this flag checks names, types and shapes, and then stops before it computes.
    stopped = onnxruntime.RunOptions()
    stopped.terminate = True
    with suppress(Fail):
        run_locally(output_names, input_feed, stopped)
    return {
        name: _text(name, value.numpy() if isinstance(value, onnxruntime.OrtValue) else value)
        for name, value in input_feed.items()
    }


def _text(name: str, value: Any) -> Any:
    """Decode bytes of a fixed size as UTF-8, which is what onnxruntime does.

    onnxruntime accepts them for string inputs only, and has refused them for all others already.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "SV":
        return value
    texts = np.empty(value.size, dtype=object)
    try:
        # numpy drops the zeros at the end of S elements, as onnxruntime does, and keeps those of V.
        texts[:] = [
            element.tobytes().decode() if value.dtype.kind == "V" else element.decode()
            for element in value.ravel()
        ]
    except UnicodeDecodeError as error:
        raise InputMismatch(
            f"input {name!r}: {value.dtype} holds bytes that are not UTF-8; a request can carry "
            "UTF-8 text only"
        ) from error
    return texts.reshape(value.shape)


def _is_tensor(value: Any, spec: TensorSpec) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == spec.dtype and spec.fits(value.shape)


def _make_audible() -> None:
    """Show the library's log messages, on stderr if the program has no handler."""
    _log.setLevel(logging.DEBUG)
    if not _log.hasHandlers():
        _log.addHandler(logging.StreamHandler())
