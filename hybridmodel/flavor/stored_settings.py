"""Which settings of a session a saved model may bring along: a closed list.

A saved model is data, and comes from whoever can write to a registry. Other settings of onnxruntime
write files, read files into outputs, load libraries, or take addresses in memory; those come from
code, or not at all. What is not on the list is refused when a model is saved and when it is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session_settings import (
    CUSTOM_OPS,
    EXTRA_CONFIG,
    LIBRARIES,
    checked_providers,
    provider_name,
)

if TYPE_CHECKING:
    from hybridmodel.local.session import LocalSession

MOST_THREADS = 256

OPTIONS = frozenset(
    {
        "enable_cpu_mem_arena",
        "enable_mem_pattern",
        "enable_mem_reuse",
        "execution_mode",
        "execution_order",
        "graph_optimization_level",
        "inter_op_num_threads",
        "intra_op_num_threads",
        "use_deterministic_compute",
        "use_per_session_threads",
    }
)
"""Attributes of ``onnxruntime.SessionOptions``."""

ENTRIES = frozenset(
    {
        "session.dynamic_block_base",
        "session.force_spinning_stop",
        "session.inter_op.allow_spinning",
        "session.inter_op.spin_backoff_max",
        "session.inter_op.spin_duration_us",
        "session.intra_op.allow_spinning",
        "session.intra_op.spin_backoff_max",
        "session.intra_op.spin_duration_us",
    }
)
"""Configuration entries, each a number of at most six digits."""

_OF_GPUS = (
    *("arena_extend_strategy", "cudnn_conv1d_pad_to_nc1d", "cudnn_conv_algo_search"),
    *("cudnn_conv_use_max_workspace", "device_id", "do_copy_in_default_stream"),
    *("enable_cuda_graph", "enable_skip_layer_norm_strict_mode", "fuse_conv_bias"),
    *("gpu_mem_limit", "prefer_nhwc", "sdpa_kernel", "use_ep_level_unified_stream", "use_tf32"),
)
_OF_TENSORRT = (
    *("trt_auxiliary_streams", "trt_bf16_enable", "trt_builder_optimization_level"),
    *("trt_context_memory_sharing_enable", "trt_cuda_graph_enable", "trt_dla_core"),
    *("trt_dla_enable", "trt_force_sequential_engine_build", "trt_fp16_enable"),
    *("trt_layer_norm_fp32_fallback", "trt_max_partition_iterations", "trt_max_workspace_size"),
    *("trt_min_subgraph_size", "trt_profile_max_shapes", "trt_profile_min_shapes"),
    *("trt_profile_opt_shapes", "trt_sparsity_enable"),
)
_OF_OTHERS = (
    *("AllowLowPrecisionAccumulationOnGPU", "EnableOnSubgraphs", "MLComputeUnits"),  # CoreML
    *("ModelFormat", "RequireStaticInputShapes", "SpecializationStrategy"),
    *("device_filter", "disable_metacommands", "performance_preference"),  # DirectML
    *("device_type", "disable_dynamic_shapes", "enable_opencl_throttling"),  # OpenVINO
    *("enable_qdq_optimizer", "model_priority", "num_of_threads", "num_streams", "precision"),
    *("backend_type", "enable_htp_fp16_precision", "htp_arch", "htp_performance_mode"),  # QNN
    *("htp_graph_finalization_optimization_mode", "soc_model", "vtcm_mb"),
    *("migraphx_bf16_enable", "migraphx_exhaustive_tune", "migraphx_fp16_enable"),
    *("intra_op_num_threads", "use_arena"),  # XNNPACK, the processor
)
PROVIDER_OPTIONS = frozenset((*_OF_GPUS, *_OF_TENSORRT, *_OF_OTHERS))
"""Options of execution providers; of the rest, only those that are off, zero or empty."""

_NUMBER = re.compile(r"[0-9]{1,6}")
_BY_OPTIONS = "session_options={...}"
_BY_PROVIDERS = "model_config={'providers': [...]}"
_OFFERED = {
    "session option": (_BY_OPTIONS, OPTIONS),
    "entry": (_BY_OPTIONS, ENTRIES),
    "custom-op library": (_BY_OPTIONS, LIBRARIES),
    "option of a provider": (_BY_PROVIDERS, ()),
}
"""By the kind of a setting: how code gives it when it loads a model, and what may be stored."""


def to_store(local: LocalSession) -> dict[str, Any]:
    """Return the settings of a session in JSON's types, as `from_stored` takes them.

    Raises
    ------
    ConfigurationError
        If one of them is for code only, or cannot be written down.
    """
    settings: dict[str, Any] = {
        "providers": [p if isinstance(p, str) else list(p) for p in local.providers],
        "provider_options": local.provider_options,
        "session_options": local.session_options,
    }
    try:
        settings = json.loads(json.dumps(settings, default=_by_name, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the session options cannot be saved: {error}") from error
    for kind, refused in _for_code_only(settings):
        way, offered = _way_and_offer(kind)
        raise ConfigurationError(
            f"{refused} is for code only, a model cannot be saved with it; leave it out, and give "
            f"it when the model is loaded: {way}{offered}"
        )
    return settings


def from_stored(
    stored: Mapping[str, Any], providers: Any = None, session_options: Any = None
) -> dict[str, Any]:
    """Return what `LocalSession` takes, from what a saved model says and what code says instead.

    Parameters
    ----------
    stored : mapping
        As `to_store` returned it; what is not known is ignored.
    providers : sequence, optional
        Instead of all that is stored of providers; not checked.
    session_options : mapping or onnxruntime.SessionOptions, optional
        Instead of all session options that are stored; not checked.

    Raises
    ------
    ConfigurationError
        If something counts that is stored and for code only; says how code can give it.
    """
    settings = {
        "providers": stored["providers"],
        "provider_options": stored.get("provider_options"),
        "session_options": stored.get("session_options"),
    }
    if providers is not None:
        settings.update(providers=None, provider_options=None)
    if session_options is not None:
        settings.update(session_options=None)
    _check("the saved model", settings)
    if providers is not None:
        settings.update(providers=providers)
    if session_options is not None:
        settings.update(session_options=session_options)
    return settings


def check_configured(providers: Any) -> None:
    """Make sure that ``providers`` of a configuration that may be stored are as harmless.

    Raises
    ------
    ConfigurationError
        If an option is for code only; says how code can give it.
    """
    _check("model_config['providers']", {"providers": providers})


def _check(where: str, settings: Mapping[str, Any]) -> None:
    for kind, refused in _for_code_only(settings):
        way, offered = _way_and_offer(kind)
        raise ConfigurationError(
            f"{where} has {refused}, which only code may give; load the model with {way}, which "
            f"counts instead of what is stored, or save it again without{offered}"
        )


def _way_and_offer(kind: str) -> tuple[str, str]:
    argument, names = _OFFERED[kind]
    offered = f"; a saved model may have {', '.join(sorted(names))}" if names else ""
    return f"hybridmodel.load_model(..., {argument})", offered


def _for_code_only(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind and name of each setting that is not on the list."""
    providers = checked_providers(settings["providers"])
    pairs = [(provider_name(item), item[1]) for item in providers if not isinstance(item, str)]
    beside = settings.get("provider_options") or ()
    pairs += zip(map(provider_name, providers), beside, strict=False)
    for name, options in pairs:
        yield from _provider_options(name, options)
    yield from _session_options(settings.get("session_options") or {})


