"""Forks, the interpreter's end, a model that goes: nobody who waits hangs."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import weakref

import pytest

from hybridmodel.data.answer import Answer
from tests.support.callers import Callers, Held, client, row, under_way, wait_until, waiting
from tests.support.paths import ROOT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_fork_with_callers_that_wait() -> None:
    """The child has none of them and can call; the parent's are all answered."""
    held = Held()
    callers = Callers(client(held))
    asking = callers.client
    callers.occupy(held)
    callers.call(3, 4, 5)
    child = os.fork()
    if child == 0:
        held.go()
        clean = waiting(asking) == under_way(asking) == asking.stats()["gathered.calls"] == 0
        again = Callers(asking)
        again.call(*range(10))
        os._exit(0 if clean and len(again.answers()) == 10 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert waiting(asking) == 3
    held.go()
    assert len(callers.answers()) == 5


def test_a_client_that_goes_while_callers_wait() -> None:
    """They are answered, and then nothing keeps it in memory but an idle thread, which does not."""
    held = Held()
    callers = Callers(client(held))
    callers.occupy(held)
    callers.call(3, 4)
    gone = weakref.ref(callers.client)
    workers = callers.client._state.senders
    threads, outcomes = callers.threads, callers.outcomes
    del callers
    gc.collect()
    held.go()
    for thread in threads:
        thread.join(10)
    assert [type(outcome) for outcome in outcomes.values()] == [Answer] * 4
    wait_until(lambda: gone() is None)
    workers.close()


def test_the_client_is_freed_without_the_garbage_collector() -> None:
    """Nothing here refers back to it, so its connections close when its model goes."""
    held = Held()
    held.go()
    asking = client(held)
    asking.infer(row(1.0), ("y",), rows=1)
    gone = weakref.ref(asking._exchanger)
    gc.disable()
    try:
        del asking
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("daemon", [True, False], ids=["left", "waited for"])
def test_the_interpreter_ends_with_callers_that_wait(daemon: bool) -> None:
    """Daemon threads are left, others get their answers first; the process ends either way."""
    code = f"""
        import threading
        from tests.support.callers import Callers, Held, client, row, wait_until
        held = Held()
        asking = client(held)
        ended = []
        def call():
            asking.infer(row(1.0), ("y",), rows=1)
            ended.append(1)
            if len(ended) == 20:
                print("all", flush=True)
        threads = [threading.Thread(target=call, daemon={daemon}) for _ in range(20)]
        for thread in threads:
            thread.start()
        wait_until(lambda: asking.stats()["gathered.calls"] == 20)
        if not {daemon}:
            threading.Timer(0.05, held.go).start()
        print("end", flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == (["end"] if daemon else ["end", "all"])
