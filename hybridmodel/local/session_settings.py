"""Settings of an onnxruntime session: providers, options, configuration entries, libraries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hybridmodel.exceptions import ConfigurationError, MissingDependency

if TYPE_CHECKING:
    import onnxruntime

Provider = str | tuple[str, Mapping[str, Any]]

DEFAULT_PROVIDERS = ("CPUExecutionProvider",)
EXTRA_CONFIG = "extra_session_config"
"""The option that holds onnxruntime's dotted configuration entries, as MLflow's flavor calls it."""
CUSTOM_OPS = "custom_op_libraries"
"""The option that lists libraries of custom operators: paths, or names of `LIBRARIES`."""
LIBRARIES = {"onnxruntime-extensions": ("onnxruntime_extensions", (0, 15))}
"""Libraries that have a name: the module that knows the path, and the first version in which no
operator calls a service that the model names."""

_FORMAT = ("session.load_model_format", "ONNX")


def checked_providers(given: Any) -> tuple[Provider, ...]:
    """Return execution providers as onnxruntime takes them; default is the processor's."""
    if isinstance(given, str):
        raise ConfigurationError(f"providers is a list of names: [{given!r}]")
    try:
        return tuple(map(_provider, given or DEFAULT_PROVIDERS))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"providers is a list of names, or of pairs of a name and a dict of options: {error}"
        ) from error


def _provider(given: Any) -> Provider:
    if isinstance(given, str):
        return given
    name, options = given
    if not isinstance(name, str) or not isinstance(options, Mapping):
        raise TypeError(f"got a pair of {type(name).__name__} and {type(options).__name__}")
    return name, options


def provider_name(provider: Provider) -> str:
    """Return the name of a provider, without its options."""
    return provider if isinstance(provider, str) else provider[0]


def installed_providers(providers: Sequence[Provider]) -> list[Provider]:
    """Return providers; raise if onnxruntime lacks one, or has one that does not do its job."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    for name in map(provider_name, providers):
        if name == "AzureExecutionProvider":
            raise ConfigurationError(
                "the AzureExecutionProvider of today's onnxruntime calls no endpoint, it computes "
                "locally; pass endpoint=TritonEndpoint(...) and call with use_azure=True"
            )
        if name not in available:
            raise ConfigurationError(
                f"the installed onnxruntime has no execution provider {name!r}; available: "
                f"{', '.join(available)}"
            )
    return list(providers)


def as_session_options(given: Any) -> onnxruntime.SessionOptions:
    """Return the options of a session, without libraries, from a dict or SessionOptions."""
    import onnxruntime

    if isinstance(given, onnxruntime.SessionOptions):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"session_options is a dict, not a {type(given).__name__}")
    options = onnxruntime.SessionOptions()
    # Without it, a file's name or first bytes could make onnxruntime read another format than the
    # one that was scanned.
    options.add_session_config_entry(*_FORMAT)
    known = [
        name
        for name in dir(options)
        if not name.startswith("_") and not callable(getattr(options, name))
    ]
    for name, value in given.items():
        if name == EXTRA_CONFIG:
            _add_entries(options, value)
        elif name == CUSTOM_OPS:
            _check_libraries(value)
        elif name in known:
            _set_option(options, name, value)
        else:
            raise ConfigurationError(
                f"unknown session option {name!r}; onnxruntime {onnxruntime.__version__} has "
                f"{', '.join([*known, EXTRA_CONFIG, CUSTOM_OPS])}"
            )
    return options


def register_libraries(options: onnxruntime.SessionOptions, given: Any) -> None:
    """Load the libraries of custom operators that `given` lists into `options`."""
    for library in given.get(CUSTOM_OPS, ()) if isinstance(given, Mapping) else ():
        path = _installed(library) if library in LIBRARIES else library
        try:
            options.register_custom_ops_library(path)
        except Exception as error:  # onnxruntime's errors have no base of their own.
            raise ConfigurationError(
                f"custom-op library {library!r}: onnxruntime cannot load it: {error}"
            ) from error


def _installed(library: str) -> str:
    from importlib import import_module
    from importlib.metadata import PackageNotFoundError, version

    module, first = LIBRARIES[library]
    wanted = f"{library}>={'.'.join(map(str, first))}"
    try:
        found = version(library)
    except PackageNotFoundError as error:
        raise MissingDependency(
            f"the model needs custom operators: pip install '{wanted}'"
        ) from error
    if tuple(map(int, re.findall(r"\d+", found)[: len(first)])) < first:
        raise ConfigurationError(
            f"{library} {found} has operators that call services, which a model could name: pip "
            f"install '{wanted}', or pass the path of the library"
        )
    path: str = import_module(module).get_library_path()
    return path


def _check_libraries(given: Any) -> None:
    if not isinstance(given, (list, tuple)) or not all(isinstance(item, str) for item in given):
        raise ConfigurationError(
            f"session option {CUSTOM_OPS!r}: expected a list of paths, or of names of "
            f"{', '.join(LIBRARIES)}; got {given!r}"
        )


def _add_entries(options: onnxruntime.SessionOptions, entries: Any) -> None:
    try:
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
    except (AttributeError, TypeError, RuntimeError) as error:
        raise ConfigurationError(
            f"session option {EXTRA_CONFIG!r}: expected a dict of str to str, got {entries!r}"
        ) from error


def _set_option(options: onnxruntime.SessionOptions, name: str, value: Any) -> None:
    members = getattr(type(getattr(options, name)), "__members__", None)
    try:
        setattr(options, name, value if members is None else _member(members, value))
    except (TypeError, LookupError) as error:
        expected = type(getattr(options, name)).__name__ if members is None else ", ".join(members)
        raise ConfigurationError(
            f"session option {name!r}: expected {expected}, got {value!r}"
        ) from error


def _member(members: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError(value)
    for name, member in members.items():
        if value == member or (isinstance(value, str) and name == f"ORT_{value.upper()}"):
            return member
        if name == value or (type(value) is int and member.value == value):
            return member
    raise LookupError(value)
