"""The switch `use_azure`: its values, and the names of the two routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError

USE_AZURE_ENV = "HYBRIDMODEL_USE_AZURE"

LOCAL = "local"
AZURE = "azure"

_LONGEST_SHOWN = 12
_MEANINGS: Mapping[Any, bool] = {
    **dict.fromkeys((False, "0", "false"), False),
    **dict.fromkeys((True, "1", "true"), True),
}


def parse_use_azure(value: Any, where: str) -> bool | None:
    """Return whether a switch is on, None where it is not set.

    It takes True, False, 0, 1 and their texts; other values have more than one possible meaning,
    and raise `ConfigurationError`, which names `where`.
    """
    if value is None:
        return None
    if isinstance(value, (int, str, np.bool_)) and value in _MEANINGS:
        return _MEANINGS[value]
    # Long values are not shown, because one of them may be a key.
    raise ConfigurationError(
        f"{where} is True, False, 0, 1, 'true' or 'false' (or None), not "
        f"{shown(value, _LONGEST_SHOWN)}"
    )
