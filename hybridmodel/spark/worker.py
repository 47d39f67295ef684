"""The code of Spark's Python workers; each keeps one model across batches and tasks."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel import exceptions
from hybridmodel.batch.columns import Columns
from hybridmodel.batch.patience import Patience
from hybridmodel.batch.pipeline import Piece, scored
from hybridmodel.batch.scoring import Scorer
from hybridmodel.exceptions import EndpointUnavailable, HybridModelError
from hybridmodel.flavor.loading import load_model
from hybridmodel.process.per_process import PerProcess
from hybridmodel.remote.client import EndpointClient, stand_ins
from hybridmodel.remote.clients import client_of
from hybridmodel.remote.http.transport import PooledTransport
from hybridmodel.remote.regions import credentials_of
from hybridmodel.spark.permits import FilePermits, PermittedTransport
from hybridmodel.spark.schemas import fitted

if TYPE_CHECKING:
    import pyarrow as pa

    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.remote.endpoint_base import Endpoint

_MOST_MODELS = 2
"""That a worker keeps: Spark reuses workers, and a notebook makes many models."""

_MOST_TEXT = 10_000
"""Characters of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The settings that the driver pickles for the workers; hybridmodel adds no secret.

    With `requests` 0 no request is ever sent; with `threads` 0 batches are scored one by one.
    """

    key: str
    archive: str
    loading: Mapping[str, Any] = field(repr=False)
    policy: Any
    output: str | None
    timeout_s: float | None
    added: tuple[str, ...]
    requests: int
    threads: int
    patience_s: float


@dataclass(frozen=True, slots=True)
class Task:
    """The stage, partition and attempt of the rows, as Spark counts them."""

    stage: int
    partition: int
    attempt: int

    @classmethod
    def current(cls) -> Task:
        """Return the one that this worker runs."""
        from pyspark import TaskContext

        context = TaskContext.get()
        if context is None:
            return cls(0, 0, 0)
        return cls(context.stageId(), context.partitionId(), context.attemptNumber())


def score_batches(
    job: Job, columns: Columns, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Score one partition, in the order of its rows; what ``mapInArrow`` calls.

    Raises the first failure, with a note that names its rows. If it would recur, the
    next attempts on the same executor raise it again without a request.
    """
    task, folder = Task.current(), folder_of(job)
    fatal = _Fatal(folder / f"failed-{task.stage}-{task.partition}.json")
    if task.attempt:
        fatal.raise_again(task)
    model = model_of(job)
    scorer = Scorer(
        model=model,
        policy=model.policies.for_call(mode=job.policy),
        columns=columns,
        output=job.output,
        timeout_s=job.timeout_s,
        provenance=bool(job.added),
        patience=Patience(busy_s=job.patience_s, away_s=0.0),
    )
    score = _Scoring(scorer, task, fatal)
    for done in scored(_placed(batches), score, job.threads):
        yield fitted(done.batch, schema)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A batch with its first row in the partition."""

    start: int
    batch: pa.RecordBatch


def _placed(batches: Iterator[pa.RecordBatch]) -> Iterator[Piece]:
    start = 0
    for batch in batches:
        if batch.num_rows:
            yield Piece(0, _Rows(start, batch))
        start += batch.num_rows


class _Scoring:
    """Scores the batches of one task; after a failure it begins no other."""

    def __init__(self, scorer: Scorer, task: Task, fatal: _Fatal) -> None:
        self._scorer = scorer
        self._task = task
        self._fatal = fatal
        self._failed: HybridModelError | None = None

    def __call__(self, rows: _Rows) -> Any:
        if self._failed is not None:
            raise self._failed
        try:
            return self._scorer(rows.batch)
        except HybridModelError as error:
            self._failed = error
            self._tell(error, rows)
            raise

    def _tell(self, error: HybridModelError, rows: _Rows) -> None:
        last = rows.start + rows.batch.num_rows - 1
        where = f"rows {rows.start} to {last} of partition {self._task.partition}"
        again = isinstance(error, EndpointUnavailable)
        helps = "another attempt may help" if again else "another attempt would fail the same way"
        error.add_note(f"hybridmodel: {where}, attempt {self._task.attempt}; {helps}")
        if not again:
            self._fatal.mark(error, where)


class _Fatal:
    """Tells the next attempts, which Spark always makes, that they would fail too."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self, error: HybridModelError, where: str) -> None:
        """Record a failure; if that fails, the next attempt fails by itself."""
        text = f"{error}"[:_MOST_TEXT]
        told = {"kind": type(error).__name__, "text": text, "where": where}
        with suppress(OSError):
            self._path.write_text(json.dumps(told), encoding="utf-8")

    def raise_again(self, task: Task) -> None:
        """Raise the failure that an earlier attempt on this executor recorded, if any."""
        try:
            told = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        kind = getattr(exceptions, told["kind"], HybridModelError)
        error: HybridModelError = kind(told["text"])
        error.add_note(f"hybridmodel: {told['where']}, attempt {task.attempt}; not asked again")
        raise error


_models: PerProcess[dict[str, HybridOnnxModel]] = PerProcess()


def model_of(job: Job) -> HybridOnnxModel:
    """Return this worker's model of a job: one session and one pool of connections."""
    models = _models.get(dict)
    if job.key not in models:
        while len(models) >= _MOST_MODELS:
            models.pop(next(iter(models))).close()
        models[job.key] = _loaded(job)
    return models[job.key]


def _loaded(job: Job) -> HybridOnnxModel:
    options = dict(job.loading)
    credential = options.get("credential")
    with _clients(partial(_client, job, credential)):
        return load_model(unpacked(job), **options)


@contextmanager
def _clients(make: Any) -> Iterator[None]:
    stand_ins.append(make)
    try:
        yield
    finally:
        stand_ins.remove(make)


def _client(
    job: Job, credential: Any, model: HybridOnnxModel, endpoint: Endpoint
) -> EndpointClient:
    """Make a client whose requests keep to the share of this executor."""
    permits = FilePermits(folder_of(job), job.requests)
    each = credentials_of(credential, model.endpoints)
    return client_of(
        endpoint.with_overrides(max_in_flight=max(1, job.requests)),
        model.spec,
        each[model.endpoints.index(endpoint)],
        make_transport=lambda place: PermittedTransport(PooledTransport(place), permits),
    )


def folder_of(job: Job) -> Path:
    """Return the folder that the workers of this executor share for a job."""
    # Spark names the folders of its blocks, which no two executors share, and deletes them.
    spark = os.environ.get("SPARK_LOCAL_DIRS", "").partition(",")[0]
    folder = Path(spark or tempfile.gettempdir(), f"hybridmodel-{job.key}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def unpacked(job: Job) -> Path:
    """Return the folder with the saved model, which the first worker of an executor unpacks."""
    from pyspark import SparkFiles

    folder = folder_of(job) / "model"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as partial_folder:
            shutil.unpack_archive(SparkFiles.get(job.archive), partial_folder, "zip")
            with suppress(OSError):  # Another worker was faster.
                Path(partial_folder).rename(folder)
    return folder
