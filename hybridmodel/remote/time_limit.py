"""The longest time that any call may take on this machine, whoever asks for more."""

from __future__ import annotations

from functools import lru_cache

from hybridmodel.checks import check_seconds
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.trust.variables import value_of

MAX_TIMEOUT_ENV = "HYBRIDMODEL_MAX_TIMEOUT_S"


def capped(timeout_s: float) -> float:
    """Return a time in seconds, or the machine's limit where that is shorter.

    Who runs a server sets the limit: its callers may send any ``timeout``.

    Raises
    ------
    ConfigurationError
        If the limit is no positive number of seconds.
    """
    text = value_of(MAX_TIMEOUT_ENV)
    return timeout_s if not text else min(timeout_s, _limit_s(text))


@lru_cache(maxsize=8)
def _limit_s(text: str) -> float:
    where = f"the environment variable {MAX_TIMEOUT_ENV}"
    try:
        return check_seconds(where, float(text))
    except ValueError as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"{where} is a positive number of seconds") from None
