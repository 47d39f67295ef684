"""Large tensors in shared memory: what lies there, who may see it, and that nothing is left."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import AuthenticationFailed, EndpointTimeout, ProtocolError, TritonEndpoint
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.shared_memory import segments, sharing
from hybridmodel.remote.shared_memory.plan import LEAST_BYTES, plan_for
from hybridmodel.remote.shared_memory.pool import Pool
from tests.support.near_server import LARGE, SMALL, SPEC, NearServer

pytestmark = pytest.mark.skipif(not segments.are_possible(), reason="only with /dev/shm")

REGION = "shared_memory_region"


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the segments of a test names of their own, which other processes do not sweep."""
    found = f"hybridmodel-test-{os.getpid()}-{os.urandom(4).hex()}-"
    monkeypatch.setattr(segments, "PREFIX", found)
    return found


@pytest.fixture
def server(prefix: str) -> Iterator[NearServer]:
    """Run a server that must have forgotten all regions in the end, and files must be gone."""
    with NearServer() as running:
        yield running
        gc.collect()
    assert left(prefix) == []


def left(prefix: str) -> list[Path]:
    """Return the segments of a test."""
    return sorted(segments.FOLDER.glob(f"{prefix}*"))


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def asked(client: EndpointClient, array: Any = LARGE, timeout_s: float = 30.0) -> Any:
    """Ask for the double of an array, and check it."""
    answer = client.infer({"x": array}, ["y"], rows=len(array), timeout_s=timeout_s)
    np.testing.assert_array_equal(answer.outputs["y"], 2 * array)
    return answer


@pytest.fixture
def client(server: NearServer) -> Iterator[EndpointClient]:
    """Make a client that is closed in the end."""
    made = EndpointClient(server.endpoint(), SPEC)
    yield made
    made.close()
    assert server.regions == {} or "unregister" in server.refused


def test_large_tensors_lie_in_a_segment_that_only_its_owner_can_open(
    server: NearServer, client: EndpointClient, prefix: str
) -> None:
    """The message says where; the file has an unguessable name, mode 0600, and serves again."""
    for _ in range(3):
        asked(client)
    (path,) = left(prefix)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.name) == len(prefix) + 32
    assert server.orders == [("register", path.name)]
    assert max(server.sizes) < 1_000
    for request in server.asked:
        for item in (*request["inputs"], *request["outputs"]):
            assert item["parameters"][REGION] == path.name


def test_small_tensors_stay_in_the_message(server: NearServer, client: EndpointClient) -> None:
    """Nothing is registered for two rows."""
    asked(client, SMALL)
    assert server.orders == []
    assert "binary_data_size" in server.asked[0]["inputs"][0]["parameters"]


def test_answers_belong_to_the_caller(client: EndpointClient) -> None:
    """A later call writes into the same segment, and not into what was handed out."""
    first = asked(client).outputs["y"]
    kept = first.copy()
    asked(client, LARGE + 1)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    assert first.flags.writeable


def test_arrays_that_are_not_contiguous_are_copied_once_into_the_segment(
    client: EndpointClient,
) -> None:
    """Turned and cut arrays arrive as they look."""
    asked(client, np.asfortranarray(LARGE))
    asked(client, LARGE[::-1])


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_a_server_that_takes_no_regions_gets_the_tensors_themselves(
    status: int, server: NearServer, prefix: str
) -> None:
    """It is asked once, then again a minute later."""
    clock = Clock()
    client = EndpointClient(server.endpoint(), SPEC, clock=clock)
    server.refused = {"register": status}
    for _ in range(3):
        assert asked(client).attempts == 1
    assert [order for order, _ in server.orders] == ["register"]
    assert left(prefix) == []
    server.refused = {}
    clock.now += 61
    asked(client)
    assert len(server.regions) == 1
    client.close()
    assert server.regions == {}


def test_a_server_that_was_restarted_gets_the_tensors_once_then_a_new_region(
    server: NearServer, client: EndpointClient
) -> None:
    """Its 404 for a region that it no longer knows is not the caller's."""
    asked(client)
    server.regions.clear()
    assert asked(client).attempts == 2
    assert asked(client).attempts == 1
    assert len(server.regions) == 1


def test_a_refused_request_is_sent_once_without_memory(server: NearServer) -> None:
    """Another refusal may be about the region, so the next seconds go without."""
    clock = Clock()
    client = EndpointClient(server.endpoint(), SPEC, clock=clock)

    def refuse(request: dict[str, Any]) -> tuple[int, bytes] | None:
        shared = REGION in request["inputs"][0]["parameters"]
        return (400, b'{"error":"no"}') if shared else None

    server.trouble = refuse
    assert asked(client).attempts == 2
    assert asked(client).attempts == 1
    server.trouble = None
    clock.now += 6
    asked(client)
    assert len(server.regions) == 1
    client.close()