def _provider_options(provider: str, options: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"the options of provider {provider!r} are no dict")
    for name, value in options.items():
        if name not in PROVIDER_OPTIONS and value not in ("", "0", 0, None):
            yield "option of a provider", f"option {name!r} of provider {provider!r}"


def _session_options(options: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"session_options is a dict, not a {type(options).__name__}")
    for name, value in options.items():
        if name == EXTRA_CONFIG:
            yield from _entries(value)
        elif name == CUSTOM_OPS:
            yield from _libraries(value)
        elif name not in OPTIONS:
            yield "session option", f"session option {name!r}"
        elif name.endswith("_num_threads") and not _is_thread_count(value):
            yield "session option", f"session option {name!r} other than 0 to {MOST_THREADS}"


def _entries(entries: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(entries, Mapping):
        raise ConfigurationError(f"session option {EXTRA_CONFIG!r}: expected a dict of str to str")
    for name, value in entries.items():
        if name not in ENTRIES:
            yield "entry", f"entry {name!r} of {EXTRA_CONFIG!r}"
        elif not isinstance(value, str) or not _NUMBER.fullmatch(value):
            yield "entry", f"entry {name!r} of {EXTRA_CONFIG!r} other than a small number"


def _libraries(libraries: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(libraries, list):
        raise ConfigurationError(f"session option {CUSTOM_OPS!r}: expected a list of names")
    for library in libraries:
        if library not in tuple(LIBRARIES):
            yield "custom-op library", f"custom-op library {library!r}"


def _is_thread_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_THREADS


def _by_name(value: Any) -> str:
    members = getattr(type(value), "__members__", None)
    if members is None:
        raise TypeError(f"give {type(value).__name__} as a dict of numbers and strings")
    return str(value.name)
