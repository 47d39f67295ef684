"""`HybridOnnxModel`: one model with a local and a remote route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hybridmodel.calls import Calls
from hybridmodel.data.binding import Binding
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession
from hybridmodel.looks import shown_by
from hybridmodel.process.counters import Counters
from hybridmodel.remote.endpoint import check_timeout
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.remote.endpoints import as_endpoints
from hybridmodel.routing import Policy, parse_use_azure
from hybridmodel.routing.resolver import (
    LOCAL_POLICY,
    PolicyResolver,
    initial_policy,
    validate_policy,
)
from hybridmodel.routing.router import Router
from hybridmodel.routing.routes import Routes

if TYPE_CHECKING:
    import onnxruntime

    from hybridmodel.call_types import Credential, Provider, SessionOptions, Source, UseAzure
    from hybridmodel.compare.comparison import Comparison
    from hybridmodel.remote.regions import AnyClient
    from hybridmodel.routing.audit import Audit


class HybridOnnxModel(Calls):
    """An ONNX model that runs locally, or at an endpoint that serves it or a larger model.

    It is safe to share between threads; sessions and connections are made on first use, once in
    each process. A pickle or copy has the model and the endpoint, but never a credential.

    Parameters
    ----------
    onnx_model : path, bytes or onnx.ModelProto
        The local model, which is never changed.
    endpoint : TritonEndpoint or EmbeddingsEndpoint, or a list of either, optional
        The endpoint of the remote model, which must have the same inputs and outputs. Of a list,
        the next one is asked where one is unavailable; see docs/regions.md.
    credential : object with ``get_token`` or callable, or a list of these, optional
        Replaces the endpoint's environment variable; a list has one for each endpoint.
    feature_names : sequence of str, optional
        For a model with one input of shape (n, k): the columns that a DataFrame must have.
    output : str, optional
        The output that `predict` returns unless a call names another; default is all outputs.
    use_azure : bool, int or str, optional
        The route unless call, configuration or environment name another; default is local.
    routing : Policy or str, optional
        Instead of `use_azure`: a policy of `hybridmodel.routing`, or the name of a mode.
    providers : sequence of str or (str, dict), default=("CPUExecutionProvider",)
        onnxruntime's execution providers in order of preference.
    provider_options : sequence of dict, optional
        One for each provider.
    session_options : mapping or onnxruntime.SessionOptions, optional
        Attributes of ``onnxruntime.SessionOptions`` by name, enumerations by name or number. Under
        ``extra_session_config`` its configuration entries; under ``custom_op_libraries`` a list of
        paths, or ``"onnxruntime-extensions"``.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded, or an argument cannot work.

    Examples
    --------
    >>> model = HybridOnnxModel("digits.onnx", endpoint=endpoint)  # doctest: +SKIP
    >>> model.predict(frame, use_azure=True)  # doctest: +SKIP
    """

    def __init__(
        self,
        onnx_model: Source,
        *,
        endpoint: Endpoint | Sequence[Endpoint] | None = None,
        credential: Credential | None = None,
        feature_names: Sequence[str] | None = None,
        output: str | None = None,
        use_azure: UseAzure = None,
        routing: Policy | str | None = None,
        providers: Sequence[Provider] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        session_options: SessionOptions | None = None,
    ) -> None:
        if not isinstance(onnx_model, LocalSession):
            onnx_model = LocalSession(
                onnx_model,
                providers=providers,
                provider_options=provider_options,
                session_options=session_options,
            )
        self.local: LocalSession = onnx_model
        self.endpoints = as_endpoints(endpoint)
        self.endpoint = next(iter(self.endpoints), None)
        self.output = output
        self.use_azure = parse_use_azure(use_azure, "use_azure")
        self._binding = Binding(self.spec, feature_names)
        self._names = self._names_for(output)
        self.policies = PolicyResolver(
            initial_policy(self.use_azure, routing),
            partial(validate_policy, self.local, self.endpoints),
        )
        self._connect(credential)

    @property
    def spec(self) -> ModelSpec:
        """Inputs and outputs of the local model."""
        return self.local.spec

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs."""
        return self.spec.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs."""
        return self.spec.outputs

    @property
    def feature_names(self) -> list[str] | None:
        """Columns of a frame in the model's order, None if they are unknown."""
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
        """The policy that a call gets unless call, configuration or environment name another."""
        return self.policies.saved

    def with_session_options(self, session_options: SessionOptions | None) -> HybridOnnxModel:
        """Return a model with another local session, that shares all else with this one.

        `session_options` are as `HybridOnnxModel` takes them, instead of all that were given.
        """
        # A copy would have another client, without the credential.
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.local = LocalSession(
            self.onnx,
            providers=self.local.providers,
            provider_options=self.local.provider_options,
            session_options=session_options,
            spec=self.spec,
        )
        made._routes = self._routes.with_session(made.local)
        made._router = Router(made._routes)
        return made

    def check_endpoint(self, timeout: float | None = None) -> ModelSpec:
        """Compare the endpoint's description of its model, or each one's, with the local model.

        Parameters
        ----------
        timeout : float, optional
            Total time in seconds.

        Returns
        -------
        ModelSpec
            The description that the endpoint gives, or the first of several.

        Raises
        ------
        SpecMismatch
            If names, datatypes or shapes differ; it lists every difference. An output that is
            missing there is none if the score of the model's cascade or budget is made from it.
        EndpointError
            One of its subclasses, if the endpoint gave no description.
        """
        return self._routes.check_served(self.policies.scored_outputs, check_timeout(timeout))

    @property
    def client(self) -> AnyClient:
        """The client of the endpoints; raises `ConfigurationError` if there is none."""
        return self._routes.client

    def stats(self) -> dict[str, float]:
        """Return the counts of this model in this process.

        Returns
        -------
        dict of str to float
            Counts by name, as docs/routes.md explains them; counts of zero may be missing.
        """
        return dict(sorted({**self._routes.stats(), **self._router.stats()}.items()))

    @property
    def comparison(self) -> Comparison:
        """The comparison of both routes in shadow mode, in this process."""
        return self._router.comparison

    @property
    def audit(self) -> Audit:
        """The audit of a cascade or a budget with an `audit_rate`, in this process."""
        return self._router.audit

    def close(self) -> None:
        """Close the connections to the endpoint; a later call opens new ones."""
        self._router.close()
        self._routes.close()

    def __enter__(self) -> HybridOnnxModel:
        """Return the model itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        outputs = ", ".join(map(str, self.outputs))
        asked = list(self.endpoints) if len(self.endpoints) > 1 else self.endpoint
        routing = "" if self.routing is LOCAL_POLICY else f"routing={self.routing!r}, "
        return f"HybridOnnxModel({inputs} -> {outputs}, {routing}endpoint={asked!r})"

    _repr_html_ = shown_by("hybridmodel.model_looks")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_routes": None, "_router": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect(None)

    def _connect(self, credential: Credential | None) -> None:
        client = None
        if self.endpoints:
            from hybridmodel.remote.regions import connected

            client = connected(self, credential)
        self._routes = Routes(self.local, client, Counters())
        self._router = Router(self._routes)
