"""The doctor finds entries, keys and nodes in code, and says which import to change."""

from __future__ import annotations

import pytest

from hybridmodel.doctor.python_code import find_in_source
from tests.support.doctor_tools import OLD, SECRET, Row, found, run, session

ENTRIES = {
    "as documented": (
        """
        options.add_session_config_entry('azure.uri', uri); options.add_session_config_entry(
            "cloud.model_name", "digits")
        run_options.add_run_config_entry('use_azure', '1')
        """,
        [session(2, "azure.uri"), session(3, "cloud.model_name"), run(4, "use_azure")],
    ),
    "an entry that was never documented": (
        "options.add_session_config_entry('cloud.input_names', 'x')",
        [session(1, "cloud.input_names")],
    ),
    "the wrong case": (
        "options.add_run_config_entry('Use_Azure', '1')",
        [run(1, "Use_Azure")],
    ),
    "a constant of the module": (
        """
        KEY = "azure.uri"
        def configure(options):
            options.add_session_config_entry(KEY, uri)
        """,
        [session(2, "azure.uri")],
    ),
    "a constant of a class": (
        """
        class Keys:
            USE = "use_cloud"
        options.add_run_config_entry(Keys.USE, "1")
        """,
        [run(3, "use_cloud")],
    ),
    "a constant that a function makes global": (
        """
        def name():
            global KEY
            KEY = "azure.uri"
        options.add_session_config_entry(KEY, uri)
        """,
        [session(4, "azure.uri")],
    ),
    "either of two": (
        "options.add_run_config_entry('use_azure' if new else 'use_cloud', '1')",
        [run(1, "use_azure"), run(1, "use_cloud")],
    ),
    "a loop over a dict": (
        """
        ENTRIES = {
            "azure.endpoint_type": "triton",
            **{"azure.uri": uri},
            "session.use_env_allocators": "1",
        }
        for key, value in ENTRIES.items():
            options.add_session_config_entry(key, str(value))
        """,
        [session(3, "azure.endpoint_type"), session(4, "azure.uri")],
    ),
    "a loop over pairs": (
        """
        for pair in [("azure.uri", uri), ("azure.verbose", "1")]:
            options.add_session_config_entry(*pair)
        """,
        [session(2, "azure.uri"), session(2, "azure.verbose")],
    ),
    "a comprehension over sorted keys": (
        """
        entries = {"azure.uri": uri}
        [options.add_session_config_entry(key, entries[key]) for key in sorted(entries.keys())]
        """,
        [session(2, "azure.uri")],
    ),
    "a dict that is filled": (
        """
        entries = {}
        entries["azure.uri"] = uri
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        """,
        [session(3, "azure.uri")],
    ),
    "the keys of a dict that is filled": (
        """
        entries["azure.uri"] = uri
        for key in entries:
            options.add_session_config_entry(key, entries[key])
        """,
        [session(2, "azure.uri")],
    ),
    "a dict that is filled, and handed on": (
        """
        entries["azure.uri"] = uri
        configure(entries)
        options.add_session_config_entry(key, value)
        """,
        [session(2, "azure.uri?")],
    ),
    "names of which the start is written": (
        """
        options.add_session_config_entry("azure." + key, value)
        options.add_session_config_entry(f"azure.{key}", value)
        options.add_session_config_entry("cloud.%s" % key, value)
        options.add_session_config_entry("azure.{}".format(key), value)
        """,
        [
            session(2, "azure.…"),
            session(3, "azure.…"),
            session(4, "cloud.…"),
            session(5, "azure.…"),
        ],
    ),
    "many at a time": (
        """
        KEY, (USE, *rest) = "azure.uri", ("session.load_model_format", 1, 2)
        options.add_session_config_entry(KEY, uri)
        for options, (a, b) in [(o, ("azure.verbose", "1"))]: ...
        """,
        [session(2, "azure.uri")],
    ),
    "what a function of the file returns": (
        """
        def entries():
            return {"azure.uri": uri}
        for key, value in entries().items():
            options.add_session_config_entry(key, value)
        """,
        [session(3, "azure.uri")],
    ),
    "what a function is called with, by name": (
        """
        def add(options, key, value):
            options.add_session_config_entry(key, value)
        add(options, key="azure.uri", value=uri)
        """,
        [session(4, "azure.uri")],
    ),
    "mappings and lists joined": (
        """
        one = {"azure.uri": uri} | other
        for key, value in one.items():
            options.add_session_config_entry(key, value)
        for key in ["azure.verbose"] + [*("cloud.uri", *more)]:
            options.add_session_config_entry(key, "1")
        [options.add_session_config_entry(key, "1") for key in [k for k in ("azure.model_name",)]]
        """,
        [
            session(2, "azure.uri"),
            session(5, "azure.verbose"),
            session(5, "cloud.uri"),
            session(7, "azure.model_name"),
        ],
    ),
    "names within expressions": (
        """
        if (key := "azure.uri"):
            options.add_session_config_entry(key, uri)
        use: str = "use_azure" or "use_cloud"
        run_options.add_run_config_entry(use, "1")
        """,
        [session(2, "azure.uri"), run(4, "use_azure"), run(4, "use_cloud")],
    ),
    "an argument's default": (
        """
        def configure(options, key="azure.uri", *, use="use_azure", **others):
            options.add_session_config_entry(key, uri)
            options.add_run_config_entry(use, "1")
        """,
        [session(2, "azure.uri"), run(2, "use_azure")],
    ),
    "names that are something else": (
        """
        import key
        from names import use
        with open(path) as text: ...
        try: ...
        except Error as error: ...
        match x:
            case [*rest]: ...
        def function(): ...
        for name in (key, use, text, error, rest, function, nothing, 1, None):
            options.add_session_config_entry(name, "azure.uri")
        """,
        [session(11, "azure.uri?")],
    ),
    "the method under another name": (
        """
        add = run_options.add_run_config_entry
        add("use_azure", "1")
        """,
        [run(3, "use_azure?")],
    ),
    "what a function is called with": (
        """
        def add(options, key, value):
            options.add_session_config_entry(key, value)
        add(options, "azure.uri", uri)
        """,
        [session(4, "azure.uri?")],
    ),
    "what goes to functools.partial": (
        """
        partial(options.add_run_config_entry, "use_azure")("1")
        """,
        [run(2, "use_azure?")],
    ),
    "what is read from a mapping in a mapping": (
        """
        DEFAULTS = {"run": {"use_azure": "1"}}
        for key, value in DEFAULTS["run"].items():
            options.add_run_config_entry(key, value)
        """,
        [run(2, "use_azure")],
    ),
    "entries that MLflow adds": (
        """
        mlflow.onnx.log_model(
            model, onnx_session_options={"extra_session_config": {"azure.uri": uri}}
        )
        """,
        [session(3, "azure.uri")],
    ),
    "a name with strange characters": (
        "options.add_session_config_entry('azure.\\x1b[31m', '1')",
        [session(1, "azure.…")],
    ),
}


