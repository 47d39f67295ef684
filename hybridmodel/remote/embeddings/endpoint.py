"""`EmbeddingsEndpoint`: where texts become vectors, and how it is reached, without any secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote

from hybridmodel.checks import check_count, shown
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint_base import DEFAULT_KEY_ENV, Endpoint
from hybridmodel.remote.trust.origin import CODE, Origin

MOST_TEXTS = 2048
"""So many texts one request may hold at OpenAI and Azure."""

_V1_SCOPE = "https://ai.azure.com/.default"
_OLDER_SCOPE = "https://cognitiveservices.azure.com/.default"

_API_PATH = re.compile(r"(?:/openai)?/v1$|/openai/deployments/[^/]+$|/models$")
_TAIL = re.compile(r"(?<=[^/])/embeddings/?$")
_API_VERSION = re.compile(r"[A-Za-z0-9.-]{1,64}")
_TOKEN = re.compile(r"eyJ[\w-]*\.[\w-]*\.[\w-]*")
_ENCODINGS = ("base64", "float")
_LONGEST_NAME = 256


@dataclass(frozen=True, kw_only=True, repr=False)
class EmbeddingsEndpoint(Endpoint):
    """A text-embedding model behind OpenAI's API: Azure, OpenAI, vLLM, TEI, Ollama, llama.cpp.

    Holds nothing secret, so it may be printed, saved and logged.

    Parameters
    ----------
    uri : str
        Base address, such as ``https://name.openai.azure.com/openai/v1`` or
        ``http://localhost:11434/v1``; a final ``/embeddings`` and a query are dropped. ``https``,
        unless the host is this machine or `allow_http` is set.
    model : str
        The model; on Azure, the name of its deployment.
    dimensions : int or None, default=None
        Width of the vectors, for models that can give several. None leaves it to the server.
    api_version : str or None, default=None
        For Azure's older paths: what follows ``?api-version=``. Read from `uri` where that has it.
    encoding_format : {"base64", "float"}, default="base64"
        How vectors are asked for. Either form is read, whatever was asked for; ``"float"`` is for
        servers that refuse ``"base64"``.
    auth_key_env, secondary_key_env, entra_id, ca_bundle, allow_http, timeout_s, connect_timeout_s
        As in `TritonEndpoint`.
    max_attempts, max_in_flight, breaker_failures, breaker_reset_s
        As in `TritonEndpoint`.
    max_batch_size : int, default=2048
        Most texts in one request.
    max_request_bytes : int, default=1048576
        About how large one request may be, where servers also limit its tokens: OpenAI to 300,000.
    origin : Origin
        Kept by the endpoint itself: which of these come from a saved model.

    Raises
    ------
    ConfigurationError
        If a value cannot work; a value that might be a secret is not repeated in the message.
    """

    kind: ClassVar[str] = "embeddings"

    uri: str
    model: str
    dimensions: int | None = None
    api_version: str | None = None
    encoding_format: str = "base64"
    auth_key_env: str | None = DEFAULT_KEY_ENV
    secondary_key_env: str | None = None
    entra_id: bool = False
    ca_bundle: str | None = None
    allow_http: bool = False
    timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    max_attempts: int = 3
    max_batch_size: int | None = MOST_TEXTS
    max_request_bytes: int = 1 << 20
    max_in_flight: int = 16
    breaker_failures: int | None = 5
    breaker_reset_s: float = 10.0
    origin: Origin = field(default=CODE, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_model(self.model)
        if self.dimensions is not None:
            check_count("dimensions", self.dimensions, 1, 1 << 20)
        if self.encoding_format not in _ENCODINGS:
            raise ConfigurationError(
                f"encoding_format is {' or '.join(_ENCODINGS)}, not {shown(self.encoding_format)}"
            )
        uri, version = _without_tail(self.uri)
        object.__setattr__(self, "uri", uri)
        object.__setattr__(self, "api_version", _version(version or self.api_version))
        if self.max_batch_size is None:
            object.__setattr__(self, "max_batch_size", MOST_TEXTS)
        self._settle()

    @property
    def model_url(self) -> str:
        """URL of the model, for messages; not every server answers there."""
        return f"{self.uri}/models/{quote(self.model, safe='')}"

    @property
    def embeddings_url(self) -> str:
        """URL that texts are sent to."""
        query = "" if self.api_version is None else f"?api-version={self.api_version}"
        return f"{self.uri}/embeddings{query}"

    @property
    def served_name(self) -> str:
        """Name of the model, without that of its owner."""
        return self.model.rpartition("/")[2] or self.model

    @property
    def api_path(self) -> str:
        """The end of the address that the protocol asks for, and that is no part of the place."""
        found = _API_PATH.search(self.uri)
        return "" if found is None else found[0]

    @property
    def token_scope(self) -> str:
        """The scope of the Entra ID tokens that are sent there."""
        return _V1_SCOPE if self.api_version is None else _OLDER_SCOPE

    def key_headers(self, key: str) -> dict[str, str]:
        """Return the HTTP headers that carry a key or token."""
        headers = {"Authorization": f"Bearer {key}"}
        if self.api_version is not None and not _TOKEN.fullmatch(key):
            # Of the older paths some read a key only here, and none a token.
            headers["api-key"] = key
        return headers


def _without_tail(uri: Any) -> tuple[Any, str | None]:
    """Return an address without ``/embeddings`` and query, and the version that this names."""
    if not isinstance(uri, str):
        return uri, None
    base, _, query = uri.strip().partition("?")
    versions = parse_qs(query).get("api-version", [None])
    return _TAIL.sub("", base), versions[0]


def _version(version: Any) -> str | None:
    if version is not None and not (isinstance(version, str) and _API_VERSION.fullmatch(version)):
        raise ConfigurationError(
            f"api_version is text such as '2024-05-01-preview', not {shown(version)}"
        )
    return version


def _check_model(name: Any) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ConfigurationError(
            "model is the model's name on the server (on Azure, its deployment's), of up to "
            f"{_LONGEST_NAME} characters, not {shown(name)}"
        )
