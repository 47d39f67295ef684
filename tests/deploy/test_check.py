"""`hybridmodel check` as people and machines use it, and what it does with files as data."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel.cli.program import program
from hybridmodel.deploy import Finding, check
from hybridmodel.deploy.checking import RULES, yaml_tree
from hybridmodel.deploy.checking import findings as findings_module
from hybridmodel.deploy.checking.files import MOST_BYTES
from hybridmodel.deploy.checking.findings import MOST_FINDINGS
from hybridmodel.exceptions import ConfigurationError
from tests.support.deploy_mistakes import (
    BATCH_ENDPOINT,
    DEPLOYMENT,
    ENDPOINT,
    FILES,
    write_files,
)
from tests.support.paths import ROOT

SECRET = "canary-5d1f"


def run(*arguments: object) -> tuple[int, str]:
    """Run the command; return its exit status and what it printed."""
    done = CliRunner().invoke(program, ["check", *map(str, arguments)])
    return done.exit_code, done.output


def write(folder: Path, name: str, text: str) -> tuple[Finding, ...]:
    """Write one file, and check its folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return check(folder)


def rules(findings: tuple[Finding, ...]) -> set[str]:
    """Return the rules of findings."""
    return {finding.rule for finding in findings}


def test_what_people_read(tmp_path: Path) -> None:
    """Each finding has its file, its line, what is wrong and what to write; errors give 1."""
    write_files(tmp_path, {**FILES, "blue.yml": DEPLOYMENT.replace("60000", "300000")})
    assert run(tmp_path) == (
        1,
        (
            "blue.yml\n"
            "  line 14: error: request_settings.request_timeout_ms is 300000 [request-timeout]\n"
            "    write request_settings.request_timeout_ms: with a number from 1 to 180000\n"
            "\n"
            "1 error, 0 warnings\n"
        ),
    )


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    """With warnings only the exit status is 0, and with nothing found as well."""
    write_files(tmp_path, FILES)
    assert run(tmp_path) == (0, "0 errors, 0 warnings\n")
    (tmp_path / "endpoint.yml").write_text(ENDPOINT.replace("https", "x"))
    status, said = run(tmp_path)
    assert (status, said.splitlines()[-1]) == (0, "0 errors, 1 warning")


def test_what_machines_read(tmp_path: Path) -> None:
    """With --json all fields of all findings are printed."""
    write_files(tmp_path, {**FILES, "blue.yml": DEPLOYMENT.replace("60000", "300000")})
    status, said = run(tmp_path, "--json")
    (finding,) = json.loads(said)["findings"]
    assert status == 1
    assert Finding(**finding) == check(tmp_path)[0]
    assert (finding["file"], finding["line"]) == ("blue.yml", 14)


def test_findings_are_frozen(tmp_path: Path) -> None:
    """A finding is a record that cannot change, and has a rule of the table with its severity."""
    (finding,) = write(tmp_path, "e.yml", ENDPOINT.replace("digits-ep", "ab"))
    with pytest.raises(FrozenInstanceError):
        finding.line = 3  # type: ignore[misc]
    assert finding.severity == RULES[finding.rule].severity


