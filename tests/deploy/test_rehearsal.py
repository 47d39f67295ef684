"""A rehearsal as it is called: from Python, from another process, and from the command line."""

from __future__ import annotations

import json
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3

from hybridmodel import deploy
from hybridmodel.deploy.rehearsal import servers
from hybridmodel.deploy.rehearsal.control import Control, files_of
from hybridmodel.deploy.rehearsal.folder import read_endpoint
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.deploy.rehearsal.settings import GatewayLimits
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.repository import through_python
from tests.support.rehearsing import HOST, NAMES, ask, write_export, write_repository


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Rehearse two deployments."""
    with rehearse(write_export(tmp_path_factory.mktemp("export")), server="embedded") as one:
        yield one


@pytest.fixture
def control(running: Rehearsal) -> Iterator[Control]:
    """Control it as another process does, and set it right afterwards."""
    control = Control(running.folder)
    yield control
    for name in NAMES:
        control.revive(name)
    control.set_mirror({})
    control.set_traffic({"blue": 100})


def test_names() -> None:
    """The package offers what a rehearsal needs."""
    assert deploy.rehearse is rehearse
    assert deploy.Rehearsal is Rehearsal


def test_what_the_files_say(tmp_path: Path) -> None:
    """Endpoint, deployments and request settings are those of the files, and the first is live."""
    write_export(tmp_path, auth_mode="AADToken", timeout_ms=1500, concurrency=3, instances=2)
    endpoint = read_endpoint(tmp_path)
    assert (endpoint.name, endpoint.auth_mode) == ("digits-ep", "aad_token")
    assert [one.name for one in endpoint.deployments] == list(NAMES)
    blue = endpoint.deployments[0]
    assert (blue.timeout_s, blue.concurrency, blue.instances) == (1.5, 3, 2)
    assert blue.models == (tmp_path / "models").resolve()
    assert endpoint.traffic == {"blue": 100}


def test_a_folder_without_deployments(tmp_path: Path) -> None:
    """A repository alone is one deployment with Azure's defaults, and that is said."""
    write_repository(tmp_path)
    endpoint = read_endpoint(tmp_path)
    (blue,) = endpoint.deployments
    assert (blue.name, blue.timeout_s, blue.concurrency, blue.instances) == ("blue", 5.0, 1, 1)
    assert endpoint.notes == ("the folder describes no deployment, so it has Azure's defaults",)


