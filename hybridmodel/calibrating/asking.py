"""Asks an endpoint for rows of a sample, each once, and keeps every answer that came."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.answer import Answer
from hybridmodel.calibrating.kept import KeptAnswers
from hybridmodel.calibrating.sample import Sample, taken
from hybridmodel.cascade.scores import Score
from hybridmodel.checks import needed_for
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError, EndpointError, EndpointTimeout, SpecMismatch
from hybridmodel.process.parallel import map_unordered
from hybridmodel.remote.resilience import Clock, Deadline

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

LONGEST_S = 3600.0
"""How long asking for a whole sample may take where the caller does not say."""

_MOST_ROWS = 1000
"""Of a request: a failure loses no more, and the progress moves."""

_AT_A_TIME = 4

Found = tuple[Array, Answer | Exception]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How an endpoint is asked for a sample.

    Attributes
    ----------
    kept : KeptAnswers or None
        Where answers come from first, and where new ones go.
    may_ask : bool
        Whether anybody may be asked at all.
    timeout_s : float or None
        For the whole sample, in seconds; None gives each request the endpoint's time, and all of
        them together `LONGEST_S`.
    clock : callable or None
        Tells the time in seconds.
    show : callable
        Told how many more rows were answered.
    """

    kept: KeptAnswers | None = None
    may_ask: bool = True
    timeout_s: float | None = None
    clock: Clock | None = None
    show: Callable[[int], object] = lambda _: None


