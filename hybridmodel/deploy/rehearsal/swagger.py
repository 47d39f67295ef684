"""``/swagger.json`` of an endpoint: which addresses its models have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

PATH = b"/swagger.json"


def describe(endpoint: str, models: Iterable[str]) -> bytes:
    """Return the description of an endpoint with these models, as JSON."""
    paths: dict[str, Any] = {"/v2": _operation("get", "the server")}
    for model in models:
        base = f"/v2/models/{model}"
        paths[base] = _operation("get", f"inputs and outputs of {model}")
        paths[f"{base}/ready"] = _operation("get", f"whether {model} is ready")
        paths[f"{base}/infer"] = _operation("post", f"inference by {model}")
    described = {
        "swagger": "2.0",
        "info": {"title": endpoint, "version": "1.0"},
        "schemes": ["https"],
        "securityDefinitions": {
            "Bearer": {"type": "apiKey", "name": "Authorization", "in": "header"}
        },
        "paths": paths,
    }
    return json.dumps(described).encode()


def _operation(method: str, what: str) -> dict[str, Any]:
    return {
        method: {
            "summary": what,
            "security": [{"Bearer": []}],
            "responses": {"200": {"description": "OK"}},
        }
    }
