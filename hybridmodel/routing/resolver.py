"""The policy of a call: the first that call, configuration, environment or model names."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession
from hybridmodel.remote.embeddings.fitting import vectors_of
from hybridmodel.remote.endpoint_base import Endpoint
from hybridmodel.routing.budget import Budget
from hybridmodel.routing.policies import Azure, Cascade, Local, as_policy
from hybridmodel.routing.policy import Policy
from hybridmodel.routing.routes import ADD_ENDPOINT, check_rows
from hybridmodel.switch import AZURE, LOCAL, USE_AZURE_ENV, parse_use_azure

LOCAL_POLICY, REMOTE_POLICY = Local(), Azure()
"""The only instances of `Local` and `Azure` that a call gets: code compares them by identity."""


def initial_policy(use_azure: bool | None, routing: Policy | str | None) -> Policy:
    """Return the policy that a model is made with; raise unless the arguments name one."""
    if routing is None:
        return REMOTE_POLICY if use_azure else LOCAL_POLICY
    if use_azure is not None:
        raise ConfigurationError("pass use_azure or routing, not both")
    policy = as_policy(routing, where="routing")
    if not isinstance(policy, Policy):
        raise ConfigurationError(
            "routing is a policy or the name of a mode; give a function as mode="
        )
    return policy


class PolicyResolver:
    """Finds the policy of each call of one model.

    `saved` is the policy that the model was made or saved with, and `configured` that of its
    ``model_config``, if any. `refused` says why `saved` must not be used: nobody has permitted that
    it sends data. `validate` returns a policy that fits the model, or raises `ConfigurationError`.
    """

    def __init__(
        self,
        saved: Policy,
        validate: Callable[[Any], Any],
        configured: Policy | None = None,
        refused: str | None = None,
    ) -> None:
        self._validate = validate
        # The last policy that a call named, and what was made of it: the next call often names it.
        self._validated: tuple[Any, Any] = (None, None)
        self.saved: Policy = validate(saved)
        self.configured: Policy | None = None if configured is None else validate(configured)
        self.refused = refused

    @property
    def scored_outputs(self) -> tuple[str, ...]:
        """The outputs that the scores of the model's cascades and budgets are made from."""
        policies = (self.configured, self.saved)
        scores = [item.score for item in policies if isinstance(item, Cascade | Budget)]
        return tuple(score.output for score in scores if score.output is not None)

    def configure(self, use_azure: bool | None, mode: Any) -> None:
        """Set the policy of ``model_config``; raises what `for_call` raises."""
        if use_azure is not None or mode is not None:
            self.configured = self._requested(use_azure, mode)

    def for_call(self, use_azure: Any = None, mode: Any = None) -> Any:
        """Return the policy of a call: a `Policy`, or the caller's own function.

        Raises `ConfigurationError` for two arguments, for one that is unknown or cannot work, and
        without any if the saved policy is refused.
        """
        if use_azure is not None or mode is not None:
            return self._requested(use_azure, mode)
        if self.configured is not None:
            return self.configured
        environment = os.environ.get(USE_AZURE_ENV)
        if environment is None:
            if self.refused is not None:
                raise ConfigurationError(self.refused)
            return self.saved
        is_remote = parse_use_azure(environment, f"environment variable {USE_AZURE_ENV}")
        return REMOTE_POLICY if is_remote else LOCAL_POLICY

    def _requested(self, use_azure: Any, mode: Any) -> Any:
        if mode is None:
            plain = isinstance(use_azure, bool)
            is_remote = use_azure if plain else parse_use_azure(use_azure, "use_azure")
            return REMOTE_POLICY if is_remote else LOCAL_POLICY
        if use_azure is not None:
            raise ConfigurationError("pass use_azure or mode, not both")
        return self._named(mode)

    def _named(self, mode: Any) -> Any:
        given, valid = self._validated
        if mode is given:
            return valid
        known = self.configured if mode == getattr(self.configured, "mode", "") else self.saved
        policy = as_policy(mode, known)
        if policy is known:
            return policy
        self._validated = (policy, self._validate(policy))
        return self._validated[1]

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructor replaces unpickled plain policies by the two constants.
        arguments = (self.saved, self._validate, self.configured, self.refused)
        return PolicyResolver, arguments


def validate_policy(session: LocalSession, endpoints: Sequence[Endpoint], policy: Any) -> Any:
    """Return a policy with its settings completed for a model.

    Raises `ConfigurationError` if the model has no endpoint, no rows to divide, no output for the
    score, or is not the model that the calibration was made with. Warns if the calibration was made
    with another endpoint.
    """
    mode = getattr(policy, "mode", "function")
    if mode in (LOCAL, AZURE):
        return LOCAL_POLICY if mode == LOCAL else REMOTE_POLICY
    if not endpoints:
        raise ConfigurationError(f"mode {mode!r} needs an endpoint: {ADD_ENDPOINT}")
    if not isinstance(policy, Cascade | Budget):
        return policy
    if policy.calibration is not None:
        # The same model may have moved, which nobody can tell from here.
        urls = [endpoint.model_url for endpoint in endpoints]
        known = policy.calibration.endpoint in urls
        asked = None if known else urls[0]
        for difference in policy.calibration.differences(endpoint=asked):
            warnings.warn(difference, stacklevel=_level_of_caller())
    return _validate_cascade(policy, session, vectors_of(endpoints[0], session.spec))


def _validate_cascade(
    policy: Cascade | Budget, session: LocalSession, vectors: Collection[str]
) -> Cascade | Budget:
    from hybridmodel.routing.audited import check_auditable

    check_rows(session.spec, ())
    calibration, sha256 = policy.calibration, session.onnx.sha256
    if calibration is not None and calibration.small_sha256 != sha256:
        raise ConfigurationError(
            f"the calibration was made with another local model ({calibration.small_sha256[:12]}…, "
            f"this one is {sha256[:12]}…), so its threshold does not apply; calibrate again"
        )
    policy = replace(policy, score=policy.score.check(session.spec, vectors))
    if policy.audit_rate:
        check_auditable(policy, session.spec)
    return policy


def _level_of_caller() -> int:
    """Return the ``stacklevel`` with which a warning points at who called this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_globals.get("__name__", "").startswith("hybridmodel") and frame.f_back:
        level, frame = level + 1, frame.f_back
    return level
