"""The remote side of a session: onnxruntime's arguments in, `EndpointClient` asked, a list out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.azure_ep.entries import Asked, SessionEntries
from hybridmodel.data.binding import Binding
from hybridmodel.data.tensors import TensorSpec, format_shape
from hybridmodel.exceptions import InputMismatch
from hybridmodel.local.session import spec_of
from hybridmodel.remote.client import EndpointClient

if TYPE_CHECKING:
    import onnxruntime

    from hybridmodel.remote.resilience import Deadline

Array = np.ndarray[Any, Any]

_log = logging.getLogger("hybridmodel")

_KEY: ContextVar[str | None] = ContextVar("auth_key", default=None)


class RemoteRun:
    """Answers runs of one session from its endpoint; makes no call when made.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The local session, which judges what is handed in.
    entries : SessionEntries
        Where the endpoint is.

    Raises
    ------
    ConfigurationError
        If an entry cannot work, or the model has an input or output that cannot go over the wire:
        sequences, maps, sparse tensors, bfloat16.
    """

    def __init__(self, session: onnxruntime.InferenceSession, entries: SessionEntries) -> None:
        self._session = session
        self.spec = spec_of(session, {})
        self._input_names = set(self.spec.input_names)
        self._output_names = set(self.spec.output_names)
        self._binding = Binding(self.spec)
        # As the original: one request for a run, and nothing asked of the server before.
        endpoint = entries.endpoint(binary=True, max_attempts=1, breaker_failures=None)
        self._client = EndpointClient(endpoint, self.spec, RunKey())
        if entries.verbose:
            _make_audible()

    def __call__(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], asked: Asked
    ) -> list[Array]:
        """Return the outputs in the order asked.

        Raises
        ------
        onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, ValueError
            As a local run raises it, before anything is sent.
        InputMismatch
            If onnxruntime would take the feed, and no request can hold it.
        EndpointError, SpecMismatch
            As `EndpointClient.infer` raises them.
        """
        feed = self._judged(output_names, input_feed)
        names = tuple(output_names or self.spec.output_names)
        bound = self._binding.bind(feed)
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
        _log.debug("POST %s/infer: %s", url, _Shown(feeds))
        with _key_of_this_run(asked.auth_key):
            answer = self._client.infer(feeds, names, rows=rows)
        _log.debug("%s answered %s: %s", url, answer.request_id, _Shown(answer.outputs))
        return answer.outputs

    def _judged(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the feed as numpy takes it, or let onnxruntime say what is wrong."""
        if self._is_plain(output_names, input_feed):
            return input_feed
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail

        # It judges names, types and shapes first, and then stops before it computes.
        stopped = onnxruntime.RunOptions()
        stopped.terminate = True
        with suppress(Fail):
            self._session.run(output_names, input_feed, stopped)
        return {
            name: _text(name, value.numpy() if isinstance(value, onnxruntime.OrtValue) else value)
            for name, value in input_feed.items()
        }

    def _is_plain(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> bool:
        """Tell whether there is nothing for onnxruntime to judge."""
        return (
            isinstance(output_names, (list, tuple, type(None)))
            and self._output_names.issuperset(output_names or ())
            and input_feed.keys() == self._input_names
            and all(_is_tensor(input_feed[spec.name], spec) for spec in self.spec.inputs)
        )


class RunKey:
    """A `KeySource`: the key of the run that this thread makes."""

    def key(self, deadline: Deadline) -> str | None:  # noqa: ARG002 - asks nobody
        """Return the key, None for a server that wants none."""
        return _KEY.get()

    def other_than(self, refused: str | None, deadline: Deadline) -> str | None:  # noqa: ARG002
        """Return None: there is no other key than the run's."""
        return None


class _Shown:
    """Tensors as a log line shows them, made only when there is one."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {array.dtype}{format_shape(array.shape)}"
            for name, array in self._arrays.items()
        )


@contextmanager
def _key_of_this_run(key: str | None) -> Iterator[None]:
    before = _KEY.set(key)
    try:
        yield
    finally:
        _KEY.reset(before)


def _text(name: str, value: Any) -> Any:
    """Read bytes of a fixed size as the UTF-8 that onnxruntime takes them for.

    onnxruntime lets them stand for strings only, and so refuses them for any other input before.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "SV":
        return value
    texts = np.empty(value.size, dtype=object)
    try:
        # Void elements keep the zeros at their end.
        # numpy leaves the zeros at the end of S away, as onnxruntime does, and keeps those of V.
        texts[:] = [
            element.tobytes().decode() if value.dtype.kind == "V" else element.decode()
            for element in value.ravel()
        ]
    except UnicodeDecodeError as error:
        raise InputMismatch(
            f"input {name!r}: {value.dtype} holds bytes that are not UTF-8, which no request can "
            "carry as text"
        ) from error
    return texts.reshape(value.shape)


def _is_tensor(value: Any, spec: TensorSpec) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == spec.dtype and spec.fits(value.shape)


def _make_audible() -> None:
    """Let the library's messages be seen, on stderr where nobody listens."""
    _log.setLevel(logging.DEBUG)
    if not _log.hasHandlers():
        _log.addHandler(logging.StreamHandler())
