"""The driver's side: `udf` checks its arguments once, and sends a job to the workers."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.answer import PROVENANCE
from hybridmodel.batch.columns import Columns, names_of
from hybridmodel.batch.scoring import Scorer as BatchScorer
from hybridmodel.batch.scoring import can_be_split
from hybridmodel.batch.tuning import ONE_THREAD
from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.flavor.loading import load_model, model_folder
from hybridmodel.spark.schemas import as_spark_holds, spark_type
from hybridmodel.spark.shares import Cluster, cluster_of, requests_each
from hybridmodel.spark.worker import Job, score_batches
from hybridmodel.switch import LOCAL

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Scorer:
    """Takes a Spark DataFrame and returns it with columns of predictions; made by `udf`.

    Attributes
    ----------
    model : HybridOnnxModel
        The driver's own, of which the workers have copies.
    requests_each : int
        The most requests in flight from one executor; 0 if none is ever sent.
    executors : int
        The executors that share `max_in_flight`; 0 if no request is ever sent.
    """

    model: HybridOnnxModel
    requests_each: int
    executors: int
    _spark: Any
    _job: Job
    _keep: tuple[str, ...] | None
    _asked_executors: int | None

    def __call__(self, frame: Any) -> Any:
        """Return a DataFrame of the kept columns with the predictions behind them.

        Nothing runs before Spark needs the rows. Their order within a partition stays.

        Parameters
        ----------
        frame : pyspark.sql.DataFrame
            Has the model's features among its columns.

        Raises
        ------
        InputMismatch
            If its columns do not fit the model.
        ConfigurationError
            If a column to keep is missing, or has the name of a prediction, or there are more
            executors by now than `executors`.
        """
        from pyspark.sql.types import StructField, StructType

        self._check_cluster()
        frame, columns = self._selected(frame)
        kept, predicted = self._schemas(frame, columns)
        fields = [frame.schema[name] for name in kept.names] + [
            StructField(item.name, spark_type(item.type)) for item in predicted
        ]
        import pyarrow as pa

        schema = pa.schema([*kept, *predicted])
        function = partial(score_batches, self._job, columns, schema)
        return frame.mapInArrow(function, StructType(fields))

    def __repr__(self) -> str:
        return f"Scorer({self.model!r}, requests_each={self.requests_each})"

    def _check_cluster(self) -> None:
        if not self.requests_each:
            return
        now = cluster_of(self._spark, self._asked_executors).executors
        if now > self.executors:
            raise ConfigurationError(
                f"Spark now has {now} executors, but max_in_flight was divided among "
                f"{self.executors}: call udf(...) again, with executors= if more may be added"
            )

    def _selected(self, frame: Any) -> tuple[Any, Columns]:
        """Return the frame with the columns that are read, and what each of them is."""
        known = names_of(self.model)
        keep = frame.columns if self._keep is None else self._keep
        if known is None:
            ids = () if self._keep is None else tuple(keep)
            return frame, Columns(ids=ids, keep_input=self._keep is None)
        ids = tuple(name for name in keep if name not in known)
        read = [name for name in frame.columns if name in known or name in keep]
        return frame.select(*map(_quoted, read)), Columns(ids=ids, keep=tuple(keep))

    def _schemas(self, frame: Any, columns: Columns) -> tuple[Any, Any]:
        """Return Arrow's schemas of what is kept and predicted, from an answer for no rows."""
        import pyarrow as pa
        from pyspark.sql.pandas.types import to_arrow_schema

        job = self._job
        empty = pa.RecordBatch.from_pylist([], schema=to_arrow_schema(frame.schema))
        scorer = BatchScorer(
            model=self.model,
            policy=self.model.policies.for_call(mode=job.policy),
            columns=columns,
            output=job.output,
            provenance=bool(job.added),
            where="the DataFrame",
        )
        found = scorer(empty)[0].schema
        kept = [item for item in empty.schema if _is_kept(item.name, columns)]
        hidden = set(PROVENANCE) - set(job.added) if job.added else set()
        predicted = [
            pa.field(item.name, as_spark_holds(item.type))
            for item in list(found)[len(kept) :]
            if item.name not in hidden
        ]
        return pa.schema(kept), pa.schema(predicted)


