"""Code that waits inside a coroutine: its loop goes on, and what it waits for wakes it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from hybridmodel import MissingDependency
from hybridmodel.process import loops
from hybridmodel.process.bounded import Crew, NotDone, call_with_timeout
from hybridmodel.process.parallel import map_unordered
from hybridmodel.process.tickets import Ticket
from tests.support.paths import ROOT

THING: contextvars.ContextVar[Any] = contextvars.ContextVar("thing")
NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


def awaited(function: Callable[[], Any]) -> Any:
    """Run a function in a coroutine of a loop of its own."""
    return asyncio.run(loops.run(function))


def later(seconds: float, function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in another thread."""
    timer = threading.Timer(seconds, function, arguments)
    timer.daemon = True
    timer.start()


def test_it_returns_and_raises_what_the_function_does() -> None:
    """A value comes back, and an error is raised, also after waiting."""
    assert awaited(lambda: 5) == 5

    def fails() -> None:
        loops.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        awaited(fails)


def test_while_one_waits_others_go_on() -> None:
    """Functions that wait take turns in one thread, and each comes back to where it was."""
    seen: list[tuple[str, int]] = []

    def steps(name: str) -> int:
        for step in range(3):
            seen.append((name, step))
            loops.sleep(0.001)
        return threading.get_ident()

    async def both() -> list[int]:
        return await asyncio.gather(*(loops.run(partial(steps, name)) for name in "ab"))

    assert asyncio.run(both()) == [threading.get_ident()] * 2
    assert seen[:2] == [("a", 0), ("b", 0)]
    assert sorted(seen) == [(name, step) for name in "ab" for step in range(3)]


def test_context_variables_are_those_of_the_task() -> None:
    """It sees what its task has set, keeps what it sets itself, and sees nothing of others."""

    def wait_with(name: str) -> str:
        assert NAME.get() == f"task {name}"
        token = NAME.set(name)
        loops.sleep(0.001)
        found = NAME.get()
        NAME.reset(token)
        return found

    async def task(name: str) -> tuple[str, str]:
        NAME.set(f"task {name}")
        return await loops.run(partial(wait_with, name)), NAME.get()

    async def many() -> list[tuple[str, str]]:
        return await asyncio.gather(*map(task, "abc"))

    assert asyncio.run(many()) == [(name, f"task {name}") for name in "abc"]


def test_cancelling_ends_a_wait_at_once() -> None:
    """`CancelledError` is raised where it waits, so that its cleaning up is done."""
    cleaned = []

    def waits() -> None:
        try:
            loops.sleep(60)
        finally:
            cleaned.append(True)

    async def cancel() -> None:
        tasks = [asyncio.ensure_future(loops.run(waits)) for _ in range(1000)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)

    started = time.monotonic()
    asyncio.run(cancel())
    assert time.monotonic() - started < 20
    assert len(cleaned) == 1000


def test_a_timeout_around_it_ends_a_wait() -> None:
    """`asyncio.timeout` works as around any coroutine."""

    async def limited() -> None:
        async with asyncio.timeout(0.01):
            await loops.run(partial(loops.sleep, 60))

    with pytest.raises(TimeoutError):
        asyncio.run(limited())


@pytest.mark.parametrize("timeout_s", [0.01, 0.15, None])
def test_a_ticket_is_resolved_by_another_thread(timeout_s: float | None) -> None:
    """Its outcome wakes the coroutine; until then the loop is free."""

    def wait_for_it() -> bool:
        ticket: Ticket[int] = Ticket()
        later(0.02 if timeout_s is None else 10.0, ticket.set_result, 1)
        return ticket.wait(timeout_s)

    assert awaited(wait_for_it) is (timeout_s is None)


def test_many_waits_end_at_their_own_time() -> None:
    """One timer serves all long waits of a loop, and stops when nobody waits any more."""
    seconds = [0.1, 0.15, 0.2]

    def wait_one(timeout_s: float) -> tuple[bool, float]:
        started = time.monotonic()
        return Ticket[int]().wait(timeout_s), time.monotonic() - started

    async def all_of_them() -> bool:
        found = await asyncio.gather(*(loops.run(partial(wait_one, s)) for s in seconds))
        for (done, took_s), wanted_s in zip(found, seconds, strict=True):
            assert not done
            assert took_s >= wanted_s
        await asyncio.sleep(0.05)
        return loops._homes[asyncio.get_running_loop()].alarm._is_ticking

    assert asyncio.run(all_of_them()) is False


def test_who_comes_too_late_disturbs_nobody() -> None:
    """A ticket may be resolved after its loop was closed."""
    ticket: Ticket[int] = Ticket()
    assert awaited(partial(ticket.wait, 0.01)) is False
    resolver = threading.Thread(target=ticket.set_result, args=(1,))
    resolver.start()
    resolver.join()
    assert ticket.result() == 1


