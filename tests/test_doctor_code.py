"""The doctor finds in code and notebooks what relies on the dead provider, and nothing else."""

from __future__ import annotations

import json
import textwrap
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.doctor import resolving
from hybridmodel.doctor.findings import Finding, NotRead
from hybridmodel.doctor.notebooks import find_in_notebook
from hybridmodel.doctor.python_code import MOST_BYTES, find_in_source
from tests.strategies import damaged, json_values, law

SECRET = "0f3c9a61d2"
OLD = "o.add_run_config_entry('use_azure', '1')"

Row = tuple[int | None, str, str]


def found(code: str) -> list[Row]:
    """Return line, kind and name of each finding."""
    return [rows(finding) for finding in find_in_source(textwrap.dedent(code).encode())]


def rows(finding: Finding) -> Row:
    """Return what a table compares; a finding that is only possible has a question mark."""
    doubt = "?" if finding.level == "possible" else ""
    return (finding.line, finding.kind, finding.name + doubt)


MAYBE = "AzureExecutionProvider?"


def session(line: int, name: str) -> Row:
    """Return the row of a session entry."""
    return (line, "session-entry", name)


def run(line: int, name: str) -> Row:
    """Return the row of a run entry."""
    return (line, "run-entry", name)


def provider(line: int, name: str = "AzureExecutionProvider") -> Row:
    """Return the row of a provider."""
    return (line, "provider", name)


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
    "a constant of a class that a method cannot see": (
        """
        from keys import KEY
        class Keys:
            KEY = "azure.uri"
            def add(self, options):
                options.add_session_config_entry(KEY, uri)
        """,
        [session(4, "azure.uri?")],
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
    "names put together": (
        """
        P = "azure"
        options.add_session_config_entry(P + ".uri", uri)
        options.add_session_config_entry(f"{P}.model_name", name)
        options.add_session_config_entry(f"azure.{key}", value)
        options.add_session_config_entry("cloud.%s" % key, value)
        options.add_session_config_entry("azure.{}".format(key), value)
        """,
        [
            session(3, "azure.uri"),
            session(4, "azure.model_name"),
            session(5, "azure.…"),
            session(6, "cloud.…"),
            session(7, "azure.…"),
        ],
    ),
    "many at a time": (
        """
        KEY, (USE, *rest) = "azure.uri", ("use_azure", 1, 2)
        options.add_session_config_entry(KEY, uri)
        for options, (a, b) in [(o, ("azure.verbose", "1"))]: ...
        """,
        [session(2, "azure.uri")],
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
        [run(3, "use_azure")],
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
    "what is read from a mapping that cannot be followed": (
        """
        DEFAULTS = {"run": {"use_azure": "1"}}
        for key, value in DEFAULTS["run"].items():
            options.add_run_config_entry(key, value)
        """,
        [run(2, "use_azure?")],
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


PROVIDERS = {
    "in a session": (
        """
        InferenceSession(path, options, providers=["CPUExecutionProvider",
            "azureExecutionProvider"])
        """,
        [provider(3, "azureExecutionProvider")],
    ),
    "as a third argument, with options": (
        "ort.InferenceSession(path, None, [('AZUREEXECUTIONPROVIDER', {})])",
        [provider(1, "AZUREEXECUTIONPROVIDER")],
    ),
    "through names": (
        """
        FIRST = "CloudExecutionProvider"
        ALL = [FIRST, "CPUExecutionProvider"]
        InferenceSession(path, providers=ALL)
        """,
        [provider(2, "CloudExecutionProvider")],
    ),
    "set later": ("session.set_providers(['AzureExecutionProvider'])", [provider(1)]),
    "set later, by name": (
        "WANTED = ['AzureExecutionProvider']\nsession.set_providers(WANTED)",
        [provider(1)],
    ),
    "for MLflow": (
        "log_model(m, onnx_execution_providers=['AzureExecutionProvider'])",
        [provider(1)],
    ),
    "a list by its name": ("PROVIDERS = ('AzureExecutionProvider',)", [provider(1)]),
    "a list that grows": ("providers.append('AzureExecutionProvider')", [provider(1)]),
    "a sum of lists": (
        "self.providers = ['AzureExecutionProvider'] + others",
        [provider(1)],
    ),
    "a list that is added to": ("providers += ['AzureExecutionProvider']", [provider(1)]),
    "a lambda": (
        "patch(lambda: ['AzureExecutionProvider'])",
        [provider(1, "AzureExecutionProvider?")],
    ),
    "a result of no function": ("return 'AzureExecutionProvider'", [provider(1, MAYBE)]),
    "a setting with an unknown key": (
        "settings[key] = list(['AzureExecutionProvider'])",
        [provider(1, MAYBE)],
    ),
    "a default": ("def f(*, providers=('AzureExecutionProvider',)): ...", [provider(1)]),
    "a result": (
        "def select_providers():\n    return ['AzureExecutionProvider']",
        [provider(2)],
    ),
    "a setting": ("settings = {'providers': ['AzureExecutionProvider']}", [provider(1)]),
    "a setting that is set": ("settings['provider'] = 'AzureExecutionProvider'", [provider(1)]),
    "a table": (
        "EP = {'azure': 'AzureExecutionProvider'}",
        [provider(1, MAYBE)],
    ),
    "a constant": ("AZURE = 'AzureExecutionProvider'", [provider(1, MAYBE)]),
    "an argument": (
        "load(path, 'AzureExecutionProvider')",
        [provider(1, MAYBE)],
    ),
    "a choice": (
        "parser.add_argument('--ep', choices=['AzureExecutionProvider'])",
        [provider(1, MAYBE)],
    ),
    "preferences": (
        """
        WANTED = ["AzureExecutionProvider", "CPUExecutionProvider"]
        use([name for name in WANTED if name in available])
        """,
        [provider(2, "AzureExecutionProvider?")],
    ),
}


@pytest.mark.parametrize(("code", "expected"), PROVIDERS.values(), ids=PROVIDERS)
def test_providers(code: str, expected: list[Row]) -> None:
    """A dead provider's name is found where it is handed on."""
    assert found(code) == expected


HARMLESS = {
    "a docstring": '''"""add_run_config_entry('use_azure'), 'AzureExecutionProvider'"""''',
    "a comment": "# options.add_run_config_entry('use_azure', '1')\nx = 1",
    "a text in the middle": "x = 1\n'azure.uri'\n'AzureExecutionProvider'",
    "a dict named azure": "azure = {'uri': 1, 'azure.uri': 2, 'use_azure': True}",
    "a text alone": "name = 'azure.something'; other = 'azure.uri'",
    "a keyword": "model.predict(x, use_azure=True, params={'use_azure': True})",
    "the environment": "os.environ['azure.uri']; os.getenv('use_azure')",
    "another entry": "options.add_session_config_entry('session.use_env_allocators', '1')",
    "an entry that only sounds so": "options.add_session_config_entry('azureml.uri', '1')",
    "another method": "options.add_config_entry('azure.uri', '1')",
    "reading": "run_options.get_run_config_entry('use_azure')",
    "beside a call that can be followed": """
        options.add_session_config_entry('session.x', '1')
        other = {'use_azure': True, 'azure.uri': 2}
    """,
    "looked at, beside a call that cannot": """
        options.add_session_config_entry(key, value)
        if key == 'azure.uri' or key in ('azure.verbose',) or settings['use_azure']:
            print('azure.uri', f'azure.uri {key}')
    """,
    "a question": "if 'AzureExecutionProvider' in get_available_providers(): pass",
    "an exclusion": "[p for p in available if p != 'AzureExecutionProvider']",
    "a removal": "providers.remove('AzureExecutionProvider')",
    "a list that is only compared with": """
        OTHERS = ['AzureExecutionProvider']
        providers = [p for p in available if p not in OTHERS]
    """,
    "a list with a telling name": "EXCLUDED_PROVIDERS = {'AzureExecutionProvider'}",
    "a parameter with a telling name": "use(skip_providers=['AzureExecutionProvider'])",
    "what is printed": "print('AzureExecutionProvider', ['AzureExecutionProvider'])",
    "what is logged": "logger.info(msg='AzureExecutionProvider')",
    "what is raised": "raise ValueError('AzureExecutionProvider')",
    "what is asserted": "assert session.get_providers() == ['AzureExecutionProvider']",
    "a key": "names = {'AzureExecutionProvider': 'azure'}; names['AzureExecutionProvider']",
    "a type": "x: Literal['AzureExecutionProvider']",
    "a case": "match p:\n    case 'AzureExecutionProvider': pass",
    "part of a sum": "providers = 'AzureExecutionProvider' + x",
    "part of a text": "providers = f'AzureExecutionProvider {x}'",
    "an exported name": "__all__ = ['AzureExecutionProvider']",
    "a name that is only looked up": """
        AZURE = 'AzureExecutionProvider'
        if AZURE in available:
            options = all_options[AZURE]
    """,
    "a key of a mapping without a name": "use({**x, 'AzureExecutionProvider': 1})",
    "another node": "helper.make_node('Add', ['a', 'b'], ['c'])",
}


@pytest.mark.parametrize("code", HARMLESS.values(), ids=HARMLESS)
def test_no_false_alarms(code: str) -> None:
    """What only mentions the names, or means others, is not found."""
    assert found(code) == []


KEYS = {
    "in the call": "o.add_run_config_entry('azure.auth_key', '{}')",
    "by name": "KEY = '{}'\no.add_run_config_entry('cloud.auth_key', KEY)",
    "in a dict": "for k, v in {{'azure.auth_key': '{}'}}.items(): o.add_run_config_entry(k, v)",
    "in pairs": "for kv in [('azure.auth_key', '{}')]: o.add_run_config_entry(*kv)",
    "in a dict that is filled": (
        "e = {{}}; e['azure.auth_key'] = '{}'\nfor k, v in e.items(): o.add_run_config_entry(k, v)"
    ),
    "put together": "o.add_run_config_entry('azure.auth_key', 'Bearer ' + '{}')",
    "in a dict that cannot be followed": (
        "use({{'azure.auth_key': '{}'}})\no.add_run_config_entry(key, value)"
    ),
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
    assert found(code) == [run(2, "azure.uri"), run(3, "azure.auth_key")]


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
        (
            f"from onnxruntime import {', '.join('abcdefghijklmnopqrstuvwxyz')}",
            "import the same names from hybridmodel.azure_ep in place of onnxruntime",
        ),
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
    assert "openai package" in openai
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


SURVIVED = {
    "Python 2": (b"print 'AzureExecutionProvider'", "cannot be read as Python"),
    "a null byte": (b"x = 1\0", "null byte"),
    "an unknown encoding": (b"# coding: klingon\nx = 1", "klingon"),
    "a wrong encoding": (b"x = '\xff'", "cannot be read as Python"),
    "an encoding of bytes": (b"# coding: hex\nx = 1", "cannot be read as Python"),
    "deep brackets": (b"(" * 5000, "cannot be read as Python"),
    "deep signs": (b"-" * 100_000 + b"1", "nests too deeply"),
    "a large number": (b"x = " + b"9" * 5000, "cannot be read as Python"),
}


@pytest.mark.parametrize(("source", "reason"), SURVIVED.values(), ids=SURVIVED)
def test_what_cannot_be_parsed(source: bytes, reason: str) -> None:
    """Code that this interpreter cannot parse is refused with the reason, and nothing breaks."""
    with pytest.raises(NotRead, match=reason):
        find_in_source(source)


@pytest.mark.parametrize("deep", ["a" + "+a" * 500_000, "a" + ".b" * 500_000, "f" + "()" * 500_000])
def test_deep_code(deep: str) -> None:
    """Code that nests half a million times is read as far as Python goes, and breaks nothing."""
    with suppress(NotRead):
        assert found(f"{deep}\n{OLD}") == [run(2, "use_azure")]


@pytest.mark.parametrize(
    ("cookie", "encoding"),
    [("# -*- coding: latin-1 -*-", "latin-1"), ("# vim: set fileencoding=cp1252 :", "cp1252")],
)
def test_declared_encodings(cookie: str, encoding: str) -> None:
    """A file is read in the encoding that it declares."""
    code = f"{cookie}\nname = 'é'\n{OLD}"
    assert find_in_source(code.encode(encoding))[0].line == 3


def test_a_byte_order_mark() -> None:
    """A byte order mark moves nothing."""
    assert find_in_source(b"\xef\xbb\xbf" + OLD.encode())[0].line == 1


def test_code_is_not_run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read is neither run nor imported."""
    monkeypatch.chdir(tmp_path)
    code = f"open('ran', 'w')\n@open('ran', 'w')\nclass A: open('ran', 'w')\n{OLD}"
    assert len(find_in_source(code.encode())) == 1
    assert not (tmp_path / "ran").exists()


CHAINS = {
    "names in a circle": "a = b\nb = a\no.add_run_config_entry(a, '1')",
    "a loop over itself": "for x in x: o.add_run_config_entry(x, '1')",
    "loops in a circle": "\n".join(
        f"for a{i} in [a{(i + 1) % 30}, a{(i + 7) % 30}]: o.add_run_config_entry(*a{i})"
        for i in range(30)
    ),
    "a dict in itself": "d = {**d}\nfor k, v in d.items(): o.add_run_config_entry(k, v)",
    "a long sum": f"o.add_run_config_entry('x' {'+ x' * 300}, '1')",
    "many values": "\n".join(f"k = 'x{i}'" for i in range(1000))
    + "\no.add_run_config_entry(k, '1')" * 300,
}


@pytest.mark.parametrize("code", CHAINS.values(), ids=CHAINS)
def test_following_names_ends(code: str) -> None:
    """Names that lead in circles, or to very many values, end the search."""
    assert find_in_source(f"{code}\n{OLD}".encode())[-1].name == "use_azure"


def test_following_names_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the steps for one file are used up, what was not followed is possible."""
    code = f"KEY = 'use_azure'\n{OLD}\no.add_run_config_entry(KEY, '1')"
    assert found(code) == [run(1, "use_azure"), run(2, "use_azure")]
    monkeypatch.setattr(resolving, "_STEPS", 2)
    assert found(code) == [run(1, "use_azure?"), run(2, "use_azure")]


def test_warnings_about_code_are_not_raised() -> None:
    """What Python warns of when it parses code is no reason not to read it."""
    assert found(f"x = '\\d'; y = 1 is 1; assert (x, 'y')\n{OLD}") == [run(2, "use_azure")]


def cell(*lines: str, kind: str = "code") -> dict[str, Any]:
    """Make a cell as Jupyter saves it."""
    return {"cell_type": kind, "source": [*(f"{line}\n" for line in lines[:-1]), *lines[-1:]]}


def notebook(*cells: dict[str, Any], **metadata: Any) -> bytes:
    """Make a notebook as Jupyter saves it."""
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4}).encode()


def places(data: bytes) -> list[tuple[int | None, int | None, str]]:
    """Return cell, line and name of each finding."""
    findings, _ = find_in_notebook(data)
    return [(finding.cell, finding.line, finding.name) for finding in findings]


CELLS = {
    "magics": (["%matplotlib inline", "!pip install \\", "  onnxruntime", "?ort", "ort??", OLD], 6),
    "magics with results": (["files = !ls", "t = %timeit -o f()", OLD], 3),
    "magics in a block": (["if x:", "    %cd ..", "    " + OLD], 3),
    "a timed line": (["%time " + OLD], 1),
    "a timed cell": (["%%time", "", OLD], 3),
    "a timed cell after an empty line": (["", "%%time", OLD], 3),
    "a cell that is written to a file": (["%%writefile score.py", OLD], 2),
    "no magic but a remainder": (["x = (a", "%b)", "y = a != b", OLD], 4),
    "old line ends": (["x = 1\r", OLD], 2),
}


@pytest.mark.parametrize(("lines", "line"), CELLS.values(), ids=CELLS)
def test_cells(lines: list[str], line: int) -> None:
    """IPython's own syntax hides nothing, and lines are counted in the cell."""
    data = notebook(cell("# Title", kind="markdown"), cell("x = 1"), cell(*lines))
    assert places(data) == [(3, line, "use_azure")]
    assert find_in_notebook(data)[1] is None


def test_cells_are_one_program() -> None:
    """A name of one cell is known in the next, and one import serves all cells."""
    first, last = cell("KEY = 'azure.uri'"), cell("", "o.add_session_config_entry(KEY, uri)")
    assert places(notebook(first, last)) == [(1, 1, "azure.uri")]
    assert places(notebook(cell("x = 1\r" + OLD), cell("y"))) == [(1, 2, "use_azure")]
    new = cell("from hybridmodel.azure_ep import InferenceSession")
    assert places(notebook(first, last, new, cell("InferenceSession(p)"))) == []


def test_a_bad_cell_spoils_no_other() -> None:
    """A cell that is no Python is named, and the others are read."""
    findings, problem = find_in_notebook(notebook(cell("x ="), cell(OLD)))
    assert findings[0].cell == 2
    assert problem is not None
    assert problem.startswith("1 of its cells: cell 1 cannot be read as Python")


def test_cells_in_other_languages() -> None:
    """Cells of other languages, text and plain JSON around them are not code."""
    data = notebook(
        cell("%%bash", OLD), cell("%%writefile a.txt", OLD), cell(OLD, kind="raw"), {"x": OLD}
    )
    assert places(data) == []


def test_notebooks_of_version_3() -> None:
    """The cells of a notebook's worksheets are read."""
    cells = [{"cell_type": "code", "input": [OLD]}]
    data = {"nbformat": 3, "worksheets": [{"cells": cells}]}
    assert places(json.dumps(data).encode()) == [(1, 1, "use_azure")]


NO_NOTEBOOKS = {
    "no JSON": (b"{", "is no JSON"),
    "no object": (b"[]", "is no notebook"),
    "no cells": (b"{}", "it has no cells"),
    "deep JSON": (b'{"cells":' + b"[" * 200_000, "is no JSON"),
    "a huge number": (b'{"cells": ' + b"9" * 5000 + b"}", "is no JSON"),
    "another language": (notebook(cell("x"), kernelspec={"language": "R"}), "another language: r"),
    "yet another": (notebook(cell("x"), language_info={"name": "C#"}), "another language: c#"),
}


@pytest.mark.parametrize(("data", "reason"), NO_NOTEBOOKS.values(), ids=NO_NOTEBOOKS)
def test_what_is_no_notebook(data: bytes, reason: str) -> None:
    """What is no notebook of Python is refused with the reason."""
    with pytest.raises(NotRead, match=reason):
        find_in_notebook(data)


def test_much_code_in_cells() -> None:
    """No more code is parsed than from a file."""
    data = notebook(cell(OLD), cell("#" * MOST_BYTES), cell(OLD))
    assert places(data) == [(1, 1, "use_azure")]
    assert "2 of its cells" in str(find_in_notebook(data)[1])


def survives(data: bytes) -> None:
    """Read bytes as code and as a notebook, and refuse them only in words."""
    for find in (find_in_source, find_in_notebook):
        reason = ""
        try:
            find(data)
        except NotRead as error:
            reason = str(error)
        assert reason.isprintable()


@law
@given(st.binary() | damaged(textwrap.dedent(ENTRIES["a loop over a dict"][0]).encode()))
def test_no_bytes_break_it(data: bytes) -> None:
    """Any bytes are read, or refused with a reason that can be printed."""
    survives(data)


@law
@given(st.from_regex(rb"# coding: [a-z0-9_-]{1,12}\n", fullmatch=True), st.binary())
def test_no_encoding_breaks_it(cookie: bytes, data: bytes) -> None:
    """Any declared encoding is read, or refused."""
    survives(cookie + data)


@law
@given(
    json_values
    | st.fixed_dictionaries(
        {
            "cells": st.lists(
                st.fixed_dictionaries(
                    {
                        "cell_type": st.just("code"),
                        "source": json_values | st.sampled_from([OLD, "%%", "!x\\"]),
                    }
                )
            ),
            "metadata": json_values,
        }
    )
)
def test_no_json_breaks_it(value: Any) -> None:
    """Any JSON is read as a notebook, or refused."""
    survives(json.dumps(value).encode())


@law
@given(damaged(notebook(cell("%time x", OLD), cell("for k in ['use_azure']: o.add(k)"))))
def test_no_damage_breaks_it(data: bytes) -> None:
    """Any damaged notebook is read, or refused."""
    survives(data)