def test_a_refused_key_is_the_callers(server: NearServer, client: EndpointClient) -> None:
    """A 401 is not answered by sending the tensors as well."""
    server.trouble = lambda _: (401, b'{"error":"no"}')
    with pytest.raises(AuthenticationFailed):
        asked(client)
    assert len(server.asked) == 1


def test_an_output_that_was_not_written_is_an_error(
    server: NearServer, client: EndpointClient
) -> None:
    """What lay in the segment before is never taken for an answer."""
    asked(client)

    def forget(request: dict[str, Any]) -> tuple[int, bytes]:
        told = {"name": "y", "datatype": "FP32", "shape": list(LARGE.shape)}
        answer = b'{"id":"%s","outputs":[%s]}'
        return 200, answer.replace(b"%s", request["id"].encode(), 1).replace(
            b"%s", str(told).replace("'", '"').encode()
        )

    server.trouble = forget
    with pytest.raises(ProtocolError, match="not written into the shared memory"):
        asked(client)
    # Perhaps it only says that it knows the region; in the message, it cannot be mistaken.
    server.trouble = None
    asked(client)
    assert "parameters" in server.asked[-1]["inputs"][0]
    assert REGION not in server.asked[-1]["inputs"][0]["parameters"]


def test_a_segment_of_a_call_whose_time_is_over_is_not_used_again(
    server: NearServer, client: EndpointClient, prefix: str
) -> None:
    """The server may still write into it, so its name goes at once, and the region when it can."""
    over = threading.Event()

    def hold(_: object) -> None:
        over.wait(30)

    server.trouble = hold
    with pytest.raises(EndpointTimeout):
        asked(client, timeout_s=0.3)
    assert left(prefix) == []
    (region,) = server.regions
    server.refused = {"unregister": 500}
    over.set()
    asked(client)
    assert region in server.regions, "in use, says the server"
    server.refused = {}
    client.close()
    assert server.regions == {}


def test_close_leaves_nothing_and_the_next_call_begins_anew(
    server: NearServer, client: EndpointClient, prefix: str
) -> None:
    """No file, no region, no descriptor."""
    asked(client)
    before = len(list(Path("/proc/self/fd").iterdir()))
    client.close()
    assert left(prefix) == []
    assert server.regions == {}
    assert len(list(Path("/proc/self/fd").iterdir())) < before
    asked(client)
    assert len(left(prefix)) == 1


def test_a_client_that_is_collected_leaves_nothing(server: NearServer, prefix: str) -> None:
    """Without `close` as well, a moment later."""
    client = EndpointClient(server.endpoint(), SPEC)
    asked(client)
    del client
    gc.collect()
    until = time.monotonic() + 20
    while (left(prefix) or server.regions) and time.monotonic() < until:
        time.sleep(0.01)
    assert (left(prefix), server.regions) == ([], {})


@pytest.mark.parametrize("how", ["full", "small"])
def test_without_room_the_tensors_go_in_the_message(
    how: str,
    server: NearServer,
    client: EndpointClient,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full file system is found out before memory is touched, which would end the process."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if how == "full":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        small = os.statvfs_result((4096, 4096, 100, 10, 10, 0, 0, 0, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _: small)
    assert asked(client).attempts == 1
    assert server.orders == []
    assert left(prefix) == []


def test_threads_have_segments_of_their_own(
    server: NearServer, client: EndpointClient, prefix: str
) -> None:
    """Sixteen at once get sixteen right answers, and few segments are kept."""
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda at=at: found.append(asked(client, LARGE + at)))
        for at in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(left(prefix)) <= 4


def test_coroutines_share_memory_too(client: EndpointClient, prefix: str) -> None:
    """Several at once on one loop get right answers; a large copy is made in a thread."""
    pytest.importorskip("greenlet")
    from hybridmodel.process import loops

    many = np.concatenate([LARGE] * 12)

    async def all_of_them() -> None:
        arrays = [LARGE, LARGE + 1, many]
        await asyncio.gather(
            *(loops.run(lambda array=array: asked(client, array)) for array in arrays)
        )

    asyncio.run(all_of_them())
    assert len(left(prefix)) == 3


def test_a_cancelled_coroutine_gives_its_segment_up(
    server: NearServer, client: EndpointClient, prefix: str
) -> None:
    """As a call whose time is over: the server may still be writing."""
    pytest.importorskip("greenlet")
    from hybridmodel.process import loops

    over = threading.Event()

    def hold(_: object) -> None:
        over.wait(30)

    server.trouble = hold

    async def cancelled() -> None:
        task = asyncio.ensure_future(loops.run(lambda: asked(client)))
        while not server.asked:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert left(prefix) == []
    over.set()