TRITON = "endpoint_name: e-p\nmodel: {path: ./models, type: triton_model}\n"


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("b-deployment.yml", "name: blue\nendpoint_name: e-p\nmodel: {path: ./models}\n", "type"),
        ("b-deployment.yml", "name: blue\nendpoint_name: e-p\n", "triton_model"),
        ("b-deployment.yml", TRITON, "name None"),
        ("b-deployment.yml", f"name: b\n{TRITON}", "3 to 32 letters"),
        ("b-deployment.yml", f"name: blue\ninstance_count: 51\n{TRITON}", "instance_count"),
        ("b-deployment.yml", f"name: blue\ninstance_count: two\n{TRITON}", "instance_count"),
        (
            "b-deployment.yml",
            f"name: blue\nrequest_settings: {{request_timeout_ms: 180001}}\n{TRITON}",
            "request_timeout_ms is a whole number from 1 to 180000",
        ),
        (
            "b-deployment.yml",
            f"name: blue\nrequest_settings: {{max_concurrent_requests_per_instance: 0}}\n{TRITON}",
            "max_concurrent_requests_per_instance",
        ),
        ("b-deployment.yml", f"name: blue\n{TRITON.replace('./models', '..')}", "not inside"),
        ("b-deployment.yml", f"name: blue\n{TRITON.replace('./models', '/etc')}", "not inside"),
        ("b-deployment.yml", f"name: blue\n{TRITON.replace('./models', 'm')}", "no export"),
        ("b-deployment.yml", f"name: blue\n{TRITON}---\nname: blue\n{TRITON}", "two files"),
        ("endpoint.yml", "name: e-p\nauth_mode: none\n", "auth_mode is 'none'"),
        ("endpoint.yml", "name: e-p\nauth_mode: [key\n", "line 3: is not YAML"),
        ("endpoint.yml", "name: e-p\nauth_mode: key\n---\nname: f-p\nauth_mode: key\n", "two endp"),
    ],
    ids=lambda value: "" if "\n" in value else value.replace(" ", "-"),
)
def test_files_that_azure_would_not_take(tmp_path: Path, file: str, text: str, words: str) -> None:
    """Each is refused with its file and what is wrong."""
    write_repository(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        read_endpoint(tmp_path)


def test_what_is_ignored_is_said(tmp_path: Path) -> None:
    """Traffic in the file and a Kubernetes cluster are not rehearsed, and batch is passed by."""
    write_export(tmp_path)
    (tmp_path / "endpoint.yml").write_text(
        "name: e-p\nauth_mode: key\ncompute: azureml:k8s\ntraffic: {blue: 10}\n"
    )
    (tmp_path / "batch.yml").write_text("name: b-b\nendpoint_name: e-p\nmini_batch_size: 1\n")
    endpoint = read_endpoint(tmp_path)
    assert len(endpoint.deployments) == 2
    assert [note.partition(" is ")[0] for note in endpoint.notes] == [
        "a Kubernetes endpoint",
        "traffic in the file",
    ]


@pytest.mark.parametrize("trouble", ["file", "empty", "no config", "no version", "program"])
def test_folders_that_are_no_export(tmp_path: Path, trouble: str) -> None:
    """What is not an export of ONNX models is refused before anything starts."""
    folder = tmp_path / "export"
    words = "no folder|no export"
    if trouble == "file":
        folder.write_text("")
    elif trouble == "empty":
        folder.mkdir()
    else:
        model = write_repository(folder) / "digits"
        if trouble == "no config":
            (model / "config.pbtxt").unlink()
            words = "is no Triton repository"
        elif trouble == "no version":
            (model / "1").rename(model / "01")
            words = "has no version with an ONNX model"
        else:
            (model / "1" / "model.py").write_text("raise SystemExit")
            words = "is a program, and a rehearsal runs none"
    with pytest.raises(ConfigurationError, match=words):
        rehearse(folder, server="embedded")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"server": "docker"}, "server is one of auto, triton, embedded"),
        ({"without": ["gravity"]}, "there is no behaviour 'gravity'"),
        ({"traffic": {"blue": 99}}, "adds up to 99"),
        ({"mirror": {"green": 60}}, "at most 50"),
        ({"port": 70000}, "port 70000 is not available"),
    ],
    ids=["server", "behaviour", "traffic", "mirror", "port"],
)
def test_refused_settings(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    """Settings that cannot be are refused, and nothing stays."""
    folder = write_export(tmp_path)
    with pytest.raises(ConfigurationError, match=words):
        rehearse(folder, **{"server": "embedded", **options})
    assert not files_of(folder).exists()


def test_a_port_in_use(tmp_path: Path) -> None:
    """A port that somebody listens on is refused before a server starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} is not available"):
            rehearse(write_export(tmp_path), port=port, server="embedded")


def test_once_at_a_time(running: Rehearsal) -> None:
    """A folder is rehearsed once at a time, and says where that is shown."""
    with pytest.raises(ConfigurationError, match="is rehearsed already"):
        rehearse(running.folder, server="embedded")
    with pytest.raises(ConfigurationError, match="already running"):
        running.start()
    assert ask(running).status == 200, "the first goes on, and keeps its files"


def test_a_server_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one server cannot start, the others end, and the folder can be rehearsed again."""
    folder = write_export(tmp_path)
    rehearsal = Rehearsal(folder, server="embedded")
    monkeypatch.setattr(rehearsal._servers["green"], "start", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rehearsal.start()
    assert not rehearsal._servers["blue"].is_running
    assert not files_of(folder).exists()
    with pytest.raises(ConfigurationError, match="is not running"):
        rehearsal.snapshot()
    monkeypatch.undo()
    with rehearsal:
        assert ask(rehearsal).status == 200
    rehearsal.stop()
    assert not list(files_of(folder).parent.glob(f"{files_of(folder).name}*"))
    assert "not running" in repr(rehearsal)


def test_files_are_private(running: Rehearsal) -> None:
    """The token of the controls stands in a file that nobody else reads, and the key in none."""
    files = files_of(running.folder)
    for file, mode in ((files, 0o700), (files / "control.json", 0o600)):
        assert stat.S_IMODE(file.stat().st_mode) == mode
    script = running.write_environment([HOST])
    assert stat.S_IMODE(script.stat().st_mode) == 0o600
    assert "export HYBRIDMODEL_ENDPOINT_" in script.read_text()


def test_control_from_elsewhere(running: Rehearsal, control: Control) -> None:
    """Another process sees the same snapshot, and changes what this one has."""
    seen = control.set_traffic({"blue": 90, "green": 10})
    assert seen["traffic"] == {"blue": 90, "green": 10} == running.snapshot().traffic
    control.set_traffic({"blue": 100})
    assert control.set_mirror({"green": 10})["mirror"] == {"green": 10}
    assert control.hang("green")["deployments"][1]["condition"] == "hung"
    assert control.slow("blue", 0.01)["deployments"][0]["delay_s"] == 0.01
    assert control.kill("green")["deployments"][1]["condition"] == "dead"
    assert control.revive("green")["deployments"][1]["condition"] == "running"
    assert control.scale("blue", 2)["deployments"][0]["instances_in_s"] > 890
    assert json.dumps(running.snapshot().as_json())
    with pytest.raises(ConfigurationError, match="adds up to 90 percent"):
        control.set_traffic({"blue": 90})
    with pytest.raises(ConfigurationError, match="no deployment 'red'"):
        control.kill("red")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/traffic", b"[1]", 400),
        ("/traffic", b"{", 400),
        ("/kill", b"{}", 400),
        ("/kill", b'{"deployment": ["blue"]}', 400),
        ("/traffic", b" " * 70_000, 400),
        ("/nothing", b"{}", 404),
    ],
    ids=["list", "no JSON", "no name", "no text", "too long", "no path"],
)
def test_bad_requests_to_the_controls(
    control: Control, path: str, body: bytes, status: int
) -> None:
    """They get an error, and change nothing."""
    url, headers = (
        control._address.url + path,
        {"Authorization": f"Bearer {control._address.token}"},
    )
    assert urllib3.request("POST", url, body=body, headers=headers).status == status
    assert control.snapshot()["deployments"][0]["condition"] == "running"