class NoSockets(asyncio.SelectorEventLoop):
    """A loop that cannot wait for sockets of others, as Windows' own."""

    def add_reader(self, *_: Any) -> None:
        """Refuse."""
        raise NotImplementedError

    remove_reader = add_writer = remove_writer = add_reader  # type: ignore[assignment]


@pytest.mark.parametrize("factory", [asyncio.SelectorEventLoop, NoSockets])
@pytest.mark.parametrize("events", [selectors.EVENT_READ, selectors.EVENT_READ | 2, 2])
def test_a_socket_is_waited_for(factory: Any, events: int) -> None:
    """What comes wakes it, and so does room to write."""
    ours, theirs = socket.socketpair()
    with ours, theirs, asyncio.Runner(loop_factory=factory) as runner:
        if events == selectors.EVENT_READ:
            later(0.02, theirs.send, b"x")
        started = time.monotonic()
        wait = partial(loops.wait_for_socket, ours.fileno(), events, 20.0)
        runner.run(loops.run(wait))
        assert time.monotonic() - started < 10
        if events == selectors.EVENT_READ:
            assert ours.recv(1) == b"x"


def test_a_cancelled_wait_lets_go_of_the_socket() -> None:
    """Nobody is called for a socket that nobody waits for, which may be closed by now."""
    ours, theirs = socket.socketpair()

    async def cancelled() -> None:
        wait = partial(loops.wait_for_socket, ours.fileno(), selectors.EVENT_READ, 20.0)
        task = asyncio.ensure_future(loops.run(wait))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().remove_reader(ours.fileno()) is False

    with ours, theirs:
        asyncio.run(cancelled())


