"""The words by which code asked ONNX Runtime's Azure (first: Cloud) execution provider.

Sources: documentation of the provider, onnxruntime 1.14 and 1.15; documentation of the custom
operators, onnxruntime-extensions 0.9 to 0.14.
"""

from __future__ import annotations

import re

PREFIXES = ("azure", "cloud")
PROVIDERS = ("AzureExecutionProvider", "azureExecutionProvider", "CloudExecutionProvider")
"""Spellings of the documentation; the second one never was a provider's name."""

TRITON_OPERATOR = "AzureTritonInvoker"
OPERATORS = (TRITON_OPERATOR, "AzureTextToText", "AzureAudioToText", "OpenAIAudioToText")
DOMAINS = ("com.microsoft.extensions", "ai.onnx.contrib")
"""Domains under which onnxruntime-extensions registers its operators."""

RUN_NAMES = ("auth_key", "audio_file")
SESSION_NAMES = ("endpoint_type", "uri", "model_name", "model_version", "verbose")
AUDIO_NAME = "audio_file"

_PROVIDERS = {name.lower() for name in PROVIDERS}
_USES = tuple(f"use_{prefix}" for prefix in PREFIXES)
_ENTRY = re.compile(r"(?:azure|cloud)\.[a-z_]{0,30}", re.IGNORECASE)
_KEYS = re.compile(r"(?:azure|cloud)\.(?:auth_)?key", re.IGNORECASE)


def is_provider(text: str) -> bool:
    """Tell whether a text is a dead provider's name, in whatever case."""
    return text.lower() in _PROVIDERS


def is_entry(text: str) -> bool:
    """Tell whether an entry of a session or a run is the provider's; `text` may be its start."""
    return text.lower() in _USES or text.lower().startswith(tuple(f"{p}." for p in PREFIXES))


def is_documented_entry(text: str) -> bool:
    """Tell whether a text is exactly an entry that was documented."""
    prefix, _, name = text.partition(".")
    return text in _USES or (prefix in PREFIXES and name in (*RUN_NAMES, *SESSION_NAMES))


def is_run_entry(text: str) -> bool:
    """Tell whether a documented entry belongs to a run, not to a session."""
    return text in _USES or text.partition(".")[2] in RUN_NAMES


def is_auth_key(text: str) -> bool:
    """Tell whether an entry holds a key."""
    return _KEYS.fullmatch(text) is not None


def shown_entry(text: str, *, is_whole: bool) -> str:
    """Return an entry's name as it may be printed: what is no plain name is cut off."""
    if text.lower() in _USES or (is_whole and _ENTRY.fullmatch(text)):
        return text
    return f"{text.partition('.')[0]}.…"
