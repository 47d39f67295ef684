"""The switch `use_azure`: the endpoint or the local model, and nothing that may mean either."""

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
    text = str(int(value)) if isinstance(value, int) and value in (0, 1) else value
    if isinstance(text, str) and (meaning := _MEANINGS.get(text)) is not None:
        return meaning
    # Long values are not shown: a misplaced key is one.
    raise ConfigurationError(
        f"{where} is True, False, 0, 1, 'true' or 'false' (or None for not said), not "
        f"{shown(value, _LONGEST_SHOWN)}"
    )
