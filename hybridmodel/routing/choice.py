"""Which policy a call gets: who speaks last before it counts most."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint import TritonEndpoint
from hybridmodel.routing.policies import Azure, Cascade, Local, Policy, as_policy
from hybridmodel.switch import AZURE, LOCAL, USE_AZURE_ENV, parse_use_azure

HERE, THERE = Local(), Azure()
"""The only two of their kind that a call gets, so that they are known by identity."""


def made_with(use_azure: bool | None, routing: Policy | str | None) -> Policy:
    """Return the policy that a model is made with.

    Raises
    ------
    ConfigurationError
        If both are said, or `routing` is no policy.
    """
    if routing is None:
        return THERE if use_azure else HERE
    if use_azure is not None:
        raise ConfigurationError("use_azure and routing are two answers to one question; give one")
    policy = as_policy(routing, where="routing")
    if not isinstance(policy, Policy):
        raise ConfigurationError(
            "routing is a policy or the name of a mode; give a function as mode="
        )
    return policy


class Choice:
    """Chooses the policy of each call of one model.

    Parameters
    ----------
    saved : Policy
        What the model was made or saved with.
    check : callable
        Returns a policy made ready for the model, or raises `ConfigurationError`.
    configured : Policy, optional
        What `configure` made of ``model_config``, for a copy of a model.
    refused : str, optional
        Why `saved` may not be taken, for a copy of a model.

    Attributes
    ----------
    saved : Policy
    configured : Policy or None
        What ``model_config`` said when the model was loaded. After it comes the environment
        variable ``HYBRIDMODEL_USE_AZURE``, and then what was saved.
    refused : str or None
        Why what was saved may not be taken: it would send data to where nobody granted.
    """

    def __init__(
        self,
        saved: Policy,
        check: Callable[[Any], Any],
        configured: Policy | None = None,
        refused: str | None = None,
    ) -> None:
        self._check = check
        self.saved: Policy = check(saved)
        self.configured: Policy | None = None if configured is None else check(configured)
        self.refused = refused

    def configure(self, use_azure: bool | None, mode: Any) -> None:
        """Take in what ``model_config`` says.

        Raises
        ------
        ConfigurationError
            If it says two things, or what cannot be done.
        """
        if use_azure is not None or mode is not None:
            self.configured = self._said(use_azure, mode)

    def of(self, use_azure: Any = None, mode: Any = None) -> Any:
        """Return the policy of a call: a `Policy`, or the caller's own function.

        Parameters
        ----------
        use_azure : bool, int, str or None
            Exactly the endpoint, or exactly here.
        mode : str, Policy, callable or None
            What more there is to say.

        Raises
        ------
        ConfigurationError
            If both are said, or something that cannot be understood or done; or nothing is said,
            and what was saved is refused.
        """
        if use_azure is not None or mode is not None:
            return self._said(use_azure, mode)
        if self.configured is not None:
            return self.configured
        environment = os.environ.get(USE_AZURE_ENV)
        if environment is None:
            if self.refused is not None:
                raise ConfigurationError(self.refused)
            return self.saved
        said = parse_use_azure(environment, f"environment variable {USE_AZURE_ENV}")
        return THERE if said else HERE

    def _said(self, use_azure: Any, mode: Any) -> Any:
        if mode is None:
            return THERE if parse_use_azure(use_azure, "use_azure") else HERE
        if use_azure is not None:
            raise ConfigurationError("use_azure and mode are two answers to one question; give one")
        known = self.configured if mode == getattr(self.configured, "mode", "") else self.saved
        policy = as_policy(mode, known)
        return policy if policy is known else self._check(policy)


def ready(policy: Any, spec: ModelSpec, sha256: str, endpoint: TritonEndpoint | None) -> Any:
    """Return a policy made ready for a model.

    Parameters
    ----------
    policy : Policy or callable
    spec : ModelSpec
        Of the model.
    sha256 : str
        Of its file.
    endpoint : TritonEndpoint or None

    Raises
    ------
    ConfigurationError
        If the model has no endpoint to ask, no rows to divide, no output to make the score from,
        or is not the one that the calibration was made with.
    """
    mode = getattr(policy, "mode", "function")
    if mode in (LOCAL, AZURE):
        return HERE if mode == LOCAL else THERE
    if endpoint is None:
        raise ConfigurationError(
            f"mode {mode!r} needs an endpoint: make the model with endpoint=TritonEndpoint(...), "
            "or load it with model_config={'uri': ..., 'model_name': ...}"
        )
    return _ready_cascade(policy, spec, sha256) if isinstance(policy, Cascade) else policy


def _ready_cascade(policy: Cascade, spec: ModelSpec, sha256: str) -> Cascade:
    from hybridmodel.routing.audit import judge_of
    from hybridmodel.routing.routed import check_rows

    check_rows(spec, ())
    found = policy.calibration
    if found is not None and found.small_sha256 != sha256:
        raise ConfigurationError(
            f"the calibration was made with another local model ({found.small_sha256[:12]}…, this "
            f"one is {sha256[:12]}…), so its threshold means nothing here; calibrate again"
        )
    policy = replace(policy, score=policy.score.check(spec))
    if policy.audit_rate:
        judge_of(policy, spec)
    return policy
