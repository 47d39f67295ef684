"""From a policy to an answer: the two plain routes at once, all other policies by the router."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hybridmodel.local.session import LocalSession
from hybridmodel.process.counters import Counters
from hybridmodel.process.per_process import PerProcess
from hybridmodel.routing.choice import HERE, THERE
from hybridmodel.routing.routed import Ask, Routed, Sides

if TYPE_CHECKING:
    from hybridmodel.remote.client import EndpointClient
    from hybridmodel.routing.router import Router


class Dispatch:
    """Answers the calls of one model.

    Parameters
    ----------
    local : LocalSession
    client : callable
        Returns the `EndpointClient`; raises where there is none.
    counters : Counters
        Count what was done.
    """

    def __init__(
        self, local: LocalSession, client: Callable[[], EndpointClient], counters: Counters
    ) -> None:
        self._sides = Sides(local, client, counters)
        self._routers: PerProcess[Router] = PerProcess()

    @property
    def router(self) -> Router:
        """What carries out all other policies, with what they remember; made when it is needed."""
        return self._routers.get(self._make_router)

    def answer(self, policy: Any, ask: Ask) -> Routed:
        """Answer a call of at least one row; see `Router.answer`."""
        bound = ask.bound
        if policy is HERE:
            return self._sides.local(bound.feeds, ask.names, bound.rows)
        if policy is THERE:
            return self._sides.azure(bound.feeds, ask.names, bound.rows, ask.timeout_s)
        return self.router.answer(policy, ask)

    def stats(self) -> dict[str, float]:
        """Return what cascades and shadows have found out, by name."""
        router = self._routers.peek()
        return {} if router is None else router.stats()

    def _make_router(self) -> Router:
        from hybridmodel.routing.router import Router

        return Router(self._sides)
