"""The calls of a model, with the types that each of them gives for what it takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, overload

from hybridmodel.answer import Answer, with_provenance
from hybridmodel.asynchronous import AsyncCalls
from hybridmodel.data.answer import set_elapsed
from hybridmodel.data.binding import Binding
from hybridmodel.data.tensors import Array, ModelSpec
from hybridmodel.process.tracing import active_tracer
from hybridmodel.remote.endpoint import check_timeout
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.routing.resolver import LOCAL_POLICY, REMOTE_POLICY, PolicyResolver
from hybridmodel.routing.router import Router
from hybridmodel.routing.routes import Request, Routes
from hybridmodel.spans import predicting

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd
    import polars as pl

    from hybridmodel.call_types import Arrow, Asked, Data, Frame, Mode, Plain, PolarsFrame, UseAzure
    from hybridmodel.remote.regions import AnyClient


class Calls(AsyncCalls):
    """Adds `predict` and `infer` to a model, which has a spec, routes, and policies."""

    endpoint: Endpoint | None
    policies: PolicyResolver
    _binding: Binding
    _names: tuple[str, ...]
    _routes: Routes
    _router: Router

    if TYPE_CHECKING:

        @property
        def spec(self) -> ModelSpec:
            """Inputs and outputs of the local model."""

        @property
        def client(self) -> AnyClient:
            """The client of the endpoints."""

    # Frames are arrays to a type checker as well, so that the order says what they are.
    @overload
    def predict(
        self,
        data: Frame,
        *,
        output: str | None = ...,
        provenance: Literal[True],
        **asked: Unpack[Asked],
    ) -> pd.DataFrame: ...
    @overload
    def predict(
        self,
        data: Frame,
        *,
        output: str | None = ...,
        provenance: bool = ...,
        **asked: Unpack[Asked],
    ) -> pd.DataFrame | pd.Series[Any]: ...
    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        data: PolarsFrame,
        *,
        output: str | None = ...,
        provenance: Literal[True],
        **asked: Unpack[Asked],
    ) -> pl.DataFrame: ...
    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        data: PolarsFrame,
        *,
        output: str | None = ...,
        provenance: bool = ...,
        **asked: Unpack[Asked],
    ) -> pl.DataFrame | pl.Series: ...
    @overload
    def predict(
        self,
        data: Plain,
        *,
        output: str | None = ...,
        provenance: Literal[True],
        **asked: Unpack[Asked],
    ) -> dict[str, Array]: ...
    @overload
    def predict(
        self,
        data: Plain,
        *,
        output: str,
        provenance: Literal[False] = ...,
        **asked: Unpack[Asked],
    ) -> Array: ...
    @overload
    def predict(
        self,
        data: Plain,
        *,
        output: str | None = ...,
        provenance: bool = ...,
        **asked: Unpack[Asked],
    ) -> Array | Any: ...
    @overload
    def predict(
        self,
        data: Arrow,
        *,
        output: str | None = ...,
        provenance: bool = ...,
        **asked: Unpack[Asked],
    ) -> Any: ...
    def predict(
        self,
        data: Data,
        *,
        use_azure: UseAzure = None,
        mode: Mode | None = None,
        output: str | None = None,
        timeout: float | None = None,
        provenance: bool = False,
    ) -> Any:
        """Return the outputs in the kind of container that `data` is.

        Parameters
        ----------
        data : DataFrame, Series, ndarray, list, dict of arrays by input name, or Arrow data
            The rows, which are never changed. Arrow data are tables and columns of polars, pyarrow…
        use_azure : bool, int or str, optional
            True asks the endpoint, and returns its answer or raises; False runs the local model.
        mode : str, Policy or callable, optional
            Instead of `use_azure`: a policy of `hybridmodel.routing`, the name of its mode, or a
            function of the feeds that returns whether the endpoint answers, once or for each row.
        output : str, optional
            The only output to return.
        timeout : float, optional
            Total seconds for the endpoint; default is the endpoint's. A local run has no limit.
        provenance : bool, default=False
            Add the ``route``, ``score`` and ``reason`` of each row.

        Returns
        -------
        Series or DataFrame with the index of `data`, ndarray, dict of str to ndarray, or table
            Names, dtypes and order are the same on both routes. A table is polars' if `data` is,
            else pyarrow's.

        Raises
        ------
        InputMismatch
            If `data` does not fit the model.
        ConfigurationError
            If an argument is unknown, or there is no endpoint or no key for it.
        EndpointError
            One of its subclasses, if the endpoint gave no good answer.
        SpecMismatch
            If the endpoint's answer has other names, datatypes or shapes than the local model's.
        """
        policy = self.policies.for_call(use_azure, mode)
        request = self._request(data, policy, output, timeout)
        bound = request.bound
        if policy is LOCAL_POLICY and bound.rows and not provenance and active_tracer() is None:
            # As `Router.answer`, but without the record of an answer, which takes 0.9 µs.
            return self._binding.restore(self._routes.run_local(request), bound)
        answer = self._answer(policy, request)
        restored = self._binding.restore(answer.outputs, bound)
        return with_provenance(restored, answer, bound) if provenance else restored

    def infer(
        self,
        data: Data,
        *,
        use_azure: UseAzure = None,
        mode: Mode | None = None,
        output: str | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Return the outputs as named arrays, with the route of each row and the time taken.

        Parameters and errors are those of `predict`.
        """
        started = time.perf_counter()
        policy = self.policies.for_call(use_azure, mode)
        answer = self._answer(policy, self._request(data, policy, output, timeout))
        return set_elapsed(answer, time.perf_counter() - started)

    def _names_for(self, output: str | None) -> tuple[str, ...]:
        return self.spec.answered_names if output is None else (self.spec.output(output).name,)

    def _request(
        self, data: Any, policy: Any, output: str | None, timeout: float | None
    ) -> Request:
        if policy is REMOTE_POLICY and self.endpoint is None:
            self.client  # noqa: B018 - raises before `data` is read
        timeout_s = None if timeout is None else check_timeout(timeout)
        names = self._names if output is None else self._names_for(output)
        return Request(self._binding.bind(data), names, timeout_s)

    def _answer(self, policy: Any, request: Request) -> Answer:
        tracer = None if request.bound.rows == 0 else active_tracer()
        if tracer is None:
            return self._router.answer(policy, request)
        with predicting(tracer, policy, request, self.endpoint) as record:
            answer = self._router.answer(policy, request)
            record(answer)
            return answer
