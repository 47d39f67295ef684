"""Tests for tickets: one outcome, whoever sets it and however it is waited for."""

import threading

import pytest

from hybridmodel.process.tickets import Ticket


def test_a_ticket_gives_its_value():
    """What was set is returned, at once and each time."""
    ticket = Ticket()
    assert not ticket.done
    assert ticket.set_result(7)
    assert ticket.wait(0)
    assert ticket.wait()
    assert [ticket.result(), ticket.result()] == [7, 7]


def test_a_ticket_raises_its_error():
    """An error that was set is raised by whoever asks for the result."""
    ticket = Ticket()
    ticket.set_error(KeyError("x"))
    with pytest.raises(KeyError):
        ticket.result()


def test_only_the_first_outcome_counts():
    """A ticket that a caller gave up keeps that outcome when the result comes later."""
    ticket = Ticket()
    assert ticket.set_error(TimeoutError())
    assert not ticket.set_result(1)
    with pytest.raises(TimeoutError):
        ticket.result()


def test_one_of_many_threads_resolves_it():
    """Of sixteen threads that resolve one ticket, exactly one does."""
    for _ in range(20):
        ticket, together, won = Ticket(), threading.Barrier(16), []

        def resolve(number, ticket=ticket, together=together, won=won):
            together.wait()
            if ticket.set_result(number):
                won.append(number)

        threads = [threading.Thread(target=resolve, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [ticket.result()]


def test_a_wait_ends_with_its_time():
    """A ticket that nobody resolves is waited for no longer than was said."""
    assert not Ticket().wait(0.01)


def test_several_threads_wait_for_one_ticket():
    """Everyone who waits sees the outcome of another thread."""
    ticket, seen = Ticket(), []
    threads = [
        threading.Thread(target=lambda: seen.append(ticket.wait(10) and ticket.result()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    ticket.set_result("here")
    for thread in threads:
        thread.join()
    assert seen == ["here"] * 4


def test_callbacks_are_called_once():
    """A function is called when the ticket is resolved, or at once if it was."""
    ticket, called = Ticket(), []
    ticket.add_callback(called.append)
    assert called == []
    ticket.set_result(1)
    ticket.set_result(2)
    ticket.add_callback(called.append)
    assert called == [ticket, ticket]


def test_a_callback_is_neither_lost_nor_doubled_by_a_race():
    """A function that is added while the ticket is resolved is called exactly once."""
    for _ in range(200):
        ticket, called, together = Ticket(), [], threading.Barrier(2)
        thread = threading.Thread(target=lambda: (together.wait(), ticket.set_result(1)))  # noqa: B023
        thread.start()
        together.wait()
        ticket.add_callback(called.append)
        thread.join()
        assert called == [ticket]


def test_who_waits_can_be_woken_later_than_the_outcome():
    """Without waking, the outcome is there at once, and a thread goes on when it is woken."""
    ticket, woken = Ticket(), threading.Event()
    thread = threading.Thread(target=lambda: ticket.wait(10) and woken.set())
    thread.start()
    assert ticket.set_result(1, wakes=False)
    assert ticket.done
    ticket.wake()
    ticket.wake()
    assert woken.wait(5)
    thread.join()


def test_who_is_never_woken_finds_out_by_itself():
    """A waker that was interrupted costs a quarter of a second, and no more."""
    ticket, woken = Ticket(), threading.Event()
    thread = threading.Thread(target=lambda: ticket.wait(10) and woken.set())
    thread.start()
    assert ticket.set_result(1, wakes=False)
    assert woken.wait(5)
    thread.join()


def test_who_is_woken_twice_at_once_gets_the_outcome():
    """A second waker may come between two steps of the one that the first has woken."""
    ticket = Ticket()
    taken = ticket._awaited

    class WokenAgain:
        """The lock of the ticket, which is released once more when it was taken."""

        def acquire(self, timeout):
            assert taken.acquire(timeout=timeout)
            ticket.wake()
            return True

        def release(self):
            taken.release()

    ticket._awaited = WokenAgain()
    threading.Timer(0.05, ticket.set_result, [1]).start()
    assert ticket.wait(10)
    assert ticket.result() == 1
