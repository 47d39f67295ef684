"""`HybridOnnxModel`: one model, two routes, the same answer in kind."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.answer import Answer, answer_of
from hybridmodel.data.binding import Binding, Bound
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError, SpecMismatch
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession
from hybridmodel.process.counters import Counters
from hybridmodel.process.tracing import active_tracer
from hybridmodel.provenance import with_provenance
from hybridmodel.remote.endpoint import TritonEndpoint, check_timeout
from hybridmodel.routing import AZURE, LOCAL, Policy, parse_use_azure
from hybridmodel.routing.choice import HERE, THERE, Choice, made_with, ready
from hybridmodel.routing.dispatch import Dispatch
from hybridmodel.routing.routed import Ask, Routed
from hybridmodel.spans import predicting

if TYPE_CHECKING:
    import onnxruntime

    from hybridmodel.compare.comparison import Comparison
    from hybridmodel.remote.client import EndpointClient

Array = np.ndarray[Any, Any]


class HybridOnnxModel:
    """An ONNX model that answers here, or from the endpoint that serves it or its bigger sibling.

    Safe to share between threads; sessions and connections are made lazily, once in each process.
    A pickle or copy carries the model and the endpoint, never a credential.

    Parameters
    ----------
    onnx_model : path, bytes or onnx.ModelProto
        The local model; copied byte for byte, never changed.
    endpoint : TritonEndpoint, optional
        Where the other model is served. It must have the same inputs and outputs.
    credential : object with ``get_token`` or callable, optional
        Instead of the endpoint's environment variable.
    feature_names : sequence of str, optional
        For a model with one input of shape (n, k): the columns a DataFrame must have.
    output : str, optional
        The output that `predict` returns when a call does not say; default is all.
    use_azure : bool, int or str, optional
        The route when neither call, configuration nor environment says; default is local.
    routing : Policy or str, optional
        Instead of `use_azure`: one of the policies of `hybridmodel.routing`, or a mode by name.
    providers, provider_options, session_options : optional
        As `hybridmodel.local.session.LocalSession` takes them.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded, or anything is set up so that it cannot work.

    Examples
    --------
    >>> model = HybridOnnxModel("digits.onnx", endpoint=endpoint)  # doctest: +SKIP
    >>> model.predict(frame, use_azure=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        onnx_model: Any,
        *,
        endpoint: TritonEndpoint | None = None,
        credential: Any = None,
        feature_names: Sequence[str] | None = None,
        output: str | None = None,
        use_azure: Any = None,
        routing: Policy | str | None = None,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        session_options: Any = None,
    ) -> None:
        self.local = (
            onnx_model
            if isinstance(onnx_model, LocalSession)
            else LocalSession(
                onnx_model,
                providers=providers,
                provider_options=provider_options,
                session_options=session_options,
            )
        )
        self.endpoint = endpoint
        self.output = output
        self.use_azure = parse_use_azure(use_azure, "use_azure")
        self._binding = Binding(self.spec, feature_names)
        self._names = self._names_for(output)
        self.choice = Choice(made_with(self.use_azure, routing), self._ready)
        self._connect(credential)

    @property
    def spec(self) -> ModelSpec:
        """Inputs and outputs of the local model."""
        return self.local.spec

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""
        return self.spec.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model gives."""
        return self.spec.outputs

    @property
    def feature_names(self) -> list[str] | None:
        """Columns of a frame, in the model's order, where they are known."""
        return self._binding.feature_names

    @property
    def onnx(self) -> OnnxFile:
        """The local model as a file: its bytes or path, and its sha256."""
        return self.local.onnx

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """The onnxruntime session of this process."""
        return self.local.session

    @property
    def routing(self) -> Policy:
        """Who answers when neither call, configuration nor environment says."""
        return self.choice.saved

    def predict(
        self,
        data: Any,
        *,
        use_azure: Any = None,
        mode: Any = None,
        output: str | None = None,
        timeout: float | None = None,
        provenance: bool = False,
    ) -> Any:
        """Answer in the kind of container that came in.

        Parameters
        ----------
        data : DataFrame, Series, ndarray, list, dict of arrays by input name, or Arrow data
            Rows to answer for; never changed. Arrow data are tables and columns of polars, pyarrow…
        use_azure : bool, int or str, optional
            True asks the endpoint, and gets its answer or an error; False stays here.
        mode : str, Policy or callable, optional
            Instead of `use_azure`: a policy of `hybridmodel.routing`, one by the name of its mode,
            or a function of the feeds that returns True for the endpoint, of the call or of each
            row.
        output : str, optional
            The one output wanted.
        timeout : float, optional
            Total time in seconds for the endpoint; default is the endpoint's. A local run cannot
            be interrupted.
        provenance : bool, default=False
            Add who answered each row: ``route``, ``score`` and ``reason``.

        Returns
        -------
        Series or DataFrame with the index of `data`, ndarray, dict of str to ndarray, or table
            The same names, dtypes and order from either route; tables as `data`, else pyarrow's.

        Raises
        ------
        InputMismatch
            If `data` does not fit the model.
        ConfigurationError
            If an argument cannot be understood, there is no endpoint, or no key for it.
        EndpointError
            One of its kinds, when the endpoint was asked and did not give a good answer.
        SpecMismatch
            If the endpoint's answer is not of the kind that the local model gives.
        """
        bound, routed = self._ask(data, self.choice.of(use_azure, mode), output, timeout)
        restored = self._binding.restore(routed.outputs, bound)
        return with_provenance(restored, routed, bound) if provenance else restored

    def infer(
        self,
        data: Any,
        *,
        use_azure: Any = None,
        mode: Any = None,
        output: str | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Answer with named arrays, and tell who computed each row and how long it took.

        Takes and raises what `predict` does.
        """
        started = time.perf_counter()
        bound, routed = self._ask(data, self.choice.of(use_azure, mode), output, timeout)
        elapsed_s = time.perf_counter() - started
        return answer_of(routed, bound.rows, elapsed_s)

    def check_endpoint(self, timeout: float | None = None) -> ModelSpec:
        """Compare the endpoint's own description of its model with the local model.

        Parameters
        ----------
        timeout : float, optional
            Total time in seconds.

        Returns
        -------
        ModelSpec
            What the endpoint says.

        Raises
        ------
        SpecMismatch
            If names, datatypes or shapes differ; lists every difference.
        EndpointError
            One of its kinds, when the endpoint did not say.
        """
        there = self.client.metadata(check_timeout(timeout))
        differences = self.spec.differences(there)
        if differences:
            raise SpecMismatch(
                f"{self.client.endpoint.model_url} does not serve a model with the same inputs "
                f"and outputs: {'; '.join(differences)}",
                differences,
            )
        return there

    @property
    def client(self) -> EndpointClient:
        """What talks to the endpoint.

        Raises
        ------
        ConfigurationError
            If there is no endpoint.
        """
        if self._client is None:
            raise ConfigurationError(
                "the model has no endpoint: make it with endpoint=TritonEndpoint(...), or load it "
                "with model_config={'uri': ..., 'model_name': ...}"
            )
        return self._client

    def stats(self) -> dict[str, float]:
        """Count what this model has done in this process.

        Returns
        -------
        dict of str to float
            By names that docs/routes.md explains; what never happened is not there.
        """
        there = {} if self._client is None else self._client.stats()
        named = {f"{AZURE}.{name}": count for name, count in there.items()}
        found = {**self._counters.totals(), **named, **self._dispatch.stats()}
        return dict(sorted(found.items()))

    @property
    def comparison(self) -> Comparison:
        """What shadow mode found out about both sides, in this process."""
        return self._dispatch.router.shadow.comparison

    def close(self) -> None:
        """Close the connections to the endpoint; a later call opens others."""
        if self._client is not None:
            self._client.close()

    def __enter__(self) -> HybridOnnxModel:
        """Return the model itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        outputs = ", ".join(map(str, self.outputs))
        return f"HybridOnnxModel({inputs} -> {outputs}, endpoint={self.endpoint!r})"

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for made_here in ("_client", "_counters", "_dispatch", "choice"):
            del state[made_here]
        choice = self.choice
        return state | {"routing": (choice.saved, choice.configured, choice.refused)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved, *others = state.pop("routing")
        self.__dict__.update(state)
        self.choice = Choice(saved, self._ready, *others)
        self._connect(None)

    def _connect(self, credential: Any) -> None:
        client: EndpointClient | None = None
        if self.endpoint is not None:
            from hybridmodel.remote.client import EndpointClient, stand_ins

            made = stand_ins[-1](self, self.endpoint) if stand_ins else None
            client = made or EndpointClient(self.endpoint, self.spec, credential)
        self._client, self._counters = client, Counters()
        # What goes on in the background keeps the client that it began with.
        self._dispatch = Dispatch(self.local, lambda: client or self.client, self._counters)

    def _ready(self, policy: Any) -> Any:
        return ready(policy, self.spec, self.onnx.sha256, self.endpoint)

    def _names_for(self, output: str | None) -> tuple[str, ...]:
        return self.spec.output_names if output is None else (self.spec.output(output).name,)

    def _ask(
        self, data: Any, policy: Any, output: str | None, timeout: float | None
    ) -> tuple[Bound, Routed]:
        if policy is THERE:
            self.client  # noqa: B018 - raises where there is none, before the data is looked at
        timeout = check_timeout(timeout)
        names = self._names if output is None else self._names_for(output)
        bound = self._binding.bind(data)
        if bound.rows == 0:
            route = AZURE if policy is THERE else LOCAL
            return bound, Routed(self._binding.empty(names), route, reasons="no rows")
        tracer = active_tracer()
        if tracer is None and policy is HERE:
            # The shortest way, for the calls that take only some microseconds themselves.
            outputs = self.local.run(bound.feeds, names)
            self._counters.answered(LOCAL, bound.rows or 1)
            return bound, Routed(outputs, LOCAL)
        ask = Ask(bound, names, timeout)
        if tracer is None:
            return bound, self._dispatch.answer(policy, ask)
        with predicting(tracer, policy, ask, self.endpoint) as note:
            routed = self._dispatch.answer(policy, ask)
            note(routed)
            return bound, routed