def udf(
    spark: Any,
    model_uri: str | os.PathLike[str],
    *,
    keep: Sequence[str] | None = None,
    use_azure: Any = None,
    mode: Any = None,
    output: str | None = None,
    timeout: float | None = None,
    route: bool = False,
    provenance: bool = False,
    max_in_flight: int | None = None,
    executors: int | None = None,
    patience_s: float = 600.0,
    allow: Sequence[str] | None = None,
    credential: Any = None,
    model_config: Mapping[str, Any] | None = None,
    session_options: Any = None,
) -> Scorer:
    """Make a function that scores Spark DataFrames, on the local or the remote route.

    The model is loaded once in each Python worker of Spark, and kept across batches and tasks. The
    route is decided here, on the driver, and not by the environment of the workers.

    Parameters
    ----------
    spark : pyspark.sql.SparkSession
        Classic, not Spark Connect.
    model_uri : str or path
        As `hybridmodel.load_model` takes it. The driver reads it, and sends it to the executors.
    keep : sequence of str, optional
        Columns that stand before the predictions; default is all.
    use_azure, mode, output, timeout : optional
        As `HybridOnnxModel.predict` takes them.
    route : bool, default=False
        Add the column ``route``: ``local`` or ``azure``.
    provenance : bool, default=False
        Add ``route``, ``score`` and ``reason``.
    max_in_flight : int, optional
        Requests in flight of the whole job; default is the endpoint's own. Each
        executor gets an equal share of it, which its Python workers divide among themselves.
    executors : int, optional
        The most executors there will be, if Spark's settings do not tell.
    patience_s : float, default=600.0
        For how many seconds a batch is sent again after a 429 before its task fails. That is
        cheaper than a new attempt, which scores the whole partition again.
    allow : sequence of str, optional
        As `hybridmodel.load_model` takes it; counts on the driver and on all workers.
    credential : object with ``get_token`` or callable, optional
        As `hybridmodel.load_model` takes it; pickled to the workers, so let it read the secret
        there. Without it, the workers read their own environment.
    model_config, session_options : optional
        As `hybridmodel.load_model` takes them; sessions have one thread unless these say otherwise.

    Returns
    -------
    Scorer
        Called with a DataFrame, it returns one.

    Raises
    ------
    ConfigurationError
        If an argument cannot work, or `max_in_flight` is less than the number of executors.

    Examples
    --------
    >>> score = udf(spark, "models:/digits@champion", keep=["id"], route=True)  # doctest: +SKIP
    >>> score(spark.read.parquet("rows")).write.parquet("scored")  # doctest: +SKIP
    """
    context, folder = _context_of(spark), model_folder(model_uri)
    model, loading = _loaded(
        folder,
        allow=None if allow is None else _as_tuple(allow),
        credential=credential,
        model_config=None if model_config is None else dict(model_config),
        session_options=session_options,
    )
    policy = model.policies.for_call(use_azure, mode)
    cluster, requests = _shares(spark, model, policy, max_in_flight, executors)
    key = uuid.uuid4().hex
    job = Job(
        key=key,
        archive=_send(context, folder, key),
        loading=loading,
        policy=policy,
        output=output,
        timeout_s=timeout,
        added=PROVENANCE if provenance else ("route",) * bool(route),
        requests=requests,
        threads=-(-requests // cluster.tasks),
        patience_s=patience_s,
    )
    return Scorer(
        model=model,
        requests_each=requests,
        executors=cluster.executors if requests else 0,
        _spark=spark,
        _job=job,
        _keep=None if keep is None else _as_tuple(keep),
        _asked_executors=executors,
    )


def _context_of(spark: Any) -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MissingDependency(
            "hybridmodel.spark needs pyspark: pip install 'hybridmodel[spark]'"
        ) from error
    if not isinstance(spark, SparkSession):
        raise ConfigurationError(
            f"spark must be a SparkSession that is not of Spark Connect, got a "
            f"{type(spark).__name__}: Spark Connect does not tell the number of executors"
        )
    return spark.sparkContext


def _loaded(folder: Path, **loading: Any) -> tuple[HybridOnnxModel, dict[str, Any]]:
    """Load the driver's model; return it with the arguments for `load_model` on the workers."""
    model = load_model(folder, **loading)
    if not can_be_split(model.spec):
        raise ConfigurationError(
            "the first dimension of an input or output of the model does not count rows, so rows "
            "cannot go to it in batches"
        )
    if loading["session_options"] is None and not model.local.session_options:
        # Spark runs a task on each core: more threads in a task would compete for the same cores.
        loading["session_options"] = ONE_THREAD
    return model, loading


def _as_tuple(names: Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _shares(
    spark: Any, model: HybridOnnxModel, policy: Any, most: int | None, executors: int | None
) -> tuple[Cluster, int]:
    """Return the cluster, and how many requests each executor may have in flight."""
    if getattr(policy, "mode", None) == LOCAL or model.endpoint is None:
        return Cluster(executors=1, tasks=1), 0
    cluster = cluster_of(spark, executors)
    most = model.endpoint.max_in_flight if most is None else most
    return cluster, requests_each(most, cluster.executors)


def _send(context: Any, folder: Path, key: str) -> str:
    """Give Spark the saved model to send to each executor; return its name there."""
    # New executors may ask for it at any time, so it stays until the driver ends.
    place = tempfile.mkdtemp(prefix="hybridmodel-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    archive = shutil.make_archive(str(Path(place, f"hybridmodel-{key}")), "zip", folder)
    context.addFile(archive)
    return Path(archive).name


def _is_kept(name: str, columns: Columns) -> bool:
    return columns.keep_input or name in columns.ids or name in columns.keep


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
