"""`InferenceSession`: onnxruntime's session, with runs that an endpoint can answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from hybridmodel.azure_ep.entries import RunReader, SessionEntries
from hybridmodel.azure_ep.remote_run import RemoteRun
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession
from hybridmodel.process.per_process import PerProcess
from hybridmodel.remote.endpoint_base import DEFAULT_KEY_ENV

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

PROVIDER = "AzureExecutionProvider"

_NAMES = ("azureexecutionprovider", "cloudexecutionprovider")

_log = logging.getLogger("hybridmodel")


class InferenceSession(onnxruntime.InferenceSession):  # type: ignore[misc]
    """An ``onnxruntime.InferenceSession`` whose Azure execution provider works.

    Runs are local and entirely onnxruntime's own, unless their `RunOptions` set ``use_azure``: then
    the endpoint that the `SessionOptions` name gives the answer, or the run raises an error.
    Everything that is not described here is inherited from onnxruntime's session.

    Parameters
    ----------
    path_or_bytes, sess_options, providers, provider_options, **kwargs
        As onnxruntime takes them. `sess_options` may hold the entries ``azure.endpoint_type``,
        ``azure.uri``, ``azure.model_name``, ``azure.model_version`` (default 1, empty for the
        server's choice) and ``azure.verbose`` (default 0; 1 logs each call). Three entries are new:
        ``azure.timeout_s`` (default 30, for a whole run), ``azure.max_attempts`` (default 1) and
        ``azure.allow_http`` (default 0; 1 for ``http://`` to another machine). All of them also
        work with the prefix ``cloud``.

    Raises
    ------
    ConfigurationError
        If the entries cannot work, or the model has a tensor that the protocol cannot carry.
    Exception
        Whatever onnxruntime's session raises.

    Examples
    --------
    >>> options = RunOptions()  # doctest: +SKIP
    >>> options.add_run_config_entry("use_azure", "1")  # doctest: +SKIP
    >>> options.add_run_config_entry("azure.auth_key", key)  # doctest: +SKIP
    >>> InferenceSession("m.onnx", session_options).run(None, {"x": x}, options)  # doctest: +SKIP
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: onnxruntime.SessionOptions | None = None,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Mapping[Any, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        providers, provider_options, self._place = _without_azure(providers, provider_options)
        super().__init__(path_or_bytes, sess_options, providers, provider_options, **kwargs)
        self._source = (
            path_or_bytes if isinstance(path_or_bytes, bytes) else Path(path_or_bytes).absolute()
        )
        self._entries = SessionEntries.read(self.get_session_options())
        self._remote = RemoteRun(self, self._entries) if self._entries else None
        self._runs = RunReader(self._entries)
        self._workers: PerProcess[ThreadPoolExecutor] = PerProcess()

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: onnxruntime.RunOptions | None = None,
    ) -> list[Any]:
        """Compute the named outputs, locally or at the endpoint.

        Parameters
        ----------
        output_names : sequence of str or None
            The outputs to return, in this order; None or empty for all.
        input_feed : mapping of str to ndarray
            Every input by name, in exactly its declared dtype.
        run_options : onnxruntime.RunOptions, optional
            ``use_azure`` asks the endpoint. It requires ``azure.auth_key``, which is empty for a
            server without keys.

        Returns
        -------
        list of ndarray
            A local run may also return onnxruntime's sequences and maps.

        Raises
        ------
        ConfigurationError
            If an entry of `run_options` is not valid.
        Exception
            Whatever onnxruntime raises for a feed that does not fit, on either route.
        EndpointError, SpecMismatch
            If the endpoint was asked and gave no valid answer. A run never falls back to local.
        """
        asked = self._runs.read(run_options)
        if self._remote is None or asked is None:
            results: list[Any] = super().run(output_names, input_feed, run_options)
            return results
        return self._remote(super().run, output_names, input_feed, asked)

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callable[[list[Any], Any, str], Any],
        user_data: Any,
        run_options: onnxruntime.RunOptions | None = None,
    ) -> None:
        """Do what `run` does in another thread, and pass the result to `callback`.

        Parameters
        ----------
        callback : callable
            Gets the outputs, `user_data` and an empty string; or, after an error, an empty list,
            `user_data` and the error's text.
        output_names, input_feed, user_data, run_options
            As onnxruntime takes them.
        """
        asked = self._runs.read(run_options)
        if self._remote is None or asked is None:
            super().run_async(output_names, input_feed, callback, user_data, run_options)
            return
        workers = self._workers.get(lambda: ThreadPoolExecutor(thread_name_prefix="azure_ep"))
        run = partial(self._remote, super().run, output_names, input_feed, asked)
        workers.submit(_run_and_tell, run, callback, user_data)

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, Any],
        run_options: onnxruntime.RunOptions | None = None,
    ) -> Any:
        """Run locally on OrtValues; refuse a run that asks for the endpoint."""
        self._check_local(run_options, "run_with_ort_values")
        return super().run_with_ort_values(output_names, input_dict_ort_values, run_options)

    def run_with_iobinding(
        self, iobinding: Any, run_options: onnxruntime.RunOptions | None = None
    ) -> None:
        """Run locally on bound memory; refuse a run that asks for the endpoint."""
        self._check_local(run_options, "run_with_iobinding")
        super().run_with_iobinding(iobinding, run_options)

    def run_with_ortvaluevector(
        self,
        run_options: onnxruntime.RunOptions | None,
        feed_names: Any,
        feeds: Any,
        fetch_names: Any,
        fetches: Any,
        fetch_devices: Any,
    ) -> None:
        """Run locally on vectors of OrtValues; refuse a run that asks for the endpoint."""
        self._check_local(run_options, "run_with_ortvaluevector")
        super().run_with_ortvaluevector(
            run_options, feed_names, feeds, fetch_names, fetches, fetch_devices
        )

    def get_providers(self) -> list[str]:
        """Return the execution providers, with Azure's if the caller named it."""
        names = list(super().get_providers())
        if self._place is not None:
            names.insert(self._place, PROVIDER)
        return names

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """Return the options of each execution provider."""
        options = dict(super().get_provider_options())
        return options if self._place is None else {**options, PROVIDER: {}}

    def set_providers(
        self,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Mapping[Any, Any]] | None = None,
    ) -> None:
        """Use other execution providers for local runs."""
        providers, provider_options, place = _without_azure(providers, provider_options)
        super().set_providers(providers, provider_options)
        self._place = place

    def to_model(
        self, *, auth_key_env: str | None = DEFAULT_KEY_ENV, **options: Any
    ) -> HybridOnnxModel:
        """Make the model that `hybridmodel.log_model` saves.

        Its endpoint is that of the session's entries, with `TritonEndpoint`'s own defaults for the
        rest. onnxruntime cannot list the other entries of a session, so they are lost.

        Parameters
        ----------
        auth_key_env : str or None
            Name of the environment variable that will hold the key; None for a server without.
        **options
            Arguments of `HybridOnnxModel`: ``feature_names``, ``output``, ``use_azure``,
            ``credential``.
        """
        from hybridmodel.model import HybridOnnxModel

        entries, provided = self._entries, super().get_provider_options()
        local = LocalSession(
            self._source,
            providers=[
                (name, provided[name]) if provided[name] else name
                for name in super().get_providers()
            ],
            session_options=_changed_options(self.get_session_options()),
            spec=self._remote.spec if self._remote else None,
        )
        endpoint = entries.endpoint(auth_key_env=auth_key_env) if entries else None
        return HybridOnnxModel(local, endpoint=endpoint, **options)

    def __repr__(self) -> str:
        return f"InferenceSession({self._source if isinstance(self._source, Path) else 'bytes'})"

    def _check_local(self, run_options: onnxruntime.RunOptions | None, what: str) -> None:
        if self._runs.read(run_options) is not None:
            raise ConfigurationError(
                f"{what} works on memory of this machine and cannot ask the endpoint; use run, or "
                "leave use_azure out"
            )


