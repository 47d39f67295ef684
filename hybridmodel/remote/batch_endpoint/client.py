"""`BatchClient`: submits jobs to a batch endpoint, and finds them again."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable
from typing import Any

from hybridmodel.checks import check_seconds, shown
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.process import loops
from hybridmodel.process.counters import Counters
from hybridmodel.remote.attempts import EndpointState, Retrier, RetryPolicy, state_of
from hybridmodel.remote.batch_endpoint.addresses import checked_address, is_file
from hybridmodel.remote.batch_endpoint.asking import Jobs
from hybridmodel.remote.batch_endpoint.bodies import Order, Told, checked_form, checked_name
from hybridmodel.remote.batch_endpoint.endpoint import BatchEndpoint
from hybridmodel.remote.batch_endpoint.job import Job
from hybridmodel.remote.batch_endpoint.submitting import Submitter
from hybridmodel.remote.exchange import Exchanger
from hybridmodel.remote.http.transport import PooledTransport, Transport
from hybridmodel.remote.resilience import Clock, Deadline
from hybridmodel.remote.trust.redirection import redirected

_TIMEOUT_S = 120.0
_QUESTIONS = 3
_KINDS = ("file", "folder")


def new_name() -> str:
    """Make the name of a job that nobody else has."""
    return f"hybridmodel-{secrets.token_hex(8)}"


class BatchClient:
    """Submits jobs to one batch endpoint; safe to share between threads.

    Parameters
    ----------
    endpoint : BatchEndpoint
        Where it is.
    credential : object, optional
        Has ``get_token``, such as azure-identity's, or is a function that returns a token; default
        is what the endpoint says.
    make_transport, policy, sleep, clock, random, state
        Replaced by tests.

    Examples
    --------
    >>> client = BatchClient(BatchEndpoint(uri="https://digits-batch.REGION.inference.ml.azure.com"))
    >>> job = client.submit("azureml://datastores/blobs/paths/in/")  # doctest: +SKIP
    >>> job.wait()  # doctest: +SKIP
    """

    def __init__(
        self,
        endpoint: BatchEndpoint,
        credential: Any = None,
        *,
        make_transport: Callable[[Any], Transport] = PooledTransport,
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], None] = loops.sleep,
        clock: Clock = time.monotonic,
        random: Callable[[], float] = random.random,
        state: EndpointState | None = None,
    ) -> None:
        if not isinstance(endpoint, BatchEndpoint):
            raise ConfigurationError(f"endpoint is a BatchEndpoint, not {shown(endpoint)}")
        self.endpoint = endpoint = redirected(endpoint)
        self._clock, self._sleep, self._random = clock, sleep, random
        self._exchanger = Exchanger(endpoint, credential, make_transport, clock)
        retrier = Retrier(
            self._exchanger,
            state or state_of(endpoint),
            Counters(),
            policy or RetryPolicy(_QUESTIONS),
            sleep,
        )
        self._jobs = Jobs(self._exchanger, retrier)
        self._submitter = Submitter(
            exchanger=self._exchanger, jobs=self._jobs, sleep=sleep, random=random
        )

    def submit(
        self,
        input_uri: str | os.PathLike[str],
        output_uri: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        input_type: str | None = None,
        form: str = "inputs",
        timeout: float = _TIMEOUT_S,
        announce: Callable[[str], object] | None = None,
    ) -> Job:
        """Have the endpoint make one job, and no second one whatever happens on the way.

        Parameters
        ----------
        input_uri : str or path
            File or folder that is scored: an ``azureml://``, ``https://`` or ``abfs://`` address,
            or a path if the endpoint is on this machine.
        output_uri : str or path, optional
            Folder of the results; default is the endpoint's choice. Files that an earlier job has
            finished there are not scored again.
        name : str, optional
            Name of the job; default is a new one. With the name of an earlier submission that job
            is returned, so that a program that was interrupted goes on with it.
        input_type : str, optional
            ``"file"`` or ``"folder"``; default is a file if the address has a suffix.
        form : str, default="inputs"
            ``"dataset"`` is the body that the first releases of Azure's service took.
        timeout : float, default=120
            Seconds for all requests.
        announce : callable, optional
            Called with the name before anything is sent, to be kept in case the program is killed.

        Returns
        -------
        Job
            It has been accepted, and usually waits in a queue.

        Raises
        ------
        ConfigurationError
            If an argument is invalid, or the name is that of a job with another input or output.
        SubmissionUnknown
            If nobody can tell whether there is a job; submit it again with the name in the error.
        EndpointError
            If there is none.
        """
        order = Order(
            name=new_name() if name is None else checked_name(name),
            input_uri=checked_address("input_uri", input_uri, is_near=self._jobs.is_near),
            output_uri=self._output(output_uri),
            of_file=self._is_file(input_uri, input_type),
            form=checked_form(form),
        )
        deadline = Deadline(check_seconds("timeout", timeout), self._clock)
        if announce is not None:
            announce(order.name)
        told = None if name is None else self._jobs.submitted_as(order.name, deadline)
        was_there = told is not None
        if told is None:
            told = self._submitted(order, deadline)
        if not told.does(order):
            raise ConfigurationError(
                f"the job {told.name} is there already, with another input or output; give this "
                "submission another name"
            )
        return self._job(told.name, order.output_uri, was_there=was_there)

    def job(self, name: str, output_uri: str | None = None) -> Job:
        """Return a job by its name; nothing is asked before its methods are called.

        Parameters
        ----------
        name : str
            As `Job.name` says.
        output_uri : str, optional
            The output that it was given.
        """
        return self._job(checked_name(name), self._output(output_uri), was_there=True)

    def close(self) -> None:
        """Close the connections of this process; the next call opens others."""
        self._exchanger.close()

    def __enter__(self) -> BatchClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BatchClient({self.endpoint!r})"

    def _submitted(self, order: Order, deadline: Deadline) -> Told:
        try:
            return self._submitter.submit(order, deadline)
        except (KeyboardInterrupt, SystemExit) as interrupt:
            interrupt.add_note(
                f"whether the job {order.name} was made is not known; submitting it again under "
                "this name looks for it first"
            )
            raise

    def _output(self, given: Any) -> str | None:
        if given is None:
            return None
        return checked_address("output_uri", given, is_near=self._jobs.is_near)

    @staticmethod
    def _is_file(given: Any, kind: Any) -> bool:
        if kind is None:
            return is_file(os.fspath(given))
        if kind not in _KINDS:
            raise ConfigurationError(f"input_type is {' or '.join(_KINDS)}, not {shown(kind)}")
        return bool(kind == "file")

    def _job(self, name: str, output_uri: str | None, *, was_there: bool) -> Job:
        return Job(
            name=name,
            output_uri=output_uri,
            was_there=was_there,
            jobs=self._jobs,
            clock=self._clock,
            sleep=self._sleep,
            random=self._random,
        )
