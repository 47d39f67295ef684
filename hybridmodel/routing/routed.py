"""What goes into a policy, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hybridmodel.data.binding import Bound
from hybridmodel.data.tensors import ModelSpec
from hybridmodel.exceptions import ConfigurationError, SpecMismatch
from hybridmodel.local.session import LocalSession
from hybridmodel.process.counters import Counters
from hybridmodel.remote.time_limit import capped
from hybridmodel.switch import AZURE, LOCAL

if TYPE_CHECKING:
    from hybridmodel.process.bounded import Crew
    from hybridmodel.remote.answers import RemoteAnswer
    from hybridmodel.remote.client import EndpointClient
    from hybridmodel.remote.resilience import Deadline

Array = np.ndarray[Any, Any]

MIXED = "mixed"
"""Route of an answer of which each side gave some rows."""


class Ask(NamedTuple):
    """One call.

    Attributes
    ----------
    bound : Bound
        The data.
    names : tuple of str
        The outputs wanted.
    timeout_s : float or None
        Total time in seconds, None for the endpoint's.
    """

    bound: Bound
    names: tuple[str, ...]
    timeout_s: float | None


class Reasons(NamedTuple):
    """Why each row was answered by whom it was: the texts, and which of them for each row.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Positions in `texts`.
    texts : tuple of str
    """

    codes: Array
    texts: tuple[str, ...]


class Routed(NamedTuple):
    """What was answered, and by whom.

    Attributes
    ----------
    outputs : dict of str to ndarray
        The outputs wanted; writable, and the caller's own.
    route : str
        ``local``, ``azure`` or ``mixed``.
    there : RemoteAnswer or None
        What the endpoint answered, if it was asked and did.
    from_azure : ndarray of bool, shape (n,), or None
        For a mixed route, the rows that the endpoint answered.
    scores : ndarray of float64, shape (n,), or None
        How sure the local model was.
    reasons : str or Reasons
        Why this side answered: for all rows, or for each.
    """

    outputs: dict[str, Array]
    route: str
    there: RemoteAnswer | None = None
    from_azure: Array | None = None
    scores: Array | None = None
    reasons: str | Reasons = "asked"

    def routes(self, rows: int) -> Array:
        """Return who answered each row, as an array of str of shape (n,)."""
        if self.from_azure is None:
            return np.full(rows, self.route)
        return np.where(self.from_azure, AZURE, LOCAL)

    def each_reason(self, rows: int) -> Array:
        """Return the reason for each row, as an array of str of shape (n,)."""
        if isinstance(self.reasons, str):
            return np.full(rows, self.reasons)
        return np.array(self.reasons.texts)[self.reasons.codes]


class Sides:
    """The two routes of one model, as policies use them.

    Parameters
    ----------
    local : LocalSession
        The one.
    client : callable
        Returns the other; raises where there is none.
    counters : Counters
        Count the rows that each of them answers.
    """

    def __init__(
        self, local: LocalSession, client: Callable[[], EndpointClient], counters: Counters
    ) -> None:
        self.spec = local.spec
        self.counters = counters
        self._local = local
        self._client = client

    def time_of(self, ask: Ask) -> float:
        """Return the total time of a call in seconds, the endpoint's where it does not say."""
        endpoint = self._client().endpoint
        return capped(endpoint.timeout_s if ask.timeout_s is None else ask.timeout_s)

    @property
    def hedging(self) -> Crew:
        """Threads in which the endpoint may be asked by who does not have to wait for it."""
        return self._client().hedging

    def local(
        self,
        feeds: Mapping[str, Array],
        names: tuple[str, ...],
        rows: int | None,
        *,
        count: bool = True,
    ) -> Routed:
        """Run the local model; `count` is False for what no caller gets to see."""
        outputs = self._local.run(feeds, names)
        if count:
            self.counters.answered(LOCAL, rows or 1)
        return Routed(outputs, LOCAL)

    def azure(
        self,
        feeds: Mapping[str, Array],
        names: tuple[str, ...],
        rows: int | None,
        timeout_s: float | None,
        *,
        retry: bool = True,
        count: bool = True,
        deadline: Deadline | None = None,
    ) -> Routed:
        """Ask the endpoint; see `EndpointClient.infer`, and `local` for `count`."""
        there = self._client().infer(
            feeds, names, rows=rows, timeout_s=timeout_s, retry=retry, deadline=deadline
        )
        if count:
            self.counters.answered(AZURE, rows or 1)
        return Routed(there.outputs, AZURE, there)


def pick(feeds: Mapping[str, Array], rows: Array) -> dict[str, Array]:
    """Return the feeds of some rows, by their positions or a mask."""
    return {name: array[rows] for name, array in feeds.items()}


def merge(outputs: Mapping[str, Array], rows: Array, part: Mapping[str, Array]) -> None:
    """Write the answer for some rows, given by their positions, into the outputs for all.

    Raises
    ------
    SpecMismatch
        If a row of it has another shape than the others.
    """
    for name, whole in outputs.items():
        if part[name].shape[1:] != whole.shape[1:]:
            raise SpecMismatch(
                f"output {name!r}: a row of the endpoint's answer has the shape "
                f"{list(part[name].shape[1:])}, one of the local model's {list(whole.shape[1:])}"
            )
        whole[rows] = part[name]


def check_rows(spec: ModelSpec, names: Iterable[str]) -> None:
    """Make sure that a call can be answered row by row.

    Raises
    ------
    ConfigurationError
        If an input or a wanted output does not have a row for each row.
    """
    for item in (*spec.inputs, *(spec.output(name) for name in names)):
        if not item.batched:
            raise ConfigurationError(
                f"{item} has no row for each row, so rows cannot be answered by different sides"
            )
