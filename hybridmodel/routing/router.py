"""`Router.answer`: what each policy does with a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.answer import MIXED, Answer
from hybridmodel.data.binding import Binding
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.process.per_process import PerProcess
from hybridmodel.routing.policies import Azure, Local, Split
from hybridmodel.routing.policy import Policy
from hybridmodel.routing.routes import Request, Routes, merge
from hybridmodel.switch import AZURE, LOCAL

if TYPE_CHECKING:
    from hybridmodel.compare.comparison import Comparison
    from hybridmodel.routing.audit import Audit


class Router:
    """Carries out the policies of one model."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._runners: PerProcess[_Runners] = PerProcess()
        self._make_runners = partial(_Runners, routes)

    def answer(self, policy: Any, request: Request) -> Answer:
        """Answer a request by a policy, and raise what the route that was taken raises.

        A function as policy takes the feeds by name, and returns whether the endpoint answers: True
        or False, or an array of bool with one for each row.
        """
        if request.bound.rows == 0:
            outputs = Binding(self._routes.spec).empty(request.names)
            route = AZURE if isinstance(policy, Azure) else LOCAL
            return Answer(outputs, route, row_count=0, reason="no rows")
        match policy:
            case Local():
                return self._routes.local(request)
            case Azure():
                return self._routes.remote(request)
            case Split():
                from hybridmodel.routing.splitting import chosen

                return self._divide(request, chosen(policy, request.bound), "split")
            case Policy():
                return self._runners.get(self._make_runners).by_mode[policy.mode](policy, request)
        bound = request.bound
        return self._divide(request, _checked(policy(bound.feeds), bound.rows), "policy")

    @property
    def comparison(self) -> Comparison:
        """The comparison of both routes in shadow mode, in this process."""
        return self._runners.get(self._make_runners).shadow.comparison

    @property
    def audit(self) -> Audit:
        """The audit of a cascade or a budget, in this process."""
        return self._runners.get(self._make_runners).cascade.audit

    def close(self) -> None:
        """Write what is kept in files."""
        runners = self._runners.peek()
        if runners is not None:
            runners.cascade.audit.flush()

    def stats(self) -> dict[str, float]:
        """Return the numbers of cascades and shadow mode by name."""
        runners = self._runners.peek()
        if runners is None:
            return {}
        return {**runners.cascade.audit.stats(), **runners.shadow.stats()}

    def _divide(self, request: Request, is_remote: bool | Array, reason: str) -> Answer:
        """Let the endpoint answer all, none or some of the rows."""
        if np.all(is_remote):
            return replace(self._routes.remote(request), reason=reason)
        if not np.any(is_remote):
            return self._routes.local(request, reason)
        self._routes.check_rows(request.names)
        mask = np.asarray(is_remote)
        remote_rows, local_rows = np.flatnonzero(mask), np.flatnonzero(~mask)
        remote = self._routes.remote(request.of_rows(remote_rows))
        local = self._routes.run_local(request.of_rows(local_rows))
        outputs = {
            name: np.empty((mask.size, *array.shape[1:]), array.dtype)
            for name, array in local.items()
        }
        merge(outputs, local_rows, local)
        merge(outputs, remote_rows, remote.outputs)
        answer = replace(remote, outputs=outputs, route=MIXED, reason=reason)
        return replace(answer, row_count=mask.size, remote_rows=mask)


class _Runners:
    """The policies that keep state between calls; imported when first needed."""

    def __init__(self, routes: Routes) -> None:
        from hybridmodel.routing.cascading import CascadeRunner
        from hybridmodel.routing.fallbacks import FallbackRunner
        from hybridmodel.routing.shadowing import ShadowRunner

        self.cascade, self.shadow = CascadeRunner(routes), ShadowRunner(routes)
        fallback = FallbackRunner(routes)
        self.by_mode: Mapping[str, Callable[[Any, Request], Answer]] = {
            "azure_first": fallback.azure_first,
            "local_first": fallback.local_first,
            "hedge": fallback.hedge,
            "cascade": self.cascade.answer,
            "budget": self.cascade.answer,
            "shadow": self.shadow.answer,
        }


def _checked(returned: Any, rows: int | None) -> bool | Array:
    """Return what a caller's function returned, as `Router._divide` takes it."""
    is_remote = np.asarray(returned)
    if is_remote.dtype != bool or is_remote.shape not in ((), (rows,)):
        raise ConfigurationError(
            f"a routing function returns True, False, or an array of bool of shape [{rows}]; it "
            f"returned {is_remote.dtype} of shape {list(is_remote.shape)}"
        )
    return is_remote if is_remote.ndim else bool(is_remote)
