"""The real Triton as a child process: how it starts, what it serves, and that nothing stays."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession
from hybridmodel.serving import TritonServer, repository, triton, triton_access, triton_files
from hybridmodel.serving.triton_files import unsupported
from tests.support import models
from tests.support.paths import ROOT
from tests.support.processes import holds_processes
from tests.support.wire import Answer, Call, ask, tensor

needs_triton = pytest.mark.skipif(unsupported() is not None, reason=str(unsupported()))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Send the servers' temporary folders to a place of their own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


class Traces:
    """What there is of a running server: processes, shared memory, folder."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.processes = [pid, *group(pid)]
        self.handles = [os.pidfd_open(one) for one in self.processes]
        self.folder = folder
        self.shared = f"{folder.name}*"
        self.crumbs = set(Path("/tmp").glob("python_env_*"))

    def wait_until_gone(self, timeout_s: float = 20.0) -> None:
        """Wait for the end of all processes, and check that they left nothing."""
        for pid, handle in zip(self.processes, self.handles, strict=True):
            assert select.select([handle], [], [], timeout_s)[0], f"process {pid} is still there"
            os.close(handle)

    def check_files(self) -> None:
        """Check that neither files nor shared memory are left."""
        assert not self.folder.exists()
        assert not list(Path("/dev/shm").glob(self.shared))
        assert set(Path("/tmp").glob("python_env_*")) <= self.crumbs


def group(leader: int) -> list[int]:
    """List the processes of a process group, and the leader's parent."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == leader and int(status.parent.name) != leader:
            found.append(int(status.parent.name))
        if int(status.parent.name) == leader:
            found.append(int(fields[1]))
    return found


def traces(server: TritonServer) -> Traces:
    """Note what there is of a server."""
    assert server.pid is not None
    assert server._folder is not None
    return Traces(server.pid, server._folder)


def row(server: TritonServer, name: str = "m") -> Answer:
    """Ask an identity model."""
    return Call(name, {"inputs": [tensor("x", "FP32", [[1.0, 2.0, 3.0]])[0]]}).send(server.port)


@needs_triton
def test_with_block_leaves_nothing(folders: Path) -> None:
    """After the block there is no process, no file, no shared memory; the log can still be read."""
    with TritonServer({"m": models.identity()}) as server:
        left = traces(server)
        assert len(left.processes) >= 3, "the server, its supervisor and its python process"
        assert list(Path("/dev/shm").glob(left.shared))
        assert row(server).outputs["y"].tolist() == [[1.0, 2.0, 3.0]]
        assert server.uri in repr(server)
        assert server.endpoint("m").uri == server.uri
        assert server.endpoint("m").auth_key_env is None
    left.wait_until_gone()
    left.check_files()
    assert list(folders.iterdir()) == []
    assert "Started HTTPService" in server.log
    assert server.pid is None
    server.stop()


@needs_triton
def test_exception_leaves_nothing(folders: Path) -> None:
    """An exception in the block ends the server and is passed on."""
    left = []

    def fail() -> None:
        with TritonServer({"m": models.identity()}) as server:
            left.append(traces(server))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    left[0].wait_until_gone()
    left[0].check_files()


@needs_triton
@pytest.mark.parametrize("moment", ["ask", "_reserved", "write_model"])
def test_interrupted_start_leaves_nothing(
    folders: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Ctrl-C in the middle of start-up ends what has been started."""
    server = TritonServer({"m": models.identity()})
    real, left = getattr(triton, moment), []

    def interrupted(*args: Any, **options: Any) -> Any:
        if server.pid is not None:
            left.append(traces(server))
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **options)

    monkeypatch.setattr(triton, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert bool(left) == (moment == "ask")
    for one in left:
        one.wait_until_gone()
        one.check_files()
    assert list(folders.iterdir()) == []


OWNER = """
import os, sys, threading
from hybridmodel.serving import TritonServer
from tests.support import models
server = TritonServer({"m": models.identity()})
thread = threading.Thread(target=server.start)
thread.start()
thread.join()
if sys.argv[1] == "fork" and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print(server.pid, server._folder, flush=True)
if sys.argv[1] != "end":
    sys.stdin.read()
"""


def start_owner(mode: str, folder: Path) -> subprocess.Popen[str]:
    """Start a program that starts a server in a thread that ends."""
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        cwd=ROOT,
    )


