"""The settings of a session that a saved model may contain: a closed list.

Whoever can write to a registry can make a saved model. Other settings of onnxruntime write files,
read files into outputs, load libraries, or take addresses in memory, so only code may pass them.
A setting that is not on the list is refused when a model is saved and when it is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
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
"""Options of execution providers; others may be stored only if they are off, zero or empty."""

_NUMBER = re.compile(r"[0-9]{1,6}")


def to_store(local: LocalSession) -> dict[str, Any]:
    """Return the settings of a session in JSON's types; raise if one is for code only."""
    settings: dict[str, Any] = {
        "providers": [p if isinstance(p, str) else list(p) for p in local.providers],
        "provider_options": local.provider_options,
        "session_options": local.session_options,
    }
    try:
        settings = json.loads(json.dumps(settings, default=_by_name, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the session options cannot be saved: {error}") from error
    for refused, way in _for_code_only(settings):
        raise ConfigurationError(
            f"{refused} is for code only, a model cannot be saved with it; leave it out, and pass "
            f"it when the model is loaded: {way}"
        )
    return settings


def from_stored(
    stored: Mapping[str, Any], providers: Any = None, session_options: Any = None
) -> dict[str, Any]:
    """Return what `LocalSession` takes: the stored settings, or what code passes instead.

    Raises for a stored setting that remains and is for code only; unknown keys are ignored.
    """
    given: dict[str, Any] = {}
    if providers is not None:
        given |= {"providers": providers, "provider_options": None}
    if session_options is not None:
        given["session_options"] = session_options
    settings = {"providers": stored["providers"]}
    settings |= {key: stored.get(key) for key in ("provider_options", "session_options")}
    _check("the saved model", settings | dict.fromkeys(given))
    return settings | given


def check_configured(providers: Any) -> None:
    """Raise if ``providers`` of a configuration that may be stored have options for code only."""
    _check("model_config['providers']", {"providers": providers})


def _check(where: str, settings: Mapping[str, Any]) -> None:
    for refused, way in _for_code_only(settings):
        raise ConfigurationError(
            f"{where} has {refused}, which only code may pass; save the model without it, or load "
            f"it with other settings instead: {way}"
        )


def _for_code_only(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each setting that is not on the list, and how code passes it to a loaded model."""
    providers = checked_providers(settings["providers"])
    pairs = [(provider_name(item), item[1]) for item in providers if not isinstance(item, str)]
    beside = settings.get("provider_options") or ()
    pairs += zip(map(provider_name, providers), beside, strict=False)
    for name, options in pairs:
        for refused in _provider_options(name, options):
            yield refused, "hybridmodel.load_model(..., model_config={'providers': [...]})"
    for refused, allowed in _session_options(settings.get("session_options") or {}):
        names = ", ".join(sorted(allowed))
        way = (
            f"hybridmodel.load_model(..., session_options={{...}}); a saved model may have {names}"
        )
        yield refused, way


def _provider_options(provider: str, options: Any) -> Iterator[str]:
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"the options of provider {provider!r} are not a dict")
    for name, value in options.items():
        if name not in PROVIDER_OPTIONS and value not in ("", "0", 0, None):
            yield f"option {name!r} of provider {provider!r}"


def _session_options(options: Any) -> Iterator[tuple[str, Collection[str]]]:
    """Yield each session option that is not on the list, and what is on it."""
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"session_options is a dict, not a {type(options).__name__}")
    for name, value in options.items():
        if name == EXTRA_CONFIG:
            yield from ((entry, ENTRIES) for entry in _entries(value))
        elif name == CUSTOM_OPS:
            yield from ((library, LIBRARIES) for library in _libraries(value))
        elif name not in OPTIONS:
            yield f"session option {name!r}", OPTIONS
        elif name.endswith("_num_threads") and not _is_thread_count(value):
            yield f"session option {name!r} other than 0 to {MOST_THREADS}", OPTIONS


def _entries(entries: Any) -> Iterator[str]:
    if not isinstance(entries, Mapping):
        raise ConfigurationError(f"session option {EXTRA_CONFIG!r}: expected a dict of str to str")
    for name, value in entries.items():
        if name not in ENTRIES:
            yield f"entry {name!r} of {EXTRA_CONFIG!r}"
        elif not isinstance(value, str) or not _NUMBER.fullmatch(value):
            yield f"entry {name!r} of {EXTRA_CONFIG!r} other than a small number"


def _libraries(libraries: Any) -> Iterator[str]:
    if not isinstance(libraries, list):
        raise ConfigurationError(f"session option {CUSTOM_OPS!r}: expected a list of names")
    for library in libraries:
        if library not in tuple(LIBRARIES):
            yield f"custom-op library {library!r}"


def _is_thread_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_THREADS


def _by_name(value: Any) -> str:
    members = getattr(type(value), "__members__", None)
    if members is None:
        raise TypeError(f"pass a dict of numbers and strings, not a {type(value).__name__}")
    return str(value.name)