@pytest.mark.parametrize(("code", "expected"), ENTRIES.values(), ids=ENTRIES)
def test_entries(code: str, expected: list[Row]) -> None:
    """Entries are found where their names are written, however simply they reach the call."""
    assert found(code) == expected


KEYS = {
    "in the call": "o.add_run_config_entry('azure.auth_key', '{}')",
    "by name": "KEY = '{}'\no.add_run_config_entry('cloud.auth_key', KEY)",
    "in a dict": "for k, v in {{'azure.auth_key': '{}'}}.items(): o.add_run_config_entry(k, v)",
    "in pairs": "for kv in [('azure.auth_key', '{}')]: o.add_run_config_entry(*kv)",
    "in a dict that is filled": (
        "e = {{}}; e['azure.auth_key'] = '{}'\nfor k, v in e.items(): o.add_run_config_entry(k, v)"
    ),
    "as a default": "o.add_run_config_entry('azure.auth_key', os.getenv('KEY') or '{}')",
    "in a dict that cannot be followed": (
        "use({{'azure.auth_key': '{}'}})\no.add_run_config_entry(key, value)"
    ),
    "either of two": "o.add_run_config_entry('azure.auth_key', '{}' if test else ask())",
    "of the draft": "o.add_session_config_entry('cloud.key', '{}')",
}


@pytest.mark.parametrize("code", KEYS.values(), ids=KEYS)
def test_written_out_keys_are_found_and_not_shown(code: str) -> None:
    """A key in the code is a finding of its own, in the line where it stands, without the key."""
    findings = find_in_source(code.format(SECRET).encode())
    (key,) = [finding for finding in findings if finding.kind == "auth-key"]
    assert len(findings) == 2
    assert key.line == 1
    assert SECRET not in repr(findings)


@pytest.mark.parametrize(
    "value",
    ["os.environ['KEY']", "'...'", "''", "'<your key>'", "key", "f'{key}'", "'Bearer ' + key"],
)
def test_no_key_is_no_key(value: str) -> None:
    """A key from elsewhere, and what stands for one in an example, is no finding."""
    code = f"import os\no.add_run_config_entry('azure.auth_key', {value})"
    assert found(code) == [run(2, "azure.auth_key")]