@needs_triton
@pytest.mark.parametrize("mode", ["wait", "fork"])
def test_killed_owner_leaves_nothing(tmp_path: Path, mode: str) -> None:
    """When the program is killed (SIGKILL), the server goes too, even if a fork of it lives on."""
    with start_owner(mode, tmp_path) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        left = Traces(int(pid), Path(folder))
        owner.kill()
        left.wait_until_gone()
    left.check_files()


@needs_triton
def test_forgotten_server_ends_with_the_program(tmp_path: Path) -> None:
    """A program that ends without stopping its server leaves nothing when it has ended."""
    with start_owner("end", tmp_path) as owner:
        printed, _ = owner.communicate()
    pid, folder = printed.split()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    assert not Path(folder).exists()


@needs_triton
def test_killed_server_is_noticed(folders: Path) -> None:
    """After kill() nobody answers, nothing is left, and the server can be started again."""
    server = TritonServer({"m": models.identity()})
    with server:
        left, port = traces(server), server.port
        server.kill()
        left.wait_until_gone()
        left.check_files()
        with pytest.raises(ConnectionRefusedError):
            row(server)
        server.start()
        assert server.port == port
        assert row(server).status == 200
        with pytest.raises(ConfigurationError, match="is already running"):
            server.start()


@needs_triton
def test_failed_start_shows_the_log(
    folders: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When a model keeps the server from starting, the error holds the server's own words."""
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('the reason why')")
    monkeypatch.setattr(repository, "_PYTHON_MODEL", broken)
    server = TritonServer({"m": models.identity()})
    with pytest.raises(ConfigurationError, match="the reason why"):
        server.start()
    assert server.pid is None
    assert list(folders.iterdir()) == [broken]


@needs_triton
def test_slow_start_is_given_up(folders: Path) -> None:
    """A server that is not ready in time is ended."""
    server = TritonServer({"m": models.identity()}, start_timeout_s=0.01)
    with pytest.raises(ConfigurationError, match=r"not ready after 0\.01 s"):
        server.start()
    assert list(folders.iterdir()) == []


@needs_triton
def test_taken_port_is_refused(triton: TritonServer) -> None:
    """A port on which another server listens is not shared with it."""
    with pytest.raises(ConfigurationError, match=f"port {triton.port}"):
        TritonServer({}, port=triton.port).start()


@needs_triton
def test_two_servers_and_explicit_control(triton: TritonServer) -> None:
    """Servers run side by side; an explicit one serves what was loaded, until it is unloaded."""
    with TritonServer({"m": models.identity()}, explicit=True) as server:
        assert server.port != triton.port
        assert row(server).status == 404
        server.load("m")
        assert row(server).status == 200
        server.unload("m")
        with pytest.raises(ConfigurationError, match="nobody"):
            server.load("nobody")
    assert row(triton, "identity_FP32").status == 200


RESTRICTED = [
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/m/load"),
    ("POST", "/v2/repository/models/m/unload"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("POST", "/v2/systemsharedmemory/region/mine/register"),
    ("POST", "/v2/systemsharedmemory/unregister"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("POST", "/v2/cudasharedmemory/region/mine/register"),
    ("GET", "/v2/trace/setting"),
    ("POST", "/v2/trace/setting"),
    ("POST", "/v2/models/m/trace/setting"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
]


@needs_triton
@pytest.mark.parametrize(("method", "path"), RESTRICTED)
def test_strangers_control_nothing(triton: TritonServer, method: str, path: str) -> None:
    """Whoever reaches the port may ask models, and neither read nor change anything else."""
    for headers in ({}, {triton_access.HEADER: ""}, {triton_access.HEADER: "(key)"}):
        answer = ask(triton.port, method, path, b"{}", headers)
        assert answer.status == 403
        assert triton._key.headers()[triton_access.HEADER] not in answer.body.decode()
    assert ask(triton.port, method, path, b"{}", triton._key.headers()).status != 403


GRPC_STRANGER = """
import sys
from tritonclient import grpc
calls = ["load_model m", "unload_model m", "get_model_repository_index", "get_log_settings",
         "get_system_shared_memory_status", "register_system_shared_memory r /k 4",
         "get_trace_settings"]
with grpc.InferenceServerClient(sys.argv[1]) as client:
    print(client.is_server_live())
    for name, *words in map(str.split, calls):
        try:
            getattr(client, name)(*(int(word) if word.isdigit() else word for word in words))
        except Exception as error:
            print("restricted" in error.message())
"""


@needs_triton
def test_a_server_that_loads_models_obeys_its_owner_only() -> None:
    """An explicit server refuses a stranger's load, over gRPC as well, and does its owner's."""
    with TritonServer({"m": models.identity()}, explicit=True, grpc=True) as server:
        body = {"parameters": {"config": "{}", "file:1/model.py": "cHJpbnQoMSk="}}
        load = "/v2/repository/models/m/load"
        assert ask(server.port, "POST", load, json.dumps(body).encode()).status == 403
        command = [sys.executable, "-c", GRPC_STRANGER, str(server.grpc_address)]
        printed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert printed.stdout == "True\n" * 8, printed.stderr
        assert row(server).status == 404
        server.load("m")
        assert row(server).status == 200
        server.unload("m")


@needs_triton
def test_nobody_sees_the_key() -> None:
    """The key stands in no command line, log or description, and each server has its own."""
    if not holds_processes():
        pytest.skip("ptrace is forbidden here")
    with TritonServer({"m": models.identity()}) as server:
        seen = [line.read_bytes().decode() for line in map(_cmdline, traces(server).processes)]
        assert len(seen) >= 3
        shown = [*seen, server.log, repr(server), repr(vars(server))]
        key = server._key.headers()[triton_access.HEADER]
        assert not any(key in text for text in shown)
        assert any(triton_access.HEADER in line for line in seen)
        assert TritonServer({})._key.headers() != server._key.headers()


@needs_triton
def test_secrets_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of its processes gets the caller's variables, but for the few that it needs."""
    monkeypatch.setenv("DIGITS_API_KEY", "canary-in-the-mine")
    with TritonServer({"m": models.identity()}) as server:
        for pid in traces(server).processes:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            names = {item.split(b"=")[0].decode() for item in environment.split(b"\0") if item}
            assert b"canary" not in environment
            assert {name for name in names if not name.startswith("SUPERVISED_")} <= {
                *triton_files.KEPT_VARIABLES,
                *("PATH", "LD_LIBRARY_PATH"),
                *("PWD", "OLDPWD", "SHLVL", "_"),  # A shell's own.
            }


@needs_triton
def test_only_one_address_listens(triton: TritonServer) -> None:
    """The server listens on 127.0.0.1, and on no other address of the machine."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", triton.port), timeout=5)


def _cmdline(pid: int) -> Path:
    return Path(f"/proc/{pid}/cmdline")


GRPC_CLIENT = """
import sys
import numpy as np
from tritonclient import grpc
with grpc.InferenceServerClient(sys.argv[1]) as client:
    x = grpc.InferInput("x", [1, 3], "FP32")
    x.set_data_from_numpy(np.array([[1, 2, 3]], np.float32))
    print(client.infer("m", [x]).as_numpy("y").tolist())
"""


@needs_triton
def test_grpc_is_there_when_asked(triton: TritonServer) -> None:
    """With grpc=True the server answers over gRPC as well, at an address that it tells."""
    assert triton.grpc_address is None
    with TritonServer({"m": models.identity()}, grpc=True) as server:
        assert row(server).status == 200
        # In a process of its own, since gRPC does not bear being forked, which other tests do.
        command = [sys.executable, "-c", GRPC_CLIENT, str(server.grpc_address)]
        printed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert printed.stdout == "[[1.0, 2.0, 3.0]]\n", printed.stderr


@needs_triton
def test_batches_are_limited_when_asked(folders: Path) -> None:
    """With max_batch_size, shapes stay as in the graph, and Triton refuses more rows."""
    served = {"m": models.identity(), "clf": models.classifier(), "strings": models.strings()}
    with TritonServer(served, max_batch_size=2) as server:
        config = ask(server.port, "GET", "/v2/models/m/config").json
        metadata = ask(server.port, "GET", "/v2/models/m").json
        assert (config["max_batch_size"], config["input"][0]["dims"]) == (2, [3])
        assert metadata["inputs"][0]["shape"] == [-1, 3]
        for rows, status in ((1, 200), (2, 200), (3, 400)):
            x = np.ones((rows, 3), np.float32)
            answer = Call("m", {"inputs": [tensor("x", "FP32", x)[0]]}).send(server.port)
            assert answer.status == status
        x = np.eye(2, 4, dtype=np.float32)
        outputs = Call("clf", {"inputs": [tensor("X", "FP32", x)[0]]}).send(server.port).outputs
        assert [array.shape for array in outputs.values()] == [(2, 1), (2, 3)]
        text = tensor("text", "BYTES", np.array([["a"], ["b"]], dtype=object))[0]
        answer = Call("strings", {"inputs": [text]}).send(server.port)
        assert answer.outputs["shout"].tolist() == [["a!"], ["b!"]]


@needs_triton
def test_only_asked_outputs_are_computed(triton: TritonServer) -> None:
    """Triton's answers agree with onnxruntime's, output by output."""
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    session = LocalSession(models.classifier(zipmap=True))
    for name in session.spec.output_names:
        expected = session.run({"X": x}, [name])[name]
        head = {"inputs": [tensor("X", "FP32", x)[0]], "outputs": [{"name": name}]}
        outputs = Call("zipmap", head).send(triton.port).outputs
        assert list(outputs) == [name]
        np.testing.assert_array_equal(outputs[name], expected)


@pytest.mark.parametrize(
    ("what", "value", "said"),
    [
        ("system", lambda: "Darwin", "this is"),
        ("libc_ver", lambda: ("glibc", "2.31"), "glibc 2.31"),
        ("libc_ver", lambda: ("", ""), "another C library"),
    ],
)
def test_other_platforms_are_told(
    monkeypatch: pytest.MonkeyPatch, what: str, value: Any, said: str
) -> None:
    """Where Triton cannot run, the error says why and names what can."""
    if what == "system":
        monkeypatch.setattr(triton_files.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(triton_files.platform, what, value)
    monkeypatch.setattr(triton_files.sys, "platform", "linux")
    with pytest.raises(ConfigurationError, match=said) as caught:
        TritonServer({}).start()
    assert "hybridmodel.serving.serve()" in str(caught.value)


def test_python_without_shared_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that Triton's python backend cannot load is recognised before anything starts."""
    monkeypatch.setattr(triton_files, "_platform_problem", lambda: None)
    monkeypatch.setattr(triton_files, "_libpython", lambda: None)
    assert "--enable-shared" in str(unsupported())


@needs_triton
def test_statistics_count_requests(triton: TritonServer) -> None:
    """It is the real server: it has Triton's own statistics."""
    before, after = (statistics(triton, send) for send in (False, True))
    assert after == before + 1


def statistics(server: TritonServer, send: bool) -> int:
    """Return the number of requests that a model has answered, after perhaps one more."""
    if send:
        assert row(server, "identity_FP32").status == 200
    stats = json.loads(ask(server.port, "GET", "/v2/models/identity_FP32/stats").body)
    return int(stats["model_stats"][0]["inference_count"])