def _run_and_tell(
    run: Callable[[], list[Any]], callback: Callable[[list[Any], Any, str], Any], user_data: Any
) -> None:
    try:
        results, error = run(), ""
    except Exception as raised:  # noqa: BLE001 - the callback gets it, as from onnxruntime
        results, error = [], f"{type(raised).__name__}: {raised}"
    try:
        callback(results, user_data, error)
    except Exception:  # noqa: BLE001 - no caller could catch it
        _log.exception("the callback of run_async failed")


def _without_azure(
    providers: Sequence[Any] | None, provider_options: Sequence[Mapping[Any, Any]] | None
) -> tuple[Sequence[Any] | None, Sequence[Mapping[Any, Any]] | None, int | None]:
    """Remove every spelling of Azure's and Cloud's provider; also return where Azure's was.

    onnxruntime prints an error of several lines for an unknown name.
    """
    if providers is None or isinstance(providers, str):
        return providers, provider_options, None
    names = [item if isinstance(item, str) else item[0] for item in providers]
    kept = [place for place, name in enumerate(names) if name.lower() not in _NAMES]
    place = names.index(PROVIDER) if PROVIDER in names else None
    if not kept and names:
        return ["CPUExecutionProvider"], None, place
    if provider_options is not None:
        provider_options = [provider_options[at] for at in kept]
    return [providers[at] for at in kept], provider_options, place


def _changed_options(options: onnxruntime.SessionOptions) -> dict[str, Any]:
    """Return the attributes that differ from their defaults, enumerations by name."""
    defaults = type(options)()
    names = [name for name, kind in vars(type(options)).items() if isinstance(kind, property)]
    return {
        name: getattr(value, "name", value)
        for name in names
        if (value := getattr(options, name)) != getattr(defaults, name)
    }
