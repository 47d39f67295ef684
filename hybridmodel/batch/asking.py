"""Sends one full request to the endpoint, and returns its answer as columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hybridmodel.batch.packing import MOST_REQUEST_ROWS, Request, request_rows
from hybridmodel.batch.patience import Patience
from hybridmodel.batch.scoring import Scorer
from hybridmodel.data.answer import Answer
from hybridmodel.data.binding import Bound
from hybridmodel.data.tensors import Array, size_of
from hybridmodel.routing.resolver import REMOTE_POLICY


class Asking:
    """Sends packed rows to the endpoint; safe to share between threads."""

    def __init__(self, scorer: Scorer, patience: Patience | None = None) -> None:
        timeout_s = scorer.timeout_s or scorer.model.client.endpoint.timeout_s
        self._patience = patience or Patience(away_s=timeout_s)
        self._policy = scorer.policy
        self._scorer = replace(scorer, policy=REMOTE_POLICY, provenance=False)
        self.request_rows = MOST_REQUEST_ROWS
        self._is_counted = getattr(scorer.policy, "counts_requests", False)

    @property
    def workers(self) -> int:
        """How many requests may be in flight at a time."""
        return self._scorer.model.client.endpoint.max_in_flight

    def find_request_rows(self, sample: Bound) -> int:
        """Return how many rows a request should have, judged by a sample of the rows."""
        row_bytes = size_of(sample.feeds) / max(1, sample.rows or 1)
        return request_rows(self._told(sample.feeds, sample.rows or 1), row_bytes)

    def __call__(self, request: Request) -> tuple[Any, int]:
        """Return the predictions as a record batch, and how many rows were sent more than once.

        Raises `EndpointError` or `SpecMismatch` if the endpoint does not answer as it should.
        """
        import pyarrow as pa

        answer, refused = self._patience(lambda: self._answer(request))
        self._policy.score.check_endpoint(answer.outputs)
        kept = pa.RecordBatch.from_arrays([], [])
        batch = self._scorer.assembled(kept, answer, request.rows)
        return batch, self._resent(request, answer) + refused * request.rows

    def _answer(self, request: Request) -> Answer:
        if not self._is_counted:
            return self._scorer.answer(dict(request.feeds))
        model, output = self._scorer.model, self._scorer.output or self._scorer.model.output
        return model.client.infer(
            request.feeds,
            model.spec.answered_names if output is None else (output,),
            rows=request.rows,
            timeout_s=self._scorer.timeout_s,
            request_rows=self.request_rows,
        )

    def _resent(self, request: Request, answer: Answer) -> int:
        """Estimate how many rows were resent; client and server may split a request."""
        if answer.attempts < 2:
            return 0
        size = min(request.rows, self._told(request.feeds, request.rows))
        return size * max(0, answer.attempts - -(-request.rows // size))

    def _told(self, feeds: Mapping[str, Array], rows: int) -> int:
        """Return how many such rows the endpoint accepts in one request."""
        return self._scorer.model.client.request_rows(feeds, rows)
