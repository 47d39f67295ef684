"""Names of an export's files and folders; that of a model is a part of its URL as well."""

from __future__ import annotations

import re
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError

REPOSITORY = "models"

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile("[1-9][0-9]{0,17}")


def checked_model_name(name: Any) -> str:
    """Return the name of a model that Triton and Azure accept, or raise `ConfigurationError`."""
    if isinstance(name, str) and _MODEL_NAME.fullmatch(name):
        return name
    raise ConfigurationError(
        f"model name {shown(name)}: use up to 128 letters, digits, '.', '_' and '-', of which the "
        "first is a letter or digit: the name is a folder of the repository and a part of the URL"
    )


def checked_version(version: Any) -> str:
    """Return a version of a model as the name of its folder, or raise `ConfigurationError`."""
    text = str(version) if isinstance(version, int) else version
    if isinstance(text, str) and _VERSION.fullmatch(text):
        return text
    raise ConfigurationError(
        f"model version {shown(version)}: expected a number from 1, such as 1; Triton ignores "
        "folders with other names"
    )
