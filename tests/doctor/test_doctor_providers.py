"""The doctor finds the dead providers' names where they are handed on, and nothing else."""

from __future__ import annotations

import pytest

from tests.support.doctor_tools import Row, found, provider

MAYBE = "AzureExecutionProvider?"

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
    "a result that is followed": (
        """
        def wanted():
            return ["AzureExecutionProvider"]
        InferenceSession(path, providers=wanted())
        """,
        [provider(3)],
    ),
    "what is left of a difference": (
        "providers = list(set(['AzureExecutionProvider', *others]) - {'CloudExecutionProvider'})",
        [provider(1)],
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
    "what a mock lists": "patch(ort, 'get_providers', lambda: ['AzureExecutionProvider'])",
    "what is taken away": "wanted = set(available) - {'AzureExecutionProvider'}",
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
