"""Options and providers of the local session reach onnxruntime, or are refused by their names."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from typing import Any

import onnxruntime
import pytest

from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.local.session import LocalSession
from tests.support import models
from tests.support.session_options import attributes

OTHER_VALUES: dict[str, Any] = {
    "enable_cpu_mem_arena": False,
    "enable_mem_pattern": False,
    "enable_mem_reuse": False,
    "enable_profiling": False,
    "execution_mode": "ORT_PARALLEL",
    "execution_order": "PRIORITY_BASED",
    "graph_optimization_level": "ORT_ENABLE_BASIC",
    "inter_op_num_threads": 2,
    "intra_op_num_threads": 1,
    "log_severity_level": 3,
    "log_verbosity_level": 1,
    "logid": "mine",
    "optimized_model_filepath": "",
    "profile_file_prefix": "mine_",
    "use_deterministic_compute": True,
    "use_per_session_threads": True,
}


@pytest.mark.parametrize("name", attributes())
def test_every_session_option_arrives(name: str) -> None:
    """Each attribute that onnxruntime has is set, and read back from the session."""
    value = OTHER_VALUES.get(name, getattr(onnxruntime.SessionOptions(), name))
    session = LocalSession(models.identity(), session_options={name: value})
    arrived = getattr(session.session.get_session_options(), name)
    assert (arrived if not hasattr(arrived, "name") else arrived.name) == value
    assert name in OTHER_VALUES, "a new option: give it a value other than its default"


@pytest.mark.parametrize(
    "level",
    [0, "ORT_DISABLE_ALL", "disable_all", onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL],
)
def test_the_optimization_level_zero_arrives(level: Any) -> None:
    """Level 0 is a level, not "not said"; a name, a number and a member mean the same."""
    session = LocalSession(models.linear(), session_options={"graph_optimization_level": level})
    arrived = session.session.get_session_options().graph_optimization_level
    assert arrived == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def test_extra_session_config_arrives() -> None:
    """Dotted entries are passed on."""
    key = "session.intra_op.allow_spinning"
    session = LocalSession(models.identity(), session_options={"extra_session_config": {key: "0"}})
    assert session.session.get_session_options().get_session_config_entry(key) == "0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"intra_threads": 1},
            r"unknown session option 'intra_threads'; onnxruntime .* intra_op_num_threads",
        ),
        ({"add_session_config_entry": 1}, "unknown session option"),
        ({"__class__": 1}, "unknown session option"),
        ({"intra_op_num_threads": "many"}, "expected int, got 'many'"),
        ({"graph_optimization_level": 1234}, "expected .*ORT_DISABLE_ALL.*, got 1234"),
        ({"graph_optimization_level": True}, "expected .*ORT_DISABLE_ALL.*, got True"),
        ({"execution_mode": "FAST"}, "expected .*ORT_SEQUENTIAL.*, got 'FAST'"),
        ({"extra_session_config": "a=b"}, "expected a dict of str to str, got 'a=b'"),
        ({"extra_session_config": {"a": 1}}, "expected a dict of str to str"),
        ({"custom_op_libraries": "a.so"}, "expected a list of paths.*onnxruntime-extensions"),
        ({"custom_op_libraries": [1]}, "expected a list of paths"),
        ({"custom_op_libraries": ["/no.so"]}, "'/no.so': onnxruntime cannot load it"),
        (["intra_op_num_threads"], "session_options is a dict, not a list"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """An option that is unknown or of a wrong kind is refused, with what there is."""
    with pytest.raises(ConfigurationError, match=message):
        LocalSession(models.identity(), session_options=options)


@pytest.mark.parametrize(
    ("installed", "error", "message"),
    [
        (None, MissingDependency, r"pip install 'onnxruntime-extensions>=0\.15'"),
        ("0.14.0", ConfigurationError, r"0\.14\.0 has operators that call services"),
        ("0.9", ConfigurationError, r"0\.9 has operators that call services"),
    ],
)
def test_extensions_that_are_not_installed(
    installed: str | None, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Extensions by name are those that are installed, and none that a model could make call."""

    def version(name: str) -> str:
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr("importlib.metadata.version", version)
    options = {"custom_op_libraries": ["onnxruntime-extensions"]}
    with pytest.raises(error, match=message):
        LocalSession(models.linear(), session_options=options)
    spec = LocalSession(models.linear()).spec
    assert LocalSession(models.linear(), session_options=options, spec=spec).spec == spec


def test_an_unknown_provider_is_refused() -> None:
    """Where onnxruntime would fall back without a word, the message lists what is installed."""
    with pytest.raises(ConfigurationError, match=r"'NoSuchProvider'; available: .*CPU"):
        LocalSession(models.identity(), providers=["NoSuchProvider", "CPUExecutionProvider"])


@pytest.mark.parametrize(
    "settings",
    [
        {"providers": [("CPUExecutionProvider", {"use_arena": "0"})]},
        {"providers": ["CPUExecutionProvider"], "provider_options": [{"use_arena": "0"}]},
        {"providers": None},
        {},
    ],
)
def test_providers(settings: dict[str, Any]) -> None:
    """Providers are given by name or with options; the processor's is the default."""
    session = LocalSession(models.identity(), **settings)
    assert session.session.get_providers() == ["CPUExecutionProvider"]
    assert "CPUExecutionProvider" in repr(session)


def test_the_provider_that_calls_nobody_is_refused() -> None:
    """The Azure provider, which onnxruntime lists, would compute here; the way out is said."""
    with pytest.raises(ConfigurationError, match=r"calls no endpoint.*use_azure=True"):
        LocalSession(models.linear(), providers=["AzureExecutionProvider"])


@pytest.mark.parametrize(
    "providers", [[1], [("CPUExecutionProvider",)], [("CPUExecutionProvider", 1)], [(1, {})], 5]
)
def test_providers_of_a_wrong_kind_are_refused(providers: Any) -> None:
    """What is neither a name nor a pair is refused when the session is made, not when it runs."""
    with pytest.raises(ConfigurationError, match="providers is a list of names, or of pairs"):
        LocalSession(models.linear(), providers=providers)


def test_one_provider_as_a_text_is_refused() -> None:
    """A name that is not in a list is not taken letter by letter."""
    with pytest.raises(ConfigurationError, match=r"\['CPUExecutionProvider'\]"):
        LocalSession(models.linear(), providers="CPUExecutionProvider")