def test_long_work_goes_to_a_thread() -> None:
    """There it may block, has the task's variables, and what it raises comes back."""

    def work() -> tuple[int, str, object]:
        return threading.get_ident(), NAME.get(), loops.current_loop()

    async def task() -> tuple[int, str, object]:
        NAME.set("task")
        found = await loops.run(partial(loops.apart, work))
        with pytest.raises(ZeroDivisionError):
            await loops.run(partial(loops.apart, lambda: 1 // 0))
        return found

    ident, name, loop = asyncio.run(task())
    assert ident != threading.get_ident()
    assert (name, loop) == ("task", None)


def test_a_thread_is_not_changed_by_loops_elsewhere() -> None:
    """Outside of `run` everything blocks as ever, in the thread of a loop as well."""
    awaited(lambda: None)
    assert loops.current_loop() is None
    assert loops.apart(threading.get_ident) == threading.get_ident()
    loops.sleep(0.0)
    done: Future[int] = Future()
    assert loops.wait_for(done, 0.001) is False
    done.set_result(1)
    assert loops.wait_for(done, 0.001) is True

    async def plain() -> object:
        return loops.current_loop()

    assert asyncio.run(plain()) is None


def test_two_loops_in_two_threads_wait_each_for_itself() -> None:
    """A ticket that is resolved on one loop wakes a coroutine of the other."""
    ticket: Ticket[str] = Ticket()
    found: list[bool] = []
    other = threading.Thread(target=lambda: found.append(awaited(partial(ticket.wait, 20.0))))
    other.start()

    def resolve() -> None:
        loops.sleep(0.01)
        ticket.set_result("here")

    awaited(resolve)
    other.join()
    assert found == [True]


def test_a_crew_works_for_coroutines() -> None:
    """Threads of a crew are awaited: for a time, for room, and for several results."""
    crew = Crew(1)

    def ask() -> tuple[list[int], int]:
        free = threading.Event()
        with pytest.raises(NotDone):
            call_with_timeout(0.01, partial(free.wait, 10), crew=crew, name="test")
        later(0.02, free.set)
        # The one thread is still in use; this waits for room.
        value = call_with_timeout(10, lambda: 7, crew=crew, name="test")
        several = map_unordered(lambda x: 2 * x, range(5), 3, crew=Crew(3), name="test")
        return sorted(several), value

    assert awaited(ask) == ([0, 2, 4, 6, 8], 7)
    assert not crew._waiting


def test_work_that_was_begun_ends_with_its_loop() -> None:
    """What runs beside a coroutine goes on after it, and is cancelled when the loop ends."""
    ended: list[str] = []

    def beside(seconds: float) -> None:
        try:
            loops.sleep(seconds)
            ended.append("done")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    def begin() -> None:
        loops.start(partial(beside, 0.0))
        loops.start(partial(beside, 60.0))

    async def both() -> None:
        await loops.run(begin)
        gc.collect()
        await asyncio.sleep(0.02)

    asyncio.run(both())
    assert ended == ["done", "cancelled"]
    assert not loops._started


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are eager from Python 3.12 on")
def test_eager_tasks_may_begin_anywhere() -> None:
    """A task that takes its first step inside of another's function goes on by itself."""
    seen: list[str] = []

    def beside(name: str) -> None:
        for step in range(3):
            loops.sleep(0.001)
            seen.append(f"{name} {step}")

    def begins() -> str:
        loops.start(partial(beside, "inner"))
        beside("outer")
        return "done"

    async def both() -> str:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        found = await loops.run(begins)
        await asyncio.sleep(0.02)
        return found

    assert asyncio.run(both()) == "done"
    assert sorted(seen) == [f"{name} {step}" for name in ("inner", "outer") for step in range(3)]


def test_a_coroutine_that_is_closed_cleans_up() -> None:
    """Whoever stops driving a coroutine lets the function inside end."""
    cleaned = []

    def waits() -> None:
        try:
            loops.sleep(60)
        finally:
            cleaned.append(True)

    async def closed() -> None:
        coroutine = loops.run(waits)
        coroutine.send(None)
        coroutine.close()

    asyncio.run(closed())
    assert cleaned == [True]


def test_without_greenlet_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setattr(loops, "_getcurrent", None)
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(MissingDependency, match=r"pip install 'hybridmodel\[async\]'"):
        awaited(lambda: None)


def test_nobody_else_pays_for_it() -> None:
    """`import hybridmodel` imports neither asyncio nor greenlet."""
    code = "import hybridmodel, sys; print({'asyncio', 'greenlet'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def stacks() -> int:
    """Count the stacks that there are."""
    return sum(type(item) is loops._guest_type for item in gc.get_objects())


def test_a_stack_that_is_kept_keeps_nothing_alive() -> None:
    """Stacks are used again, but neither data, nor errors, nor a loop stay with them."""

    class Thing:
        pass

    left: list[weakref.ref[Any]] = []
    used: set[int] = set()

    def work(thing: Thing, error: Exception | None) -> Thing:
        THING.set(thing)
        left.append(weakref.ref(thing))
        used.add(id(loops._inside()))
        if error is not None:
            raise error
        return thing

    async def some() -> None:
        left.append(weakref.ref(asyncio.get_running_loop()))
        other = asyncio.ensure_future(loops.run(partial(loops.sleep, 60)))
        await asyncio.sleep(0)
        await asyncio.create_task(loops.run(partial(work, Thing(), None)))
        with pytest.raises(KeyError):
            await asyncio.create_task(loops.run(partial(work, Thing(), KeyError("x"))))
        await asyncio.sleep(0)  # The loop itself has the task in hand until then.
        gc.collect()
        assert [thing() for thing in left[1:]] == [None, None]
        other.cancel()

    asyncio.run(some())
    gc.collect()
    assert left[0]() is None
    assert len(used) == 1


def test_no_stack_is_left_without_calls() -> None:
    """Neither of a loop that goes on, nor of one whose thread has ended."""

    async def many() -> int:
        await asyncio.gather(*(loops.run(partial(loops.sleep, 0.001)) for _ in range(50)))
        return stacks()

    before = stacks()
    other = threading.Thread(target=lambda: asyncio.run(many()))
    other.start()
    other.join()
    assert asyncio.run(many()) == before
    gc.collect()
    assert stacks() == before


BLOCKS = re.compile(
    r"time\.sleep\b|\bCondition\(|\.acquire\(timeout|\.get\(timeout|\.result\(\w|Semaphore\("
)
OWN_THREADS = {"process/background.py", "process/workers.py"}
BELOW = {"process/loops.py", "process/tickets.py"}


def test_whatever_a_call_passes_through_waits_by_these_means() -> None:
    """What blocks a thread by itself would block a loop; only threads of their own may do so."""
    package = ROOT / "hybridmodel"
    rooms = ("remote", "routing", "process", "data", "local")
    found = {
        path.relative_to(package).as_posix()
        for room in rooms
        for path in (package / room).rglob("*.py")
        if BLOCKS.search(path.read_text(encoding="utf-8"))
    }
    assert found == OWN_THREADS | BELOW


def test_a_greenlet_of_another_library_is_no_coroutine() -> None:
    """That of gevent has a loop as well, which is not asyncio's: there, everything blocks."""
    awaited(lambda: None)
    greenlet = pytest.importorskip("greenlet")

    class Theirs(greenlet.greenlet):  # type: ignore[misc,name-defined]
        loop = object()

    def ask() -> tuple[Any, int]:
        loops.sleep(0.001)
        return loops.current_loop(), loops.apart(lambda: threading.get_ident())

    assert Theirs(ask).switch() == (None, threading.get_ident())
