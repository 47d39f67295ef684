"""All errors that hybridmodel raises, by what the caller can do about them.

::

    HybridModelError
    ├── ConfigurationError (ValueError)    set something up differently
    ├── InputMismatch (ValueError)         pass other data
    ├── SpecMismatch (ValueError)          make local model and endpoint agree
    ├── MissingDependency (ImportError)    install the library that it names
    └── EndpointError                      the endpoint gave no good answer
        ├── EndpointRefused                do not repeat: the same request gets the same answer
        ├── AuthenticationFailed           renew the key, token or role
        ├── EndpointUnavailable            try again later, or elsewhere
        │   ├── RateLimited                slow down
        │   ├── EndpointTimeout (TimeoutError)
        │   └── CircuitOpen                wait: calls are not sent
        ├── SubmissionUnknown              look for the job by its name before anything else
        ├── JobFailed                      read why, and submit another job
        └── ProtocolError                  the server does not use the protocol
"""

from __future__ import annotations


class HybridModelError(Exception):
    """Base of everything hybridmodel raises on purpose."""


class ConfigurationError(HybridModelError, ValueError):
    """Raise when a model, an endpoint or a route has settings that cannot work."""


class InputMismatch(HybridModelError, ValueError):
    """Raise when data does not fit the inputs that the model declares."""


class SpecMismatch(HybridModelError, ValueError):
    """Raise when the endpoint's inputs or outputs differ from the local model's.

    Attributes
    ----------
    differences : tuple of str
        One sentence for each difference, all of them at once.
    """

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


class MissingDependency(HybridModelError, ImportError):
    """Raise when a library is needed but not installed."""


class EndpointError(HybridModelError):
    """Base of everything that can go wrong between the client and the endpoint.

    Attributes
    ----------
    endpoint : str or None
        URL that was called, without query or credentials.
    status : int or None
        HTTP status, None when no response arrived.
    attempts : int
        Requests that the call sent, or tried to send; 0 if it failed before.
    request_id : str or None
        The id that the request carried; servers log it.
    shared_request_id : str or None
        The id of the request that took the rows of several calls together; then servers log this.
    hint : str
        What may help, or empty.
    fault : str or None
        The row of the table in docs/faults.md, if there is one.
    """

    hint: str = ""
    fault: str | None = None
    shared_request_id: str | None = None

    def __init__(
        self,
        message: str,
        *,
        endpoint: str | None = None,
        status: int | None = None,
        attempts: int = 1,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.status = status
        self.attempts = attempts
        self.request_id = request_id

    @property
    def message(self) -> str:
        """What happened and what may help, without the endpoint."""
        text = super().__str__()
        return f"{text} ({self.hint})" if self.hint else text

    def __str__(self) -> str:
        where = f"{self.endpoint}: " if self.endpoint else ""
        context = [f"{self.attempts} requests"] if self.attempts > 1 else []
        if self.request_id and self.attempts:
            context.append(f"request id {self.request_id}")
            if self.shared_request_id:
                context.append(f"sent with others as {self.shared_request_id}")
        return f"{where}{self.message}" + (f" [{', '.join(context)}]" if context else "")


class EndpointRefused(EndpointError):
    """Raise when the endpoint rejects the request: asking again gives the same answer.

    It is usually a 4xx, but also a model that fails on the input, a redirect, or a certificate that
    is not accepted.
    """


class AuthenticationFailed(EndpointError):
    """Raise when the endpoint does not accept the credential (401, 403)."""


class EndpointUnavailable(EndpointError):
    """Raise when the endpoint cannot be reached or cannot answer now.

    Attributes
    ----------
    retry_after_s : float or None
        Seconds that the endpoint asked to wait, None when it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        endpoint: str | None = None,
        status: int | None = None,
        attempts: int = 1,
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            message, endpoint=endpoint, status=status, attempts=attempts, request_id=request_id
        )
        self.retry_after_s = retry_after_s


class RateLimited(EndpointUnavailable):
    """Raise when the endpoint answers 429: too many requests."""


class EndpointTimeout(EndpointUnavailable, TimeoutError):
    """Raise when the time of the call is over, or the endpoint's for its model (408, 504)."""


class CircuitOpen(EndpointUnavailable):
    """Raise without sending a request, because the endpoint has failed too often lately."""


class SubmissionUnknown(EndpointError):
    """Raise when nobody can tell whether a batch endpoint has made a job.

    Attributes
    ----------
    job : str or None
        The name of the job. Submitting it again under this name looks for it first.
    """

    job: str | None = None


class JobFailed(EndpointError):
    """Raise when a job of a batch endpoint has ended without its results.

    Attributes
    ----------
    job : str or None
        Its name.
    state : str or None
        How it ended, in the endpoint's word: ``Failed`` or ``Canceled``.
    """

    job: str | None = None
    state: str | None = None


class ProtocolError(EndpointError):
    """Raise when the answer breaks the Open Inference Protocol, or its sizes do not add up."""
