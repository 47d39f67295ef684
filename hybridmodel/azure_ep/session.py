"""`InferenceSession`: onnxruntime's, with runs that can be answered by an endpoint."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.azure_ep.entries import Asked, RunReader, SessionEntries
from hybridmodel.azure_ep.local_calls import LocalCalls
from hybridmodel.azure_ep.remote_run import RemoteRun
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.process.per_process import PerProcess
from hybridmodel.remote.endpoint import DEFAULT_KEY_ENV

if TYPE_CHECKING:
    import onnxruntime

    from hybridmodel.model import HybridOnnxModel

PROVIDER = "AzureExecutionProvider"

_NAMES = ("azureexecutionprovider", "cloudexecutionprovider")

_log = logging.getLogger("hybridmodel")


class InferenceSession(LocalCalls):
    """An ``onnxruntime.InferenceSession`` whose Azure execution provider works.

    Runs are local, and onnxruntime's own in everything, unless their `RunOptions` say
    ``use_azure``: then the endpoint that the `SessionOptions` name gives the answer, or there is
    an error. What is not described here is as in onnxruntime's session.

    Parameters
    ----------
    path_or_bytes, sess_options, providers, provider_options, **kwargs
        As onnxruntime takes them. `sess_options` may hold the entries ``azure.endpoint_type``,
        ``azure.uri``, ``azure.model_name``, ``azure.model_version`` (default 1, empty for the
        server's choice) and ``azure.verbose`` (default 0; 1 logs each call), and beyond the
        original's ``azure.timeout_s`` (default 30, for a whole run), ``azure.max_attempts``
        (default 1) and ``azure.allow_http`` (default 0; 1 for ``http://`` to another machine); all
        of them also with ``cloud``.

    Raises
    ------
    ConfigurationError
        If the entries cannot work, or the model has a tensor that cannot go to the endpoint.
    Exception
        As onnxruntime's session raises it.

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
        import onnxruntime

        providers, provider_options, self._place = _without_azure(providers, provider_options)
        self._local = onnxruntime.InferenceSession(
            path_or_bytes, sess_options, providers, provider_options, **kwargs
        )
        self._source = (
            path_or_bytes if isinstance(path_or_bytes, bytes) else Path(path_or_bytes).absolute()
        )
        self._entries = SessionEntries.read(self._local.get_session_options())
        self._remote = RemoteRun(self._local, self._entries) if self._entries else None
        self._runs = RunReader(self._entries)
        self._workers: PerProcess[ThreadPoolExecutor] = PerProcess()

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: onnxruntime.RunOptions | None = None,
    ) -> list[Any]:
        """Compute the named outputs, here or at the endpoint.

        Parameters
        ----------
        output_names : sequence of str or None
            In the order wanted; None or empty for all.
        input_feed : mapping of str to ndarray
            Every input by name, in exactly its declared dtype.
        run_options : onnxruntime.RunOptions, optional
            ``use_azure`` says where, ``azure.auth_key`` (required then, empty for a server without
            keys) with which key.

        Returns
        -------
        list of ndarray
            A local run may also return what only onnxruntime knows: sequences, maps.

        Raises
        ------
        ConfigurationError
            If the entries of `run_options` cannot be understood.
        Exception
            As onnxruntime raises it, for a feed that does not fit, on either route.
        EndpointError, SpecMismatch
            When the endpoint was asked and gave no good answer. Nothing falls back to local.
        """
        remote, asked = self._route(run_options)
        if remote is None or asked is None:
            results: list[Any] = self._local.run(output_names, input_feed, run_options)
            return results
        return remote(output_names, input_feed, asked)

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callable[[list[Any], Any, str], Any],
        user_data: Any,
        run_options: onnxruntime.RunOptions | None = None,
    ) -> None:
        """Do what `run` does in another thread, and hand the result to `callback`.

        Parameters
        ----------
        callback : callable
            Gets the outputs, `user_data`, and an empty string; or an empty list, `user_data`, and
            what went wrong.
        output_names, input_feed, user_data, run_options
            As onnxruntime takes them.
        """
        remote, asked = self._route(run_options)
        if remote is None or asked is None:
            self._local.run_async(output_names, input_feed, callback, user_data, run_options)
            return
        workers = self._workers.get(lambda: ThreadPoolExecutor(thread_name_prefix="azure_ep"))
        workers.submit(_run_and_tell, remote, output_names, input_feed, asked, callback, user_data)

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, Any],
        run_options: onnxruntime.RunOptions | None = None,
    ) -> Any:
        """Run locally on OrtValues; a run that asks for the endpoint is refused."""
        self._check_local(run_options, "run_with_ort_values")
        return self._local.run_with_ort_values(output_names, input_dict_ort_values, run_options)

    def run_with_iobinding(
        self, iobinding: Any, run_options: onnxruntime.RunOptions | None = None
    ) -> None:
        """Run locally on bound memory; a run that asks for the endpoint is refused."""
        self._check_local(run_options, "run_with_iobinding")
        self._local.run_with_iobinding(iobinding, run_options)

    def run_with_ortvaluevector(
        self,
        run_options: onnxruntime.RunOptions | None,
        feed_names: Any,
        feeds: Any,
        fetch_names: Any,
        fetches: Any,
        fetch_devices: Any,
    ) -> None:
        """Run locally on vectors of OrtValues; a run that asks for the endpoint is refused."""
        self._check_local(run_options, "run_with_ortvaluevector")
        self._local.run_with_ortvaluevector(
            run_options, feed_names, feeds, fetch_names, fetches, fetch_devices
        )

    def get_providers(self) -> list[str]:
        """Return the execution providers, Azure's among them where it was asked for by its name."""
        names = list(self._local.get_providers())
        if self._place is not None:
            names.insert(self._place, PROVIDER)
        return names

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """Return the options of each execution provider."""
        options = dict(self._local.get_provider_options())
        return options if self._place is None else {**options, PROVIDER: {}}

    def set_providers(
        self,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Mapping[Any, Any]] | None = None,
    ) -> None:
        """Use other execution providers for local runs."""
        providers, provider_options, place = _without_azure(providers, provider_options)
        self._local.set_providers(providers, provider_options)
        self._place = place

    def to_model(
        self, *, auth_key_env: str | None = DEFAULT_KEY_ENV, **options: Any
    ) -> HybridOnnxModel:
        """Make the model that `hybridmodel.log_model` saves.

        It has the endpoint of the session's entries, with its own defaults where they say nothing.
        Other entries of the session cannot be listed, and are left behind.

        Parameters
        ----------
        auth_key_env : str or None
            Name of the environment variable that will hold the key; None for a server without.
        **options
            As `HybridOnnxModel` takes them: ``feature_names``, ``output``, ``use_azure``,
            ``credential``.
        """
        from hybridmodel.local.session import LocalSession
        from hybridmodel.model import HybridOnnxModel

        entries, provided = self._entries, self._local.get_provider_options()
        local = LocalSession(
            self._source,
            providers=[
                (name, provided[name]) if provided[name] else name
                for name in self._local.get_providers()
            ],
            session_options=_changed_options(self._local.get_session_options()),
            spec=self._remote.spec if self._remote else None,
        )
        endpoint = entries.endpoint(auth_key_env=auth_key_env) if entries else None
        return HybridOnnxModel(local, endpoint=endpoint, **options)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """Pass for onnxruntime's session, as which other libraries check for."""
        import onnxruntime

        return onnxruntime.InferenceSession

    def __getattr__(self, name: str) -> Any:
        if name == "_local":  # Not made yet: looking for it there would never end.
            raise AttributeError(name)
        return getattr(self._local, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._local)})

    def __repr__(self) -> str:
        return f"InferenceSession({self._source if isinstance(self._source, Path) else 'bytes'})"

    def _route(
        self, run_options: onnxruntime.RunOptions | None
    ) -> tuple[RemoteRun | None, Asked | None]:
        return self._remote, self._runs.read(run_options)

    def _check_local(self, run_options: onnxruntime.RunOptions | None, what: str) -> None:
        if self._runs.read(run_options) is not None:
            raise ConfigurationError(
                f"{what} works on memory of this machine and cannot ask the endpoint; use run, or "
                "leave use_azure out"
            )


