"""What tests of grants share: secrets, a user's folder, and a token."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest

from tests.support.trusting import (
    HOST,
    KEY,
)

GRANT = f"DIGITS_API_KEY@{HOST}"


PICKLERS: dict[str, Any] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "cloudpickle": lambda value: pickle.loads(cloudpickle.dumps(value)),
}


class Token:
    """A credential as those of azure-identity, which notes for what it was asked."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    def get_token(self, *scopes: str) -> Any:
        """Return something with a token."""
        self.scopes += scopes
        return SimpleNamespace(token=KEY, expires_on=4_000_000_000)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that an attacker would like to see."""
    for name in ("DIGITS_API_KEY", "SECOND_KEY", "AWS_SECRET_ACCESS_KEY", "HYBRIDMODEL_API_KEY"):
        monkeypatch.setenv(name, f"{name.lower()}-{KEY}")
    for name in ("HYBRIDMODEL_ALLOW", "HYBRIDMODEL_USE_AZURE", "MLFLOW_PYFUNC_INFERENCE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a user's folder of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


KEYLESS = {"auth_key_env": None}
