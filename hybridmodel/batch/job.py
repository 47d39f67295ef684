"""`predict_files`: scores files exactly once, even if the process is killed in between."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from hybridmodel.batch import work as works
from hybridmodel.batch.columns import Columns
from hybridmodel.batch.durable import Disk
from hybridmodel.batch.endings import clear_errors, told_how_to_go_on
from hybridmodel.batch.formats import Reading
from hybridmodel.batch.inputs import Location, find
from hybridmodel.batch.rules import Rules
from hybridmodel.batch.running import Progress, Run
from hybridmodel.batch.scoring import Scorer
from hybridmodel.batch.source import Source
from hybridmodel.batch.store import LAST, NEVER, Store
from hybridmodel.batch.summary import Summary
from hybridmodel.batch.target import Target, target_of
from hybridmodel.batch.tuning import ONE_THREAD, tuned
from hybridmodel.batch.two_pass import has_two_passes
from hybridmodel.batch.work import Work
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import is_onnx_file
from hybridmodel.routing.resolver import LOCAL_POLICY

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


def predict_files(
    model: HybridOnnxModel | str | os.PathLike[str],
    inputs: Location | Iterable[Location],
    output: Location,
    *,
    use_azure: Any = None,
    mode: Any = None,
    columns: Columns | None = None,
    keep: Iterable[str] = (),
    keep_input: bool = False,
    provenance: bool = False,
    output_name: str | None = None,
    timeout: float | None = None,
    reading: Reading | None = None,
    batch_rows: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_bad_rows: str = "fail",
    max_errors: int | str = 0,
    progress: Progress | None = None,
    disk: Disk | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Predict for all rows of files, in flat memory, and write the answers in the same order.

    Finished parts are kept on disk, in a folder beside the output. A job that was interrupted goes
    on with ``resume=True``, and gives the same rows, order and values as one that was not.

    Parameters
    ----------
    model : HybridOnnxModel, str or path
        Answers; also what `hybridmodel.load_model` takes, or an ONNX file.
    inputs : str, path or iterable of them
        As `hybridmodel.batch.inputs.find` takes them: files, folders, globs, addresses.
    output : str or path
        A Parquet, CSV, JSON lines or Arrow IPC file, as its suffix says; without a suffix a folder
        of Parquet files. It appears when it is complete.
    use_azure, mode, timeout, provenance : optional
        As `HybridOnnxModel.predict` takes them. With a `Budget`, the endpoint answers exactly the
        least sure rows of all files.
    columns : Columns, optional
        Which columns are features, and which are kept; replaces `keep` and `keep_input`.
    keep : iterable of str
        Columns of the input that stand before the predictions.
    keep_input : bool, default=False
        Keep all of them.
    output_name : str, optional
        The only output of the model that is wanted.
    reading : Reading, optional
        How texts are read.
    batch_rows : int, optional
        Rows that are scored at a time.
    workers : int, optional
        Threads that score.
    resume : bool, default=False
        Go on with a half-done job, if there is one. Whatever changes the answers must be the same
        as before. The manifest is kept at the end, in a folder whose name begins with a dot, so
        that the same call finds that the job is done, and does not fail.
    overwrite : bool, default=False
        Replace an existing output when the job is done, and discard a half-done job.
    on_bad_rows : str, default="fail"
        ``"write"`` leaves out the rows that `HybridOnnxModel.predict` refuses, and writes them with
        the reason to a file of JSON lines beside the output; ``"fail"`` raises.
    max_errors : int or str, default=0
        The most such rows, as a number or as a share of all rows such as ``"1%"``.
    progress : callable, optional
        Called with the counts so far and the number of rows, or None if that is not known.
    disk : Disk, optional
        Does the durable steps.
    clock : callable
        Returns seconds.

    Returns
    -------
    Summary
        ``rows == local + remote + errors``.

    Raises
    ------
    ConfigurationError
        If an argument is invalid, the output exists or another job is writing it, a half-done job
        exists or cannot go on, or the disk is full.
    InputMismatch
        If a file cannot be read, or there are more bad rows than `max_errors`.
    EndpointError, SpecMismatch
        As `HybridOnnxModel.predict`; finished parts are kept.
    """
    started = clock()
    with _opened(model) as opened:
        policy = opened.policies.for_call(use_azure, mode)
        first = LOCAL_POLICY if has_two_passes(policy) else policy
        found = tuned(opened, first, workers=workers, batch_rows=batch_rows)
        scorer = Scorer(
            model=found.model,
            policy=policy,
            columns=columns or Columns(keep=tuple(keep), keep_input=keep_input),
            output=output_name,
            timeout_s=timeout,
            provenance=provenance,
        )
        rules = Rules.of(scorer, reading, on_bad_rows, max_errors)
        target = target_of(output, disk or Disk())
        source = Source.looked_at(find(inputs), rules, target)
        with clear_errors(target.name), target.held() as store:
            work = _work(store, source, target, resume=resume, overwrite=overwrite)
            run = Run(source=source, work=work, target=target, tuning=found, progress=progress)
            with _kept(store, target.name):
                done = work.done or run.make(overwrite=overwrite)
                target.publish(store, done)
            store.clear(NEVER if resume else LAST)
    return Summary(
        **done.counts.to_dict(),
        parts=done.parts,
        resumed=work.resumed,
        elapsed_s=clock() - started,
        output=target.name,
        bad_rows=None if done.bad is None else target.bad_rows,
    )


def _work(store: Store, source: Source, target: Target, *, resume: bool, overwrite: bool) -> Work:
    """Begin a job, or go on with one."""
    growing = source.where_grows(store)
    form = source.form_of_parts(grows=growing is not None)
    if resume and works.is_begun(store):
        try:
            work = works.resume(
                store,
                source.task,
                form=form,
                growing=growing,
                output=target.name,
                holds=lambda done: target.holds(store, done),
            )
        except ConfigurationError:
            if not (overwrite and works.is_done(store)):
                raise
        else:
            if work.done is None:
                target.check_free(overwrite=overwrite)
            return work
    if not overwrite and works.is_begun(store) and not works.is_done(store):
        raise ConfigurationError(
            f"{target.name}: a half-done job is there: --resume goes on with it, --overwrite "
            "begins anew"
        )
    target.check_free(overwrite=overwrite)
    return works.begin(store, source.task, form=form, growing=growing)


@contextmanager
def _kept(store: Store, output: str) -> Iterator[None]:
    """After an error, keep the finished parts, or remove the folder if there are none."""
    try:
        with told_how_to_go_on(output, lambda: works.has_parts(store)):
            yield
    except BaseException:
        with suppress(OSError):
            if not works.has_parts(store):
                store.clear(LAST)
        raise


@contextmanager
def _opened(model: Any) -> Iterator[HybridOnnxModel]:
    """Yield a model, and close it if it was opened here."""
    if not isinstance(model, (str, os.PathLike)):
        yield model
        return
    if is_onnx_file(model):
        from hybridmodel.model import HybridOnnxModel

        opened = HybridOnnxModel(model, session_options=ONE_THREAD)
    else:
        from hybridmodel.flavor import load_model

        opened = load_model(model)
    with opened:
        yield opened
