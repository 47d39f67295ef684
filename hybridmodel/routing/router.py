"""Policies carried out: `Router.answer` asks one side, the other, or both for some rows each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hybridmodel.exceptions import ConfigurationError, EndpointUnavailable, InputMismatch
from hybridmodel.process.bounded import NoRoom, NotDone, call_with_timeout
from hybridmodel.remote.redaction import escaped
from hybridmodel.remote.resilience import Deadline
from hybridmodel.routing.cascading import CascadeRunner
from hybridmodel.routing.policies import AzureFirst, Hedge, Policy, Split
from hybridmodel.routing.routed import MIXED, Ask, Routed, Sides, check_rows, merge, pick
from hybridmodel.routing.shadowing import ShadowRunner
from hybridmodel.routing.splitting import chosen

Array = np.ndarray[Any, Any]

_log = logging.getLogger("hybridmodel")


class Router:
    """Carries out the policies of one model, and keeps what they remember between calls.

    Parameters
    ----------
    sides : Sides
        The model's two routes.
    """

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self.cascade = CascadeRunner(sides)
        self.shadow = ShadowRunner(sides)
        self._falling_back = False
        self._modes: Mapping[str, Callable[[Any, Ask], Routed]] = {
            "azure_first": self._azure_first,
            "local_first": self._local_first,
            "cascade": self.cascade.answer,
            "shadow": self.shadow.answer,
            "split": self._split,
            "hedge": self._hedge,
        }

    def stats(self) -> dict[str, float]:
        """Return what cascades and shadows have found out, by name."""
        return {**self.cascade.audit.stats(), **self.shadow.stats()}

    def answer(self, policy: Any, ask: Ask) -> Routed:
        """Answer one call.

        Parameters
        ----------
        policy : Policy or callable
            A function takes the feeds by name, and returns True for the endpoint, False for here,
            or that for each row in an array of bool.
        ask : Ask
            The call, of at least one row.

        Raises
        ------
        InputMismatch, ConfigurationError, EndpointError, SpecMismatch
            As the route that was taken raises them.
        """
        if isinstance(policy, Policy):
            return self._modes[policy.mode](policy, ask)
        return self._divided(_verdict(policy(ask.bound.feeds), ask.bound.rows), ask, "policy")

    def _local(self, _: Any, ask: Ask) -> Routed:
        return self._sides.local(ask.bound.feeds, ask.names, ask.bound.rows)

    def _azure(
        self, _: Any, ask: Ask, retry: bool = True, deadline: Deadline | None = None
    ) -> Routed:
        bound = ask.bound
        return self._sides.azure(
            bound.feeds, ask.names, bound.rows, ask.timeout_s, retry=retry, deadline=deadline
        )

    def _azure_first(self, policy: AzureFirst, ask: Ask) -> Routed:
        first = ask._replace(timeout_s=self._sides.time_of(ask) * policy.patience)
        try:
            return self._recovered(self._azure(policy, first, retry=False))
        except EndpointUnavailable as error:
            return self._instead(ask, error)

    def _local_first(self, policy: Policy, ask: Ask) -> Routed:
        try:
            return self._local(policy, ask)
        except InputMismatch:
            raise
        except Exception as error:  # noqa: BLE001 - whatever keeps it from working here
            self._fall_back("the local model", error, "the endpoint")
            return self._azure(policy, ask)._replace(reasons=type(error).__name__)

    def _hedge(self, policy: Hedge, ask: Ask) -> Routed:
        deadline = Deadline(self._sides.time_of(ask))
        try:
            asked = call_with_timeout(
                policy.delay_s,
                lambda: self._azure(policy, ask, retry=False, deadline=deadline),
                crew=self._sides.hedging,
                name="hybridmodel-hedge",
                queues=False,
            )
            return self._recovered(asked)
        except NotDone as error:
            # What nobody waits for stops, but for a connection or a token on its way.
            deadline.run_out()
            full = isinstance(error, NoRoom)
            self._sides.counters.add("hedge.full" if full else "hedge.calls")
            reason = "endpoint full" if full else "slow endpoint"
            return self._local(policy, ask)._replace(reasons=reason)
        except EndpointUnavailable as error:
            return self._instead(ask, error)
        except BaseException:
            deadline.end()
            raise

    def _split(self, policy: Split, ask: Ask) -> Routed:
        return self._divided(chosen(policy, ask.bound), ask, "split")

    def _divided(self, there: bool | Array, ask: Ask, reason: str) -> Routed:
        """Let the endpoint answer all, none or some of the rows."""
        if isinstance(there, bool) or there.all() or not there.any():
            side = self._azure if np.all(there) else self._local
            return side(None, ask)._replace(reasons=reason)
        bound = ask.bound
        check_rows(self._sides.spec, ask.names)
        far, near = np.flatnonzero(there), np.flatnonzero(~there)
        remote = self._sides.azure(pick(bound.feeds, far), ask.names, len(far), ask.timeout_s)
        local = self._sides.local(pick(bound.feeds, near), ask.names, len(near))
        outputs = {
            name: np.empty((len(there), *array.shape[1:]), array.dtype)
            for name, array in local.outputs.items()
        }
        merge(outputs, near, local.outputs)
        merge(outputs, far, remote.outputs)
        return Routed(outputs, MIXED, remote.there, there, reasons=reason)

    def _instead(self, ask: Ask, error: EndpointUnavailable) -> Routed:
        self._fall_back("the endpoint", error, "the local model")
        return self._local(None, ask)._replace(reasons=type(error).__name__)

    def _recovered(self, routed: Routed) -> Routed:
        self._falling_back = False
        return routed

    def _fall_back(self, failed: str, error: Exception, instead: str) -> None:
        """Count it, and warn at the first of several in a row; the others are details."""
        self._sides.counters.add("fallback.calls")
        level = logging.DEBUG if self._falling_back else logging.WARNING
        self._falling_back = True
        _log.log(level, "%s answers instead of %s: %s", instead, failed, escaped(str(error))[:2000])


def _verdict(said: Any, rows: int | None) -> bool | Array:
    verdict = np.asarray(said)
    if verdict.dtype != bool or verdict.shape not in ((), (rows,)):
        raise ConfigurationError(
            f"a routing function returns True, False, or {rows} of these in an array; it returned "
            f"{verdict.dtype} of shape {list(verdict.shape)}"
        )
    return verdict if verdict.ndim else bool(verdict)
