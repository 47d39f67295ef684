"""Code that waits, inside a coroutine: while it waits, its event loop does other work.

`run` calls a function in a greenlet, a second stack in the same thread. Wherever that function
would block the thread, it waits by what this module offers: it switches to the coroutine, which
awaits, and comes back. So one text serves threads and coroutines. Outside of `run` the same
functions block, as in any thread. No lock may be held across a wait.
"""

from __future__ import annotations

import contextvars
import selectors
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from hybridmodel.exceptions import MissingDependency

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

T = TypeVar("T")

_LONGEST_S = 0.25
"""The longest single wait of a thread: a signal may reach another than the one that handles it."""

_TICK_S = 0.01
"""How late a wait of a tenth of a second or more may end."""

_MOST_IDLE = 256
"""Greenlets that one loop keeps; each has about 20 kB."""

_getcurrent: Callable[[], Any] | None = None
"""greenlet's function, once somebody has called `run`: nobody else pays for greenlet."""

_guest_type: Any = None
_running_loop: Any = None


def current_loop() -> AbstractEventLoop | None:
    """Return the event loop that the running code must not block, None where it may block."""
    if _getcurrent is None:
        return None
    running = _getcurrent()
    # Greenlets of others may have a loop as well, which is not asyncio's.
    return running.loop if type(running) is _guest_type else None


async def run(function: Callable[[], T]) -> T:
    """Return or raise what `function` does, which waits without blocking the event loop.

    Cancelling raises `asyncio.CancelledError` inside of `function`, where it waits. Raises
    `MissingDependency` without greenlet.
    """
    getcurrent = _getcurrent or _import_greenlet()
    host = getcurrent()
    loop = _running_loop()
    home = _homes.get(loop) or _homes.setdefault(loop, _Home())
    guest = home.guest()
    guest.loop, guest.home = loop, home
    # The variables of the task: spans that begin in there have its parent, and end there.
    guest.gr_context = host.gr_context
    guest.function = function
    resume, came = guest.switch, None
    while True:
        # An eager task takes its first step wherever it is made, and the next on the loop.
        if guest.parent is not host:
            guest.parent = host
        came = resume(came)
        if guest.is_idle:
            break
        try:
            resume, came = guest.switch, await came
        except BaseException as error:  # noqa: BLE001 - raised where the function waits
            resume, came = guest.throw, error
        host = getcurrent()
    result: T = home.outcome(guest)
    return result


class _Home:
    """What is kept for one loop, as long as it lives.

    A greenlet is used again as long as any is in use: to make one and its stack takes 9 µs, half as
    much as all else that a coroutine costs a call. Without calls there is none, because only its
    own thread can end it, and that may end first.
    """

    def __init__(self) -> None:
        self.alarm = _Alarm()
        self._idle: list[Any] = []
        self._in_use = 0

    def guest(self) -> Any:
        """Return a greenlet that does nothing."""
        self._in_use += 1
        return self._idle.pop() if self._idle else _guest_type(_serve)

    def outcome(self, guest: Any) -> Any:
        """Return or raise what a greenlet has done, and keep it for others."""
        value, error = guest.value, guest.error
        # An idle greenlet keeps nothing alive, and least of all its loop.
        guest.value = guest.error = guest.loop = guest.home = guest.gr_context = None
        self._in_use -= 1
        if not self._in_use:
            self._idle.clear()
        elif len(self._idle) < _MOST_IDLE:
            self._idle.append(guest)
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # It refers to this frame.


_homes: weakref.WeakKeyDictionary[Any, _Home] = weakref.WeakKeyDictionary()


def _import_greenlet() -> Callable[[], Any]:
    global _getcurrent, _guest_type, _running_loop  # noqa: PLW0603 - known after the first call
    import asyncio

    try:
        from greenlet import getcurrent, greenlet
    except ImportError as error:
        raise MissingDependency(
            "apredict and ainfer need greenlet: pip install 'hybridmodel[async]'"
        ) from error

    class Guest(greenlet):  # type: ignore[misc]
        """Calls functions in coroutines of `loop`, one after the other."""

        __slots__ = ("error", "function", "home", "is_idle", "loop", "value")
        error: BaseException | None
        function: Any
        home: _Home | None
        is_idle: bool
        loop: AbstractEventLoop | None
        value: Any

    _guest_type, _running_loop = Guest, asyncio.get_running_loop
    # The last, because others look at it first.
    _getcurrent = getcurrent
    return _getcurrent


def _serve(_: object) -> None:
    """Call one function after the other, in a greenlet of their coroutines."""
    while True:
        guest = _inside()
        guest.is_idle = False
        guest.value = guest.error = None
        function, guest.function = guest.function, None
        try:
            guest.value = function()
        except BaseException as error:  # noqa: BLE001 - raised by the coroutine
            guest.error = error
        guest.is_idle = True
        host = guest.parent
        # A stack is invisible to the garbage collector: what it refers to, itself above all, stays.
        del function, guest
        host.switch()


