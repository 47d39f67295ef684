"""The jobs of a rehearsal: which runs, which wait for machines, and how each ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.deploy.rehearsal.jobs.attempt import Attempt
from hybridmodel.deploy.rehearsal.jobs.live import (
    CANCELED,
    COMPLETED,
    FAILED,
    QUEUED,
    RUNNING,
    LiveJob,
    Wish,
)
from hybridmodel.deploy.rehearsal.jobs.settings import Batch
from hybridmodel.exceptions import ConfigurationError

MOST_WAITING = 1000
"""Jobs that are not over; a further submission gets 429."""

_MOST_KEPT, _MOST_SEEN = 5000, 50
_GRACE_S = 5.0


class Jobs:
    """All jobs of a batch endpoint; in the loop's thread only.

    Parameters
    ----------
    batch : Batch
        The endpoint.
    data : Path
        What jobs read and write is below this folder.
    home : Path
        Where outputs go that nobody has named, and logs; it is removed with the rehearsal.
    make_attempt : callable
        Makes what runs a job; replaced by tests.
    """

    def __init__(
        self,
        batch: Batch,
        data: Path,
        home: Path,
        make_attempt: Callable[..., Attempt] = Attempt,
    ) -> None:
        self.batch, self.data, self.home = batch, data, home
        self._make_attempt = make_attempt
        self._jobs: dict[str, LiveJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._jobs

    @property
    def is_full(self) -> bool:
        """Whether no further job is taken."""
        return sum(not job.is_over for job in self._jobs.values()) >= MOST_WAITING

    def add(self, wish: Wish) -> LiveJob:
        """Take a job, and begin it if there are machines."""
        job = self._jobs[wish.name] = LiveJob(wish=wish)
        while len(self._jobs) > _MOST_KEPT:
            del self._jobs[next(name for name, old in self._jobs.items() if old.is_over)]
        self._begin()
        return job

    def find(self, name: Any) -> LiveJob:
        """Return a job; raises `ConfigurationError` if there is none of the name."""
        if isinstance(name, str) and name in self._jobs:
            return self._jobs[name]
        raise ConfigurationError(f"there is no job {shown(name)}")

    def all(self) -> list[LiveJob]:
        """Return the jobs, the newest first."""
        return [*reversed(self._jobs.values())]

    def seen(self) -> tuple[dict[str, Any], ...]:
        """Return what people see of the newest jobs."""
        return tuple(job.seen() for job in self.all()[:_MOST_SEEN])

    def set_default(self, name: Any) -> None:
        """Let jobs that name no deployment run on another one."""
        if not isinstance(name, str) or self.batch.deployment(name) is None:
            names = ", ".join(one.name for one in self.batch.deployments)
            raise ConfigurationError(f"there is no deployment {shown(name)}; there are {names}")
        self.batch = replace(self.batch, default=name)

    def evict(self, name: Any) -> None:
        """Take the machine of a running job away, as Azure does with cheap ones."""
        job = self.find(name)
        if job.attempt is None:
            raise ConfigurationError(f"the job {job.wish.name} is {job.state}: it has no machine")
        job.attempt.kill()

    def cancel(self, name: Any) -> None:
        """End a job; what is finished of its output stays."""
        job = self.find(name)
        if job.is_over:
            raise ConfigurationError(f"the job {job.wish.name} is {job.state} already")
        job.state = CANCELED
        if job.attempt is not None:
            job.attempt.kill()

    async def close(self) -> None:
        """End all processes."""
        for job in self._jobs.values():
            if not job.is_over:
                self.cancel(job.wish.name)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GRACE_S)

    def _begin(self) -> None:
        """Begin the jobs for which there are machines, in the order of their submission."""
        busy = (
            job for job in self._jobs.values() if job.state == RUNNING or job.attempt is not None
        )
        free = self.batch.nodes - sum(map(self._nodes, busy))
        for job in self._jobs.values():
            if job.state != QUEUED:
                continue
            if self._nodes(job) > free:
                return  # Those behind it wait as well: nobody is overtaken.
            free -= self._nodes(job)
            job.state = RUNNING
            task = asyncio.get_running_loop().create_task(self._run(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _nodes(self, job: LiveJob) -> int:
        return min(job.wish.deployment.nodes, self.batch.nodes)

    async def _run(self, job: LiveJob) -> None:
        """Run a job to its end, in further attempts where its machine is taken away."""
        wish = job.wish
        log = self.home / f"{wish.name}.log"
        try:
            wish.output.mkdir(parents=True, exist_ok=True)
            while job.state == RUNNING:
                job.said.clear()
                job.attempts += 1
                job.attempt = self._make_attempt(wish.files, job.variables(), log, job.said.append)
                ended = await job.attempt.run()
                if job.state != RUNNING:
                    return
                if not ended.killed:
                    job.error, job.state = ended.error, FAILED if ended.error else COMPLETED
                elif job.attempts > wish.deployment.retries:
                    job.state = FAILED
                    job.error = f"its machine was taken away {job.attempts} times"
        except Exception as error:  # noqa: BLE001 - a job fails, and the rehearsal goes on
            job.state, job.error = FAILED, f"{type(error).__name__}: {error}"[:500]
        finally:
            job.attempt = None
            self._begin()
