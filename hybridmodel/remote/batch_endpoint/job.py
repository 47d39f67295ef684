"""`Job`: a job that was submitted, until it is over and its results are read."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hybridmodel.checks import check_seconds, printable
from hybridmodel.exceptions import (
    ConfigurationError,
    EndpointError,
    EndpointTimeout,
    JobFailed,
    ProtocolError,
)
from hybridmodel.remote.batch_endpoint.addresses import checked_told, for_reading
from hybridmodel.remote.batch_endpoint.asking import Jobs
from hybridmodel.remote.batch_endpoint.outcomes import Outcome, outcome_of
from hybridmodel.remote.batch_endpoint.state import JobStatus
from hybridmodel.remote.batch_endpoint.storage import Results
from hybridmodel.remote.resilience import Clock, Deadline

Progress = Callable[[JobStatus, float], object]
"""Gets the state of a job and the seconds waited so far, each time the endpoint was asked."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _GROWTH = 1.0, 30.0, 1.5
_FOR_EVER_S = float(2**40)
_ASKING_S = 60.0
"""The time of one question, with the attempts that it takes."""

_SILENCE_S = 600.0
"""So long an endpoint may not answer, or not know a new job, before waiting for it ends."""

_log = logging.getLogger("hybridmodel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job of a batch endpoint.

    Attributes
    ----------
    name : str
        Its name at the endpoint; `BatchClient.job` finds it again, also in another process.
    output_uri : str or None
        Where its results were asked for.
    was_there : bool
        Whether an earlier submission of the same name had made it.
    """

    name: str
    output_uri: str | None
    was_there: bool
    jobs: Jobs = field(repr=False)
    clock: Clock = field(repr=False)
    sleep: Callable[[float], None] = field(repr=False)
    random: Callable[[], float] = field(repr=False, default=random.random)

    def status(self, timeout: float | None = None) -> JobStatus:
        """Ask the endpoint for the job's state.

        Parameters
        ----------
        timeout : float, optional
            Seconds, a minute by default.

        Raises
        ------
        EndpointError
            If it does not answer, or has no such job (`EndpointRefused`, 404).
        """
        deadline = Deadline(
            check_seconds("timeout", _ASKING_S if timeout is None else timeout), self.clock
        )
        return self._status(deadline)

    def wait(self, progress: bool | Progress = True, timeout: float | None = None) -> JobStatus:
        """Wait until the job is over, asking more and more rarely, at last every half minute.

        An endpoint that does not answer for a while ends nothing: the job goes on there.

        Parameters
        ----------
        progress : bool or callable, default=True
            Show the state on stderr, or call this with it and the seconds waited.
        timeout : float, optional
            Seconds to wait at most; default is for ever.

        Returns
        -------
        JobStatus
            Its results are there.

        Raises
        ------
        JobFailed
            If it failed or was cancelled.
        EndpointTimeout
            If it is still going on by then; the job is not ended.
        EndpointError
            If the endpoint refuses to answer, or has not answered for ten minutes.
        """
        deadline = Deadline(
            check_seconds("timeout", _FOR_EVER_S if timeout is None else timeout), self.clock
        )
        with _told_how_to_go_on(self.name), _shown(progress) as tell:
            status = self._until_over(deadline, tell)
        if status.is_completed:
            return status
        reason = f": {status.error}" if status.error else ""
        failed = JobFailed(
            f"the job {self.name} ended as {status.state}{reason}", endpoint=self.jobs.url
        )
        failed.job, failed.state = self.name, status.state
        failed.hint = (
            "a new job with the same input and output, and another name, skips the files that are "
            "finished, and goes on in the one that is not"
        )
        raise failed

    def results(
        self, uri: str | None = None, storage_options: Mapping[str, Any] | None = None
    ) -> Results:
        """Return the files of a job that is completed.

        Parameters
        ----------
        uri : str, optional
            Where they are; default is the output that the job was given, or else what the endpoint
            says, if that is storage of Azure, or both are on this machine.
        storage_options : mapping, optional
            What fsspec takes, such as a credential.

        Raises
        ------
        ConfigurationError
            If the job is not completed, or nobody says where they are.
        """
        status = self.status()
        if not status.is_completed:
            raise ConfigurationError(
                f"the job {self.name} is {status.state}: it has no results; wait() waits for them"
            )
        given = uri or self.output_uri
        if given is not None:
            return Results(for_reading(given), storage_options)
        if status.output_uri is None:
            raise ConfigurationError(
                f"the endpoint does not say where the results of {self.name} are; give results() "
                f"the address, or use `az ml job download -n {self.name} --output-name score`"
            )
        return Results(checked_told(status.output_uri, is_near=self.jobs.is_near), storage_options)

    def _status(self, deadline: Deadline) -> JobStatus:
        told = self.jobs.named(self.name, deadline)
        if told is None:
            raise self.jobs.missing(self.name)
        return self.jobs.status(told, deadline)

    def _until_over(self, deadline: Deadline, tell: Progress) -> JobStatus:
        pause_s, began = _FIRST_PAUSE_S, self.clock()
        answered, state = began, "not known"
        while True:
            try:
                status = self._status(deadline.part(_share(deadline)))
                answered, state = self.clock(), status.state
                tell(status, answered - began)
                if status.is_over:
                    return status
            except EndpointError as error:
                self._check_silence(error, deadline, answered)
            left = deadline.remaining_s()
            if left <= pause_s:
                raise self._late(deadline, state)
            # Many clients that began together do not ask together.
            self.sleep(pause_s * (0.5 + 0.5 * self.random()))
            pause_s = min(_LONGEST_PAUSE_S, _GROWTH * pause_s)

    def _check_silence(self, error: EndpointError, deadline: Deadline, answered: float) -> None:
        """Let a failure pass that the next question may not meet."""
        is_new = error.status == 404
        may_pass = is_new or outcome_of(error) in (Outcome.UNKNOWN, Outcome.NOT_MADE)
        is_long = self.clock() - answered > _SILENCE_S
        if is_long or not may_pass or isinstance(error, ProtocolError):
            raise error
        if deadline.remaining_s() > 0:
            _log.info("the state of job %s is not known: %s", self.name, error)

    def _late(self, deadline: Deadline, state: str) -> EndpointTimeout:
        return EndpointTimeout(
            f"after {deadline.timeout_s:g} s the job {self.name} was {state}; it goes on, and can "
            "be waited for again by its name",
            endpoint=self.jobs.url,
        )


def _share(deadline: Deadline) -> float:
    left = deadline.remaining_s()
    return min(1.0, _ASKING_S / left) if left else 1.0


@contextmanager
def _told_how_to_go_on(name: str) -> Iterator[None]:
    """Say after Ctrl-C that the job goes on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as interrupt:
        interrupt.add_note(f"the job {name} goes on; it can be waited for again by its name")
        raise


@contextmanager
def _shown(progress: bool | Progress) -> Iterator[Progress]:
    """Yield what is told of each state: nothing, a function, or a line on stderr."""
    if progress is not True:
        yield progress or (lambda _status, _elapsed_s: None)
        return
    from tqdm import tqdm

    with tqdm(bar_format="{desc} {elapsed}", file=sys.stderr, leave=True) as line:
        yield lambda status, _: line.set_description_str(printable(str(status)))
