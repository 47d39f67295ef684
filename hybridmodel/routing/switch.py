"""Which route answers a call: the endpoint or the local model, decided before anything else."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from hybridmodel.exceptions import ConfigurationError

USE_AZURE_ENV = "HYBRIDMODEL_USE_AZURE"

LOCAL = "local"
AZURE = "azure"

_LONGEST_SHOWN = 12
_MEANINGS = {"0": False, "1": True, "false": False, "true": True}


def parse_use_azure(value: Any, where: str) -> bool | None:
    """Return what a switch says, None for "not said".

    Parameters
    ----------
    value : bool, int, str or None
        True, False, 0, 1, "0", "1", "true" or "false".
    where : str
        Named in the error.

    Raises
    ------
    ConfigurationError
        If it is anything else; ``"no"`` must not come to mean yes, nor yes no.
    """
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, str)) and (meaning := _MEANINGS.get(str(value))) is not None:
        return meaning
    # Long values are not shown: a misplaced key is one.
    shown = repr(value) if len(repr(value)) <= _LONGEST_SHOWN else f"a {type(value).__name__}"
    raise ConfigurationError(
        f"{where} is True, False, 0, 1, 'true' or 'false' (or None for not said), not {shown}"
    )


def resolve_use_azure(said: Any, configured: bool | None, saved: bool | None) -> bool:
    """Decide for one call; who spoke last before it counts most.

    Parameters
    ----------
    said : bool, int, str or None
        The call's own argument.
    configured : bool or None
        What ``model_config`` said when the model was loaded.
    saved : bool or None
        What the model was made or saved with. Before it comes the environment variable
        ``HYBRIDMODEL_USE_AZURE``, after it the local route.

    Raises
    ------
    ConfigurationError
        If the argument or the variable cannot be understood.
    """
    if said is not None:
        return bool(parse_use_azure(said, "use_azure"))
    if configured is not None:
        return configured
    environment = os.environ.get(USE_AZURE_ENV)
    if environment is not None:
        return bool(parse_use_azure(environment, f"environment variable {USE_AZURE_ENV}"))
    return bool(saved)
