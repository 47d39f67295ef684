"""Where the secret of a call comes from: looked up when needed, kept nowhere.

A `Credential` is anything that gives a key or token on demand. What is asked for may be None
(a server without keys). It is never part of an endpoint, a repr, a message or a pickle.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hybridmodel.exceptions import AuthenticationFailed, ConfigurationError, HybridModelError
from hybridmodel.remote.endpoint import TritonEndpoint

AZURE_ML_SCOPE = "https://ml.azure.com/.default"
"""Scope of Entra ID tokens for calling (not managing) Azure Machine Learning endpoints."""

KeySource = Callable[[], "str | None"]


def key_source(endpoint: TritonEndpoint, credential: Any = None) -> KeySource:
    """Return the function that gives the key or token for a request.

    Parameters
    ----------
    endpoint : TritonEndpoint
        Names the environment variable that is read when there is no `credential`.
    credential : object with ``get_token``, callable, or None
        Such as a credential of azure-identity; or a function without arguments that returns the
        key. Not a string: a key in a variable of the program ends up in logs and pickles.

    Returns
    -------
    callable
        Raises `ConfigurationError` when the key is not there or cannot be sent.

    Raises
    ------
    ConfigurationError
        If `credential` is none of these.
    """
    if credential is None:
        return _from_environment(endpoint.auth_key_env)
    if hasattr(credential, "get_token"):
        return lambda: checked_key(_asked(lambda: credential.get_token(AZURE_ML_SCOPE).token))
    if callable(credential):
        return lambda: checked_key(_asked(credential))
    raise ConfigurationError(
        "credential is an object with get_token (such as azure-identity's) or a function that "
        f"returns the key, not a {type(credential).__name__}"
    )


def checked_key(key: Any, what: str = "what the credential returned") -> str:
    """Return a key that can stand in a header.

    Raises
    ------
    ConfigurationError
        If it is empty, no text, or holds characters that would end the header. The message
        never shows the key.
    """
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"{what} is empty or no text")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"{what} holds control characters, blanks or letters beyond ASCII (a line break at "
            "its end, perhaps); it cannot be sent in a header"
        )
    return key


def _asked(credential: Callable[[], Any]) -> Any:
    try:
        return credential()
    except HybridModelError:
        raise
    except Exception as error:
        raise AuthenticationFailed(
            f"the credential gave no key: {type(error).__name__}: {error}", attempts=0
        ) from error


def _from_environment(name: str | None) -> KeySource:
    def read() -> str | None:
        if name is None:
            return None
        key = os.environ.get(name)
        if key is None:
            raise ConfigurationError(
                f"the endpoint's key is expected in the environment variable {name}, which is not "
                "set; set it, pass credential=, or use auth_key_env=None for a server without keys"
            )
        return checked_key(key, f"the environment variable {name}")

    return read
