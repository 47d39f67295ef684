"""The switch `use_azure`: its values, and the names of the two routes."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError

USE_AZURE_ENV = "HYBRIDMODEL_USE_AZURE"

LOCAL = "local"
AZURE = "azure"

_LONGEST_SHOWN = 12
_MEANINGS = {"0": False, "1": True, "false": False, "true": True}


def parse_use_azure(value: Any, where: str) -> bool | None:
    """Return whether a switch is on, None where it is not set.

    Parameters
    ----------
    value : bool, int, str or None
        True, False, 0, 1, "0", "1", "true" or "false".
    where : str
        Named in the error.

    Raises
    ------
    ConfigurationError
        If it is anything else: no other value has only one possible meaning.
    """
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    text = str(int(value)) if isinstance(value, int) and value in (0, 1) else value
    if isinstance(text, str) and (meaning := _MEANINGS.get(text)) is not None:
        return meaning
    # Long values are not shown: one of them may be a key.
    raise ConfigurationError(
        f"{where} is True, False, 0, 1, 'true' or 'false' (or None), not "
        f"{shown(value, _LONGEST_SHOWN)}"
    )