def test_all_segments_together_have_a_bound(prefix: str) -> None:
    """Beyond it, requests carry their tensors; free segments make room before."""
    pool = Pool()
    kept = pool.make(1 << 27)
    assert kept is not None
    other = pool.make(1 << 27)
    assert other is not None
    assert pool.make(1) is None
    pool.give_back(kept)
    assert pool.take(1) is None, "far too large for it"
    assert pool.make(1) is not None
    pool.clear()
    assert left(prefix) == []
    assert len(pool.names_to_forget()) == 3


def test_a_fork_leaves_the_segments_of_its_parent_alone(
    server: NearServer, client: EndpointClient, prefix: str
) -> None:
    """The child makes its own and removes only these; the parent goes on with its own."""
    asked(client)
    (path,) = left(prefix)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asked(client)
            assert len(left(prefix)) == 2
            client.close()
            sharing._close_all()
            assert left(prefix) == [path]
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    asked(client)
    assert left(prefix) == [path]


def test_what_a_killed_process_leaves_the_next_start_removes(
    server: NearServer, prefix: str
) -> None:
    """Its segment and its region go with the first large call of another; living ones stay."""
    endpoint = server.endpoint()
    child = os.fork()
    if child == 0:
        try:
            asked(EndpointClient(endpoint, SPEC))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    (dead,) = left(prefix)
    living, new = EndpointClient(endpoint, SPEC), EndpointClient(endpoint, SPEC)
    asked(living)
    assert dead not in left(prefix)
    assert dead.name not in server.regions
    asked(new)
    assert len(left(prefix)) == 2
    living.close()
    new.close()


def test_a_server_that_hangs_does_not_hold_up_the_end(
    server: NearServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All farewells together have one second; files go in any case."""
    clients = [EndpointClient(server.endpoint(), SPEC) for _ in range(5)]
    for client in clients:
        asked(client)
    monkeypatch.setattr(sharing, "_FAREWELL_S", 0.1)
    over = threading.Event()
    monkeypatch.setattr(server, "_order", lambda *_: (over.wait(30), (200, b""))[1])
    started = time.monotonic()
    sharing._close_all()
    assert time.monotonic() - started < 4
    assert left(prefix) == []
    over.set()


def test_a_segment_that_is_swept_while_it_is_made_is_not_used(
    server: NearServer, client: EndpointClient, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cannot lock its own file goes without."""
    monkeypatch.setattr(segments, "_locked", lambda _: False)
    asked(client)
    assert server.orders == []
    assert left(prefix) == []


EXITS = """
import numpy as np, sys
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.shared_memory import segments
from tests.support.near_server import LARGE, SPEC
from hybridmodel import TritonEndpoint
segments.PREFIX = sys.argv[2]
endpoint = TritonEndpoint(uri=sys.argv[1], model_name="m", auth_key_env=None, binary=True)
client = EndpointClient(endpoint, SPEC)
client.infer({"x": LARGE}, ["y"], rows=len(LARGE))
assert list(segments.FOLDER.glob(sys.argv[2] + "*"))
"""


def test_the_end_of_the_interpreter_leaves_nothing(server: NearServer, prefix: str) -> None:
    """A script that closes nothing leaves neither a file nor a region."""
    subprocess.run([sys.executable, "-c", EXITS, server.uri, prefix], check=True)
    assert len(server.orders) == 2
    assert (left(prefix), server.regions) == ([], {})


@pytest.mark.parametrize("uri", ["http://127.0.0.1:8000", "https://a.example"])
def test_other_servers_are_never_asked_for_it(uri: str) -> None:
    """A port may lead anywhere, so only sockets and own servers share memory."""
    client = EndpointClient(TritonEndpoint(uri=uri, model_name="m"), SPEC)
    assert client._sharing is None


def test_it_can_be_turned_off(server: NearServer) -> None:
    """With ``shared_memory=False`` every tensor is in the message."""
    client = EndpointClient(server.endpoint(shared_memory=False), SPEC)
    asked(client)
    assert server.orders == []
    client.close()


@given(
    st.lists(st.sampled_from([1, LEAST_BYTES - 1, LEAST_BYTES, 3 * LEAST_BYTES + 1]), max_size=5),
    st.lists(st.integers(LEAST_BYTES, 1 << 22), max_size=4),
)
def test_no_two_tensors_share_a_byte(inputs: list[int], outputs: list[int]) -> None:
    """Whatever is large has a place of its own, aligned, inside of the segment."""
    feeds = {f"x{at}": np.zeros(size, np.uint8) for at, size in enumerate(inputs)}
    plan = plan_for(feeds, [(f"y{at}", size) for at, size in enumerate(outputs)])
    large = [size for size in inputs if size >= LEAST_BYTES] + outputs
    if plan is None:
        assert not large
        return
    found = [*plan.inputs.values(), *plan.outputs.values()]
    assert [extent.size_bytes for extent in found] == large
    for before, extent in pairwise(found):
        assert before.end <= extent.start
    assert all(extent.start % 64 == 0 for extent in found)
    assert found[-1].end <= plan.size_bytes