def test_controls_want_the_token(running: Rehearsal, control: Control) -> None:
    """Without the token, with another, or with the endpoint's key, nothing is told or changed."""
    for key in ("", "wrong", str(running.credential())):
        headers = {"Authorization": f"Bearer {key}"}
        for method, path in (("GET", "/snapshot"), ("POST", "/kill"), ("POST", "/token")):
            url = control._address.url + path
            assert urllib3.request(method, url, headers=headers).status == 401
    assert urllib3.request("GET", f"{control._address.url}/identity").status == 401
    assert control._address.token not in repr(control._address)


def test_the_management_gives_tokens(running: Rehearsal, control: Control) -> None:
    """A token of the endpoint comes with when it expires, as from Azure's management."""
    headers = {"Authorization": f"Bearer {control._address.token}"}
    said = urllib3.request("POST", f"{control._address.url}/token", headers=headers).json()
    assert said["accessToken"].startswith("r.")
    assert said["refreshAfterTimeUtc"] < said["expiryTimeUtc"]


def test_controls_of_others_are_not_believed(tmp_path: Path) -> None:
    """A file that others may write, or that is damaged, is refused; without one none runs."""
    with pytest.raises(ConfigurationError, match="is not rehearsed at the moment"):
        Control(tmp_path)
    file = files_of(tmp_path) / "control.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"port": 1, "token": "t"}')
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="others may read or write"):
        Control(tmp_path)
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="does not answer"):
        Control(tmp_path).snapshot()
    file.write_text("{")
    with pytest.raises(ConfigurationError, match="is damaged"):
        Control(tmp_path)
    shutil.rmtree(file.parent)


def test_external_data(tmp_path: Path) -> None:
    """A model in a folder with its weights beside it is served as well."""
    folder = write_repository(tmp_path) / "digits" / "1"
    (folder / "model.onnx").rename(folder / "file")
    (folder / "model.onnx").mkdir()
    (folder / "file").rename(folder / "model.onnx" / "model.onnx")
    found = servers.read_repository(tmp_path / "models")
    assert found == {"digits": {"1": folder / "model.onnx" / "model.onnx"}}
    with rehearse(tmp_path, server="embedded") as rehearsal:
        assert ask(rehearsal).status == 200