def test_a_value_beside_a_key_is_no_key() -> None:
    """Only the value that stands with the key's own name is looked at."""
    code = """
e["azure.uri"] = "https://host"
e["azure.auth_key"] = os.environ["KEY"]
for name, value in e.items(): o.add_run_config_entry(name, value)
"""
    assert found(code) == [session(2, "azure.uri"), run(3, "azure.auth_key")]


IMPORTS = {
    "the drop-in": ("from hybridmodel.azure_ep import InferenceSession", "InferenceSession(p)", []),
    "all of it": ("from hybridmodel.azure_ep import *", "InferenceSession(p)", []),
    "as a module": ("import hybridmodel.azure_ep as ort", "ort.InferenceSession(p)", []),
    "from the package": ("from hybridmodel import azure_ep as a", "a.InferenceSession(p)", []),
    "written in full": (
        "import hybridmodel.azure_ep, onnxruntime",
        "hybridmodel.azure_ep.InferenceSession(p)",
        [],
    ),
    "the original": ("import onnxruntime as ort", "ort.InferenceSession(p)", ["use_azure"]),
    "both": (
        "from hybridmodel.azure_ep import InferenceSession\nimport onnxruntime",
        "InferenceSession(p), onnxruntime.InferenceSession(p)",
        ["use_azure?"],
    ),
    "the original over the drop-in": (
        "from hybridmodel.azure_ep import InferenceSession\nfrom onnxruntime import *",
        "InferenceSession(p)",
        ["use_azure"],
    ),
    "the drop-in over the original": (
        "from onnxruntime import *\nfrom hybridmodel.azure_ep import InferenceSession",
        "InferenceSession(p)",
        [],
    ),
}


@pytest.mark.parametrize(("imports", "use", "expected"), IMPORTS.values(), ids=IMPORTS)
def test_code_that_has_been_migrated(imports: str, use: str, expected: list[str]) -> None:
    """The drop-in serves all entries and names, so code that uses nothing else has no findings."""
    assert [name for _, _, name in found(f"{imports}\n{use}\n{OLD}")] == expected


@pytest.mark.parametrize(
    ("written", "change"),
    [
        ("import os, onnxruntime as ort", "`import hybridmodel.azure_ep as ort` in place of"),
        (
            "import onnxruntime as ort\nfrom onnxruntime import RunOptions",
            "`import hybridmodel.azure_ep as ort` in place of",
        ),
        ("import onnxruntime", "`import hybridmodel.azure_ep as onnxruntime` in place of"),
        ("from onnxruntime import *", "`from hybridmodel.azure_ep import *` in place of"),
        (
            "from onnxruntime import RunOptions, InferenceSession as S",
            "`from hybridmodel.azure_ep import RunOptions, InferenceSession as S` in place of",
        ),
        ("from .sessions import make", "`from hybridmodel.azure_ep import InferenceSession` in"),
    ],
)
def test_the_change_is_this_files_import(written: str, change: str) -> None:
    """The import to write is that of the file, with the drop-in's name in it."""
    (finding,) = find_in_source(f"{written}\n{OLD}".encode())
    assert change in finding.change


def test_what_was_no_triton_gets_other_advice() -> None:
    """The preview for OpenAI, and sessions that MLflow makes, are not sent to the drop-in."""
    code = """
options.add_session_config_entry("azure.endpoint_type", "openai")
run_options.add_run_config_entry("azure.audio_file", path)
log(onnx_session_options={"extra_session_config": {"azure.uri": uri}})
"""
    openai, audio, mlflow = [finding.change for finding in find_in_source(code.encode())]
    assert openai == audio
    assert "such as the openai package" in openai
    assert "hybridmodel.log_model" in mlflow


def test_code_that_makes_nodes() -> None:
    """A call that makes the operator is found, with the endpoint where the call says enough."""
    code = """
URI = "https://digits.westeurope.inference.ml.azure.com"
one = helper.make_node("AzureTritonInvoker", ["auth_token", "x"], ["y"], model_uri=URI,
    model_name="digits", model_version="3")
two = make_node(op_type="AzureTritonInvoker", inputs=i, outputs=o, model_uri=os.environ["URI"],
    model_name="digits", model_version=version, timeout_seconds=patience)
"""
    one, two = find_in_source(code.encode())
    assert [one.line, two.line] == [3, 5]
    assert one.endpoint is not None
    assert one.endpoint["uri"] == "https://digits.westeurope.inference.ml.azure.com"
    assert one.endpoint["model_version"] == "3"
    assert two.endpoint is None
    for unknown in ("uri=...,", "model_version=...,", "timeout_s=...,"):
        assert unknown in two.change
