"""What Azure Machine Learning allows: names, counts and times.

Source: its pages on quotas for endpoints and on the YAML of deployments, read in 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError

MANAGED, KUBERNETES = "managed", "kubernetes"
COMPUTES = (MANAGED, KUBERNETES)
"""Who runs the instances: Azure, or a cluster that is attached to the workspace."""

AUTH_MODES: Mapping[str, tuple[str, ...]] = {
    MANAGED: ("key", "aml_token", "aad_token"),
    KUBERNETES: ("key", "aml_token"),
}

MOST_REQUEST_TIMEOUT_S: Mapping[str, float] = {MANAGED: 180.0, KUBERNETES: 300.0}
MOST_INSTANCES = 50
MOST_MIRRORED_PERCENT = 50
LEAST_NAME, MOST_NAME = 3, 32
PENDING_PER_RUNNING = 2
"""Requests that the gateway takes for each that an instance may run; it answers 429 beyond."""

NAME = re.compile("[A-Za-z](?:-?[A-Za-z0-9])*")
"""A name of an endpoint or deployment, but for its length."""


def checked_name(what: str, name: Any) -> str:
    """Return a name of an endpoint or deployment that Azure accepts.

    Raises `ConfigurationError` for any other name; `what` begins the message.
    """
    fits = isinstance(name, str) and LEAST_NAME <= len(name) <= MOST_NAME
    if fits and NAME.fullmatch(name):
        return str(name)
    raise ConfigurationError(
        f"{what} {shown(name)}: Azure takes {LEAST_NAME} to {MOST_NAME} letters, digits and single "
        "dashes, of which the first is a letter and the last is no dash"
    )