def test_a_folder_is_only_read(tmp_path: Path) -> None:
    """What lies in a model's folder is never written through the links to it."""
    model = write_repository(tmp_path / "export") / "digits"
    notes = model / "01" / "model.py"
    notes.parent.mkdir()
    notes.write_text("mine")
    through_python(model, tmp_path / "copy")
    assert notes.read_text() == "mine"


def test_limits_can_be_others() -> None:
    """Azure's numbers are the defaults, and what can be no limit is refused."""
    assert GatewayLimits().requests_per_s == 500
    assert GatewayLimits(idle_s=1).idle_s == 1
    for wrong in ({"requests_per_s": 0}, {"max_body_bytes": 1.5}, {"idle_s": -1}, {"token_s": "1"}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            GatewayLimits(**wrong)


def test_the_embedded_server_wants_its_own_key(running: Rehearsal) -> None:
    """Others on this machine cannot go around the gateway, not even with the endpoint's key."""
    host, port = running._servers["blue"].address
    url = f"http://{host}:{port}/v2/models/digits"
    for key in ("", str(running.credential())):
        assert urllib3.request("GET", url, headers={"Authorization": f"Bearer {key}"}).status == 401
    assert ask(running, "/v2/models/digits", None).status == 200


def test_an_end_amid_requests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A rehearsal that ends while requests are answered closes their connections, and is silent."""
    with (
        ThreadPoolExecutor() as pool,
        rehearse(write_export(tmp_path), server="embedded") as running,
    ):
        running.slow("blue", 60)
        asking = [pool.submit(ask, running) for _ in range(3)]
        while running.snapshot().deployments[0].in_flight < 3:
            assert not any(one.done() for one in asking)
        running.stop()
        assert all(isinstance(one.exception(), OSError) for one in asking)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_a_program_that_forgets_to_stop(tmp_path: Path) -> None:
    """A rehearsal ends quietly with its interpreter, and leaves nothing."""
    folder = write_export(tmp_path)
    code = f"from hybridmodel.deploy import rehearse; rehearse({str(folder)!r}, server='embedded')"
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not files_of(folder).exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            r'parameters { key: "EXECUTION\x5fENV_PATH" value { string_value: "/e" } }',
            "a Python of",
        ),
        ('parameters: [{ key: "EXECUTION_ENV_PATH" }]', "a Python of its own"),
        ("name: }", "line 1: '}' where"),
        (None, "is a link that leads out of the folder"),
    ],
    ids=["escaped", "list", "broken", "link"],
)
def test_configurations_that_are_refused(tmp_path: Path, config: str | None, words: str) -> None:
    """Triton's python backend runs what a configuration names, so a rehearsal reads it first."""
    file = write_repository(tmp_path) / "digits/config.pbtxt"
    file.unlink()
    if config is None:
        (tmp_path / "other").touch()
        file.symlink_to(tmp_path / "other")
    else:
        file.write_text(config)
    with pytest.raises(ConfigurationError, match=words):
        servers.read_repository(tmp_path / "models")


def test_nothing_but_models_comes_to_triton(tmp_path: Path) -> None:
    """Libraries, modules and compiled ones beside a model would be loaded instead of ours."""
    model = write_repository(tmp_path) / "digits"
    for name in ("libtriton_python.so", "1/libtriton_python.so", "1/numpy.py", "labels.txt"):
        (model / name).touch()
    (model / "1/__pycache__").mkdir()
    config = model / "config.pbtxt"
    config.write_text(f'{config.read_text()}\n  default_model_filename: "numpy.py"')
    made = through_python(model, tmp_path / "new")
    files = sorted(path.relative_to(made).as_posix() for path in made.rglob("*"))
    assert files == ["1", "1/model.onnx", "1/model.py", "config.pbtxt", "labels.txt"]
    # Given twice, it makes Triton refuse the model.
    assert made.joinpath("config.pbtxt").read_text().count("default_model_filename:") == 2