class Remote:
    """The endpoint's answers to the rows of one sample, as far as they are known.

    Attributes
    ----------
    known : ndarray of bool, shape (n,)
        Which rows have an answer.
    asked : int
        Rows that were sent to the endpoint.
    version : str or None
        The version of its model that answered.
    """

    def __init__(
        self,
        model: HybridOnnxModel,
        sample: Sample,
        names: tuple[str, ...],
        score: Score,
        how: Asking,
    ) -> None:
        self._model, self._sample, self._names = model, sample, names
        self._score, self._how = score, how
        seconds = LONGEST_S if how.timeout_s is None else how.timeout_s
        self._deadline = Deadline(seconds, *([how.clock] if how.clock else []))
        self._outputs: dict[str, Array] = {}
        self.known = np.zeros(sample.rows, bool)
        self.asked, self.version = 0, None
        if how.kept is not None:
            if not self.by_row:
                raise ConfigurationError(
                    f"answers {how.kept.path}: only answers to single rows are kept, and not all "
                    "inputs and compared outputs of this model have a row for each row"
                )
            rows, outputs, self.version = how.kept.find(sample.keys, names)
            self._take(rows, outputs)

    @property
    def may_ask(self) -> bool:
        """Whether rows that are not known can be asked for."""
        return self._how.may_ask

    @property
    def by_row(self) -> bool:
        """Whether some rows can be asked for without the others."""
        outputs = (self._model.spec.output(name) for name in self._names)
        return self._sample.by_row and all(item.batched for item in outputs)

    def outputs(self, rows: Array) -> dict[str, Array]:
        """Return the answers to rows, by their positions, all of which are known."""
        return {name: array[rows] for name, array in self._outputs.items()}

    def ask(self, rows: Array) -> None:
        """Ask for those rows, by their positions, that are not known yet; for copies once.

        Raises
        ------
        EndpointError, SpecMismatch, ConfigurationError
            When requests fail, or answers do not fit; what was answered is kept all the same.
        """
        left = self._sample.without_copies(rows[~self.known[rows]])
        if not len(left) or not self.may_ask:
            return
        failure: Exception | None = None
        stopped = threading.Event()
        for part, found in self._requests(left, self._wanted(), stopped):
            error = found if isinstance(found, Exception) else self._keep(part, found)
            if error is not None:
                stopped.set()
            failure = failure or error
        if failure is not None:
            raise failure

    def _requests(
        self, rows: Array, names: tuple[str, ...], stopped: threading.Event
    ) -> Iterator[Found]:
        """Send requests, several at a time, and yield how they end; none begins once `stopped`."""

        def answer(part: slice) -> Found:
            try:
                return rows[part], self._send(rows[part], names)
            except Exception as error:  # noqa: BLE001 - raised once all others have ended
                stopped.set()
                return rows[part], error

        client, parts = self._model.client, self._cut(rows)
        # While a circuit breaker is open, the first request is its probe.
        yield (first := answer(next(parts)))
        left = (part for part in parts if not stopped.is_set())
        most = min(_AT_A_TIME, client.endpoint.max_in_flight)
        crew = client.hedging
        if len(first[0]) < len(rows):
            yield from map_unordered(answer, left, most, crew=crew, name="hybridmodel-calibrate")

    def _cut(self, rows: Array) -> Iterator[slice]:
        if not self.by_row:
            return iter([slice(0, len(rows))])
        size = min(_MOST_ROWS, len(rows))
        if self._how.kept is not None and size > 1:
            # One request each: where one of several fails, nothing of them would be kept.
            feeds = taken(self._sample.feeds, rows)
            size = min(size, self._model.client.request_rows(feeds, len(rows), self._time()))
        return iter([slice(start, start + size) for start in range(0, len(rows), size)])

    def _send(self, rows: Array, names: tuple[str, ...]) -> Answer:
        feeds = self._sample.feeds
        if len(rows) < self._sample.rows:
            feeds = taken(feeds, rows)
        return self._model.client.infer(feeds, names, rows=len(rows), timeout_s=self._time())

    def _time(self) -> float:
        """Return the seconds that a request has, or raise `EndpointTimeout`."""
        try:
            left = self._deadline.check("asking the endpoint for the sample")
        except EndpointTimeout as error:
            kept = "" if self._how.kept is None else f", and are kept in {self._how.kept.path}"
            raise EndpointTimeout(
                f"{error}: {self.known.sum():,} of {self._sample.rows:,} rows were answered{kept}; "
                "pass a longer timeout=, or fewer rows"
            ) from None
        if self._how.timeout_s is not None:
            return left
        return min(left, self._model.client.endpoint.timeout_s)

    def _wanted(self) -> tuple[str, ...]:
        """Return the outputs to ask for: to be kept, all that the endpoint has."""
        kept, spec = self._how.kept, self._model.spec
        if kept is None:
            return self._names
        if kept.outputs is not None:
            return kept.outputs
        there: tuple[str, ...] = ()
        with suppress(EndpointError):  # It may hide them.
            there = self._model.client.metadata(self._time()).output_names
        more = [item.name for item in spec.outputs if item.batched and item.name in there]
        return tuple(dict.fromkeys((*self._names, *more)))

    def _keep(self, rows: Array, answer: Answer) -> Exception | None:
        """Keep an answer first of all; return why it cannot be used, if so."""
        sample, version = self._sample, answer.model_version
        self.asked += len(rows)
        self._how.show(len(rows))
        try:
            if self._how.kept is not None:
                self._how.kept.add([sample.keys[row] for row in rows], answer.outputs, version)
            self._check_version(version)
            self._take(rows, {name: answer.outputs[name] for name in self._names})
        except Exception as error:  # noqa: BLE001 - raised once all others have ended
            return error
        self.version = version
        return None

    def _check_version(self, version: str | None) -> None:
        if self.known.any() and version != self.version:
            raise ConfigurationError(
                f"version {version} of the endpoint's model answered, and version {self.version} "
                "answered other rows of the sample: a promise is for one. Calibrate again; only "
                "answers of the version that answered last count"
            )

    def _take(self, rows: Array, outputs: dict[str, Array]) -> None:
        """Note the answers to rows, and to their copies."""
        self._score.check_endpoint(outputs)
        if not self.by_row:
            self._outputs, self.known = outputs, np.ones(self._sample.rows, bool)
            return
        there, places = self._sample.copies(rows)
        for name, values in outputs.items():
            whole = self._outputs.get(name)
            if whole is None:
                whole = np.zeros((self._sample.rows, *values.shape[1:]), values.dtype)
                self._outputs[name] = whole
            if whole.shape[1:] != values.shape[1:]:
                raise SpecMismatch(
                    f"output {name!r}: rows of shape {list(values.shape[1:])} came after rows of "
                    f"shape {list(whole.shape[1:])}"
                )
            whole[there] = values[places]
        self.known[there] = True


@contextmanager
def shown(wanted: bool | None, total: int | None) -> Iterator[Callable[[int], Any]]:
    """Show on stderr how many rows were answered; None does so only on a terminal."""
    with needed_for("progress"):
        from tqdm import tqdm
    is_off = None if wanted is None else not wanted
    with tqdm(total=total, unit=" rows", desc="endpoint", leave=False, disable=is_off) as bar:
        yield bar.update