def _inside() -> Any:
    """Return the greenlet of the running code; only code inside of `run` has one."""
    assert _getcurrent is not None  # noqa: S101 - see above
    return _getcurrent()


def called_within(timeout_s: float | None, subscribe: Callable[[Callable[..., None]], Any]) -> bool:
    """Wait in a coroutine until somebody calls what `subscribe` gets, and tell if that was in time.

    It may be called from any thread, with any arguments. None waits for ever.
    """
    guest, thread = _inside(), get_ident()
    loop = guest.loop
    future = loop.create_future()

    def call(*_: object) -> None:
        if get_ident() == thread:
            _end(future, True)
            return
        with suppress(RuntimeError):  # The loop is closed, and nobody waits there any more.
            loop.call_soon_threadsafe(_end, future, True)

    forget = None if timeout_s is None else _end_after(guest, future, timeout_s)
    try:
        subscribe(call)
        return bool(guest.parent.switch(future))
    finally:
        if forget is not None:
            forget()


def _end(future: Any, in_time: bool) -> None:
    if not future.done():
        future.set_result(in_time)


def _end_after(guest: Any, future: Any, timeout_s: float) -> Callable[[], Any]:
    """End a wait after so long, unless what this returns is called before."""
    cancel: Callable[[], Any]
    if timeout_s < 10 * _TICK_S:
        cancel = guest.loop.call_later(timeout_s, _end, future, False).cancel
    else:
        cancel = guest.home.alarm.set(guest.loop, future, timeout_s)
    return cancel


class _Alarm:
    """Ends the long waits of one loop by one timer for all: asyncio's cost 3 µs for each wait."""

    def __init__(self) -> None:
        self._ends: dict[Any, float] = {}
        self._is_ticking = False

    def set(self, loop: AbstractEventLoop, future: Any, timeout_s: float) -> Callable[[], object]:
        self._ends[future] = time.monotonic() + timeout_s
        if not self._is_ticking:
            self._is_ticking = True
            loop.call_later(_TICK_S, self._tick, weakref.ref(loop))
        return partial(self._ends.pop, future, None)

    def _tick(self, loop_of: Callable[[], AbstractEventLoop | None]) -> None:
        now = time.monotonic()
        for future in [future for future, end in self._ends.items() if end <= now]:
            _end(future, False)
            self._ends.pop(future, None)
        loop = loop_of()
        self._is_ticking = bool(self._ends) and loop is not None
        if self._is_ticking and loop is not None:
            loop.call_later(_TICK_S, self._tick, loop_of)


def sleep(seconds: float) -> None:
    """Wait so many seconds."""
    if current_loop() is None:
        time.sleep(seconds)
    else:
        called_within(seconds, lambda _: None)


def wait_for(future: Future[Any], timeout_s: float) -> bool:
    """Wait for a thread's future, at most so long or a quarter of a second; tell if it is done."""
    timeout_s = max(0.0, min(timeout_s, _LONGEST_S))
    if current_loop() is None:
        with suppress(TimeoutError):
            future.exception(timeout_s)
        return future.done()
    return called_within(timeout_s, future.add_done_callback)


def wait_for_socket(descriptor: int, events: int, timeout_s: float) -> None:
    """Wait in a coroutine until a socket has one of the events of `selectors`, or for so long."""
    loop: Any = current_loop()
    reads, writes = events & selectors.EVENT_READ, events & selectors.EVENT_WRITE

    def subscribe(call: Callable[..., None]) -> None:
        if reads:
            loop.add_reader(descriptor, call)
        if writes:
            loop.add_writer(descriptor, call)

    try:
        called_within(timeout_s, subscribe)
    except NotImplementedError:  # Windows' own loop knows no sockets of others.
        apart(partial(_select, descriptor, events, timeout_s))
    finally:
        with suppress(NotImplementedError):
            if reads:
                loop.remove_reader(descriptor)
            if writes:
                loop.remove_writer(descriptor)


def _select(descriptor: int, events: int, timeout_s: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, events)
        selector.select(timeout_s)


def start(work: Callable[[], None]) -> None:
    """Begin some work on the running coroutine's loop, which ends it when the loop ends.

    It has none of the caller's context variables.
    """
    task = _inside().loop.create_task(run(work), context=contextvars.Context())
    _started.add(task)
    task.add_done_callback(_started.discard)


_started: set[Any] = set()
"""Kept here: the loop itself would let them be collected."""


def apart(function: Callable[[], T]) -> T:
    """Return or raise what `function` does, which in a coroutine runs in a thread of its loop."""
    loop = current_loop()
    if loop is None:
        return function()
    context = contextvars.copy_context()
    result: T = _inside().parent.switch(loop.run_in_executor(None, context.run, function))
    return result
