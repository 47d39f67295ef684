"""Policies in which one route answers if the other fails or takes too long."""

from __future__ import annotations

import logging
from dataclasses import replace

from hybridmodel.data.answer import Answer
from hybridmodel.exceptions import EndpointUnavailable, InputMismatch
from hybridmodel.process.bounded import NoRoom, NotDone, call_with_timeout
from hybridmodel.remote.redaction import escaped
from hybridmodel.remote.resilience import Deadline
from hybridmodel.routing.policies import AzureFirst, Hedge, LocalFirst
from hybridmodel.routing.routes import Request, Routes

_log = logging.getLogger("hybridmodel")


class FallbackRunner:
    """Carries out `AzureFirst`, `LocalFirst` and `Hedge` for one model."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._falling_back = False

    def azure_first(self, policy: AzureFirst, request: Request) -> Answer:
        """Ask the endpoint once, or the local model if the endpoint is unavailable."""
        timeout_s = self._routes.timeout_of(request) * policy.patience
        try:
            answer = self._routes.remote(request._replace(timeout_s=timeout_s), retry=False)
        except EndpointUnavailable as error:
            return self._local_instead(request, error)
        self._falling_back = False
        return answer

    def local_first(self, _: LocalFirst, request: Request) -> Answer:
        """Ask the local model, or the endpoint if the local model fails."""
        try:
            return self._routes.local(request)
        except InputMismatch:
            raise
        except Exception as error:  # noqa: BLE001 - any failure of the local model
            self._warn("the local model", error, "the endpoint")
            return replace(self._routes.remote(request), reason=type(error).__name__)

    def hedge(self, policy: Hedge, request: Request) -> Answer:
        """Ask the endpoint, or the local model if the endpoint takes too long."""
        deadline = Deadline(self._routes.timeout_of(request))
        try:
            answer = call_with_timeout(
                policy.delay_s,
                lambda: self._routes.remote(request, retry=False, deadline=deadline),
                crew=self._routes.client.hedging,
                name="hybridmodel-hedge",
                queues=False,
            )
        except NotDone as error:
            # The abandoned request stops, unless it is connecting or getting a token.
            deadline.run_out()
            full = isinstance(error, NoRoom)
            self._routes.counters.add("hedge.full" if full else "hedge.calls")
            return self._routes.local(request, "endpoint full" if full else "slow endpoint")
        except EndpointUnavailable as error:
            return self._local_instead(request, error)
        except BaseException:
            deadline.end()
            raise
        self._falling_back = False
        return answer

    def _local_instead(self, request: Request, error: EndpointUnavailable) -> Answer:
        self._warn("the endpoint", error, "the local model")
        return self._routes.local(request, type(error).__name__)

    def _warn(self, failed: str, error: Exception, instead: str) -> None:
        """Count a fallback; warn of the first in a row, log the others at debug level."""
        self._routes.counters.add("fallback.calls")
        level = logging.DEBUG if self._falling_back else logging.WARNING
        self._falling_back = True
        _log.log(level, "%s answers instead of %s: %s", instead, failed, escaped(str(error))[:2000])