def _run_and_tell(
    remote: RemoteRun,
    output_names: Sequence[str] | None,
    input_feed: Mapping[str, Any],
    asked: Asked,
    callback: Callable[[list[Any], Any, str], Any],
    user_data: Any,
) -> None:
    try:
        results, error = remote(output_names, input_feed, asked), ""
    except Exception as raised:  # noqa: BLE001 - the callback is told, as onnxruntime does
        results, error = [], f"{type(raised).__name__}: {raised}"
    try:
        callback(results, user_data, error)
    except Exception:  # noqa: BLE001 - there is nobody above to raise it to
        _log.exception("the callback of run_async failed")


def _without_azure(
    providers: Sequence[Any] | None, provider_options: Sequence[Mapping[Any, Any]] | None
) -> tuple[Sequence[Any] | None, Sequence[Mapping[Any, Any]] | None, int | None]:
    """Leave out every spelling of Azure's and Cloud's provider, and say where the right one stood.

    onnxruntime prints an error over several lines for a name that it does not know.
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
    """Return the attributes that are not as they are by default, enumerations by name."""
    defaults = type(options)()
    names = [name for name, kind in vars(type(options)).items() if isinstance(kind, property)]
    values = {name: getattr(options, name) for name in names}
    return {
        name: getattr(value, "name", value)
        for name, value in values.items()
        if value != getattr(defaults, name)
    }