def test_no_folder(tmp_path: Path) -> None:
    """What is no folder cannot be checked: an error with the way out, and exit status 2."""
    with pytest.raises(ConfigurationError, match="name the one that `hybridmodel export` wrote"):
        check(tmp_path / "none")
    done = subprocess.run(
        [sys.executable, "-m", "hybridmodel", "check", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no folder" in done.stderr


def test_every_rule_is_on_the_page() -> None:
    """docs/deploy_checks.md has each rule with its severity and what it holds."""
    page = (ROOT / "docs" / "deploy_checks.md").read_text(encoding="utf-8")
    for name, rule in RULES.items():
        assert f"| `{name}` | {rule.severity} | {rule.holds} |" in page


def test_the_example_of_the_page_is_true(tmp_path: Path) -> None:
    """What docs/deploy_checks.md shows is what the command prints."""
    blue = DEPLOYMENT.replace("60000", "300000").replace("./models", "./models/digits")
    config = FILES["models/digits/config.pbtxt"].replace("[ -1, 3 ]", "[ -1, 4 ]")
    write_files(tmp_path, {**FILES, "blue.yml": blue, "models/digits/config.pbtxt": config})
    said = run(tmp_path)[1]
    page = (ROOT / "docs" / "deploy_checks.md").read_text(encoding="utf-8")
    assert f"$ hybridmodel check digits-endpoint\n{said}```" in page, said


def test_every_rule_is_used() -> None:
    """Each rule of the table is one that a finding can have."""
    folder = Path(findings_module.__file__).parent
    used = "".join(
        path.read_text(encoding="utf-8") for path in folder.glob("*.py") if path.stem != "findings"
    )
    assert [name for name in RULES if f'"{name}"' not in used] == []


def test_no_network_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking opens no socket and starts no process."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError

    write_files(tmp_path, {**FILES, "x.yml": "model: https://example.com/model\n"})
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert check(tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "rule", "line"),
    [
        ("a: [\n", "yaml-syntax", 2),
        ("a: 1\n\tb: 2\n", "yaml-syntax", 2),
        ("a: !!python/object:os.system x\n", "yaml-syntax", 1),
        ("a: !own x\n", "yaml-syntax", 1),
        ("a: !!python/tuple [x]\n", "yaml-syntax", 1),
        ("a: *b\n", "yaml-syntax", 1),
        ("a: &a [*a]\n", "yaml-syntax", 1),
        ("x\n: " + "[" * 5000, "yaml-syntax", 2),
        ("[" * 5000, "yaml-syntax", 1),
        ("- - " * 5000, "yaml-syntax", 1),
        (f"a: {'9' * 101}\n", "yaml-syntax", 1),
        ("a: !!int x\n", "yaml-syntax", 1),
        ('a: "\\UFFFFFFFF"\n', "yaml-syntax", None),
        ("a: \x07\n", "yaml-syntax", None),
        ("a: 1\n---\n" * yaml_tree.MOST_NODES, "yaml-syntax", 13_333),
        ("? [a]\n: b\n", "yaml-syntax", 1),
        ("a: 1\n" * (yaml_tree.MOST_NODES // 2 + 1), "yaml-syntax", 10_000),
        (ENDPOINT + "name: other\n", "yaml-duplicate-key", 4),
    ],
    ids=range(18),
)
def test_what_is_no_yaml(text: str, rule: str, line: int, tmp_path: Path) -> None:
    """Text that is no YAML, or beyond a bound, is told with its line, and constructs nothing."""
    findings = write(tmp_path, "e.yml", text)
    assert (rule, line) in {(finding.rule, finding.line) for finding in findings}


def test_findings_are_bounded(tmp_path: Path) -> None:
    """A file that is made to have many mistakes costs little, and some of them are told."""
    unknown = "".join(f"k{number}: 1\n" for number in range(9_000))
    traffic = "".join(f"  d{number}: 200\n" for number in range(900))
    findings = write(tmp_path, "e.yml", ENDPOINT + unknown)
    assert len(findings) == MOST_FINDINGS
    findings = write(tmp_path, "e.yml", f"{ENDPOINT}traffic:\n{traffic}")
    assert len(findings) == MOST_FINDINGS


def test_aliases_are_bounded(tmp_path: Path) -> None:
    """Aliases of aliases cost no more than the bound on values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (finding,) = write(tmp_path, "e.yml", "\n".join(lines))
    assert finding.rule == "yaml-syntax"


def test_aliases_and_merged_keys_are_read(tmp_path: Path) -> None:
    """An anchor's values are read where its alias stands, also by a merged key."""
    text = DEPLOYMENT.replace("liveness_probe:\n", "liveness_probe: &probe\n").replace(
        "readiness_probe:\n  initial_delay: 30\n", "readiness_probe:\n  <<: *probe\n  period: 0\n"
    )
    write_files(tmp_path, {**FILES, "blue.yml": text})
    (finding,) = check(tmp_path)
    assert (finding.rule, finding.line) == ("probe", 20)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abU0F:-[]{}&*!|>'\"\\#%,? \n\t<1", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever text is read as YAML, the answer is a tree or why there is none."""
    try:
        roots, _ = yaml_tree.read(text)
    except yaml_tree.BadYaml as error:
        said = error.reason
    else:
        said = "read"
        assert all(root.line >= 1 for root in roots)
    assert said


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Large files, pipes, links to nowhere and other encodings are told, and nothing hangs."""
    (tmp_path / "large.yml").write_bytes(b"#" * (MOST_BYTES + 1))
    (tmp_path / "latin.yml").write_bytes(b"name: \xe9")
    (tmp_path / "nowhere.yml").symlink_to(tmp_path / "none")
    (tmp_path / "away.yml").symlink_to(Path(os.devnull))
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "models" / "m").mkdir(parents=True)
    os.mkfifo(tmp_path / "models" / "m" / "config.pbtxt")
    findings = check(tmp_path)
    assert rules(findings) == {"unreadable"}
    assert len(findings) == 6


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    """A link that leads back into the folder, or out of it, adds nothing."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "e.yml").write_text(ENDPOINT.replace("digits-ep", "ab"))
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "away").symlink_to(tmp_path / "out")
    assert check(tmp_path / "in") == ()


def test_a_folder_with_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all files were looked at, a warning says so."""
    monkeypatch.setattr("hybridmodel.deploy.checking.files.MOST_FILES", 3)
    write_files(tmp_path, FILES)
    assert rules(check(tmp_path)) == {"too-many-files"}


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Values of environment variables, and of keys that are not known, are in no finding."""
    text = DEPLOYMENT.replace("GREETING: hello", f"GREETING: [{SECRET}]").replace(
        "name: blue", f"password: {SECRET}\ntags: {SECRET}\nname: blue"
    )
    findings = write(tmp_path, "d.yml", text)
    assert rules(findings) >= {"environment-variables", "unknown-key", "wrong-type"}
    assert SECRET not in str(findings)


def test_nothing_controls_the_terminal(tmp_path: Path) -> None:
    """Names from files are shown without characters that control a terminal."""
    text = ENDPOINT.replace("digits-ep", '"a\\e[31mb"') + '"k\\e[2J": 1\n'
    findings = write(tmp_path, "e\x1b[0m.yml", text)
    assert rules(findings) == {"name-characters", "unknown-key"}
    assert all(char.isprintable() for char in str(findings))
    assert "\x1b" not in run(tmp_path)[1]


@pytest.mark.parametrize(
    ("text", "rule", "line"),
    [
        (ENDPOINT + "auth: key\n", "unknown-key", 4),
        (ENDPOINT.replace("key\n", "password\n"), "auth-mode", 3),
        (ENDPOINT.replace("name: digits-ep\n", ""), "missing-key", 1),
        (ENDPOINT + "tags: [a]\n", "wrong-type", 4),
        (DEPLOYMENT.replace("instance_count: 1", "instance_count: '1'"), "wrong-type", 12),
        (DEPLOYMENT.replace("instance_type", "instancetype"), "unknown-key", 11),
        (DEPLOYMENT + "retry_settings: {timeout: 1}\n", "unknown-key", 20),
        (DEPLOYMENT.replace("initial_delay: 30", "timeout: 20", 1), "probe-overlap", 17),
        (DEPLOYMENT.replace("initial_delay: 30", "failure_threshold: 5", 1), "probe-patience", 16),
        (BATCH_ENDPOINT + "defaults: nightly\n", "wrong-type", 4),
        (ENDPOINT + "compute: azureml:arc\nmirror_traffic: {b: 1}\n", "mirror-kubernetes", 5),
    ],
    ids=range(11),
)
def test_other_mistakes_in_yaml(text: str, rule: str, line: int, tmp_path: Path) -> None:
    """Unknown and missing keys, wrong types and what else Azure refuses is found on its line."""
    findings = write(tmp_path, "x.yml", text)
    assert (rule, line) in {(finding.rule, finding.line) for finding in findings}


def test_traffic_needs_a_deployment(tmp_path: Path) -> None:
    """Traffic for a deployment that no file describes is found, with the ones that are."""
    traffic = ENDPOINT + "traffic: {blue: 50, gren: 50}\n"
    write_files(tmp_path, {**FILES, "endpoint.yml": traffic})
    (finding,) = [item for item in check(tmp_path) if item.rule == "traffic-deployment"]
    assert (finding.line, finding.write) == (4, "write one of blue")


def test_deployments_on_kubernetes_have_its_bounds(tmp_path: Path) -> None:
    """A deployment of an endpoint on Kubernetes may take longer, and names its own machines."""
    kubernetes = ENDPOINT.replace("managedOnline", "kubernetesOnline") + "compute: azureml:arc\n"
    deployment = DEPLOYMENT.replace("60000", "300000").replace("Standard_DS3_v2", "small")
    write_files(tmp_path, {**FILES, "endpoint.yml": kubernetes, "blue.yml": deployment})
    assert check(tmp_path) == ()
    (tmp_path / "blue.yml").write_text(deployment.replace("300000", "300001"))
    assert rules(check(tmp_path)) == {"request-timeout", "probe-patience"}


@pytest.mark.parametrize(
    ("batching", "rule"),
    [
        ("default_queue_policy { max_queue_size: 64 }", None),
        ("default_queue_policy { max_queue_size: 4 }", "queue-size"),
        ("default_queue_policy { default_timeout_microseconds: 60000000 }", "queue-timeout"),
        ("default_queue_policy { default_timeout_microseconds: 59000000 }", None),
        ("max_queue_delay_microseconds: 60000000", "queue-timeout"),
        ("", None),
    ],
    ids=range(6),
)
def test_requests_and_queues(batching: str, rule: str | None, tmp_path: Path) -> None:
    """Azure's time and number of requests are compared with those of Triton's queue."""
    config = FILES["models/digits/config.pbtxt"] + f"dynamic_batching {{ {batching} }}\n"
    write_files(tmp_path, {**FILES, "models/digits/config.pbtxt": config})
    assert rules(check(tmp_path)) == ({rule} if rule else set())


def test_paths_lead_out_of_the_folder_only_to_be_looked_for(tmp_path: Path) -> None:
    """A path to elsewhere is right if it is there, and nothing of what lies there is said."""
    elsewhere = tmp_path / "elsewhere" / "secret-name"
    elsewhere.mkdir(parents=True)
    findings = write(tmp_path / "in", "d.yml", DEPLOYMENT.replace("./models", "../elsewhere"))
    assert rules(findings) == {"repository-level"}
    assert "secret-name" not in str(findings)


@pytest.mark.parametrize(
    ("old", "new", "rule", "line"),
    [
        ("instance_type", "code_configuration: {code: ./none}\ninstance_type", "code-path", 11),
        (
            "instance_type",
            "code_configuration:\n  code: ./code\n  scoring_script: none.py\ninstance_type",
            "code-path",
            13,
        ),
        ("instance_type", "environment: {conda_file: none.yml}\ninstance_type", "code-path", 11),
        ("triton_model", "mlflow_model", "mlflow-model", 7),
        ("path: ./models", 'path: "./mod\\0els"', None, None),
        ("path: ./models", 'path: "./mod\\ud800els"', None, None),
        ("path: ./models", f"path: {'x' * 5000}", "model-path", 7),
        ("path: ./models", "path: ./models/digits/1/model.onnx", "repository-level", 7),
        ("path: ./models", "path: ./models/digits/1", "repository-level", 7),
        ("path: ./models", "path: azureml://jobs/x/outputs/model", None, None),
    ],
    ids=range(10),
)
def test_paths(old: str, new: str, rule: str | None, line: int | None, tmp_path: Path) -> None:
    """Code, conda files and models that are not there, or not what they should be, are found."""
    text = DEPLOYMENT.replace(old, new, 1)
    write_files(tmp_path, {**FILES, "blue.yml": text, "code/score.py": ""})
    findings = check(tmp_path)
    assert {(item.rule, item.line) for item in findings} == ({(rule, line)} if rule else set())


def test_gpus(tmp_path: Path) -> None:
    """A model that wants a GPU needs a machine that has one."""
    config = FILES["models/digits/config.pbtxt"] + "instance_group { kind: KIND_GPU }\n"
    files = {**FILES, "models/digits/config.pbtxt": config}
    write_files(tmp_path, files)
    (finding,) = check(tmp_path)
    assert (finding.rule, finding.line) == ("gpu", 9)
    machine = DEPLOYMENT.replace("Standard_DS3_v2", "Standard_NC4as_T4_v3")
    write_files(tmp_path, {**files, "blue.yml": machine})
    assert check(tmp_path) == ()
