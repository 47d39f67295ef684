"""The names with which code used ONNX Runtime's Azure (first: Cloud) execution provider.

Sources: documentation of the provider, onnxruntime 1.14 and 1.15; documentation of the custom
operators, onnxruntime-extensions 0.9 to 0.14.
"""

from __future__ import annotations

import re

PREFIXES = ("azure", "cloud")
PROVIDERS = ("AzureExecutionProvider", "azureExecutionProvider", "CloudExecutionProvider")
"""Spellings in the documentation; the second was never a provider's name."""

TRITON_OPERATOR = "AzureTritonInvoker"
OPERATORS = (TRITON_OPERATOR, "AzureTextToText", "AzureAudioToText", "OpenAIAudioToText")
DOMAINS = ("com.microsoft.extensions", "ai.onnx.contrib")
"""Domains of the operators in onnxruntime-extensions."""

PROVIDER = re.compile("(azure|cloud)executionprovider", re.IGNORECASE)
RUN_ENTRY = re.compile(r"use_(azure|cloud)|(azure|cloud)\.(auth_key|audio_file)")
SESSION_ENTRY = re.compile(r"(azure|cloud)\.(endpoint_type|uri|model_name|model_version|verbose)")
ANY_ENTRY = re.compile(r"use_(azure|cloud)|(azure|cloud)\.[a-z_]{0,30}", re.IGNORECASE)
START_OF_ENTRY = re.compile(r"use_(azure|cloud)$|(azure|cloud)\.", re.IGNORECASE)
KEY_ENTRY = re.compile(r"(azure|cloud)\.(auth_)?key", re.IGNORECASE)
"""Entries as documented, and entries with any name after the prefix, in any case."""
