"""Decides how a model is served: batches, instances, queue, warm-up; and says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hybridmodel.data.tensors import ModelSpec, TensorSpec, format_shape
from hybridmodel.deploy.sizing import instances_and_threads, rows_for
from hybridmodel.deploy.trying import MOST_BYTES, Trial, size_bytes, tried
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession
from hybridmodel.serving.model_config import Running

_LONGEST_SHOWN = 5
_LEAST = {"max_batch_size": 0, "cores": 1, "instances": 1, "queue_size": 1, "queue_delay_us": 0}
QUEUE_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What whoever exports a model wants of its endpoint; None is decided here.

    Attributes
    ----------
    max_batch_size : int, optional
        Most rows of a request, and of several that are answered together; with 0 a request has any
        number of rows, and is answered alone.
    cores : int, optional
        Processor cores of the server's machine.
    instances : int, optional
        Copies of the model that share these cores.
    queue_size : int, optional
        Requests that may wait; the next one is refused at once, with status 503.
    queue_delay_us : int, default=0
        Microseconds that a request waits for others to share a batch with it.
    warm_up : bool, optional
        Whether each instance answers zeros before the model is ready.
    """

    max_batch_size: int | None = None
    cores: int | None = None
    instances: int | None = None
    queue_size: int | None = None
    queue_delay_us: int = 0
    warm_up: bool | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            number = getattr(self, name)
            if number is not None and number < least:
                raise ConfigurationError(f"{name} is a number from {least}, not {number}")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model will be served, and what its user should know of it."""

    spec: ModelSpec
    max_batch_size: int
    running: Running
    notes: list[str] = field(default_factory=list)


def check_servable(spec: ModelSpec) -> None:
    """Raise `ConfigurationError` for tensors that no ``config.pbtxt`` can declare."""
    for what, tensors in (("input", spec.inputs), ("output", spec.outputs)):
        if not tensors:
            raise ConfigurationError(f"the model has no {what}; Triton requires one at least")
        for item in tensors:
            where = f"{what} {item.name!r}"
            if not item.shape:
                known = "of unknown rank" if item.unranked else "a scalar"
                raise ConfigurationError(
                    f"{where} is {known}; Triton requires a dimension at least, so declare it "
                    "with a shape (onnx.helper.make_tensor_value_info) or add one (Unsqueeze)"
                )
            if 0 in item.shape:
                raise ConfigurationError(
                    f"{where} has the shape {format_shape(item.shape)}; Triton allows no dimension "
                    "of size 0"
                )


def planned(local: LocalSession, wishes: Wishes, labels: Mapping[str, str]) -> Plan:
    """Decide how a model is served; `labels` are its files of classes, by output."""
    spec = local.spec
    notes: list[str] = []
    trial = tried(local.onnx, spec)
    rows = _rows(spec, wishes, trial, notes)
    size = size_bytes(local.onnx)
    instances, threads = instances_and_threads(wishes.cores, wishes.instances, size)
    running = Running(
        instances=instances,
        threads=threads,
        queue_size=_queue_size(wishes.queue_size, instances, notes),
        queue_delay_us=wishes.queue_delay_us,
        warm_up=_warm_up(wishes, trial, notes),
        label_files=labels,
    )
    return Plan(spec, rows, running, notes)


def _queue_size(wished: int | None, instances: int, notes: list[str]) -> int:
    """Return the bound of the queue; 0 for none.

    Under a bound, a Triton with a single instance holds up some requests for half a second: its
    scheduler waits for a signal that it has missed. With two instances this is not seen.
    """
    if instances > 1:
        return QUEUE_SIZE if wished is None else wished
    if wished is None:
        notes.append(
            "the queue has no bound: with one instance, a bound lets Triton hold up about one "
            "request in 400 for half a second; --queue-size sets one, more --cores avoid that"
        )
        return 0
    notes.append(
        "with one instance, the bound of the queue lets Triton hold up about one request in 400 "
        "for half a second"
    )
    return wished


def _rows(spec: ModelSpec, wishes: Wishes, trial: Trial, notes: list[str]) -> int:
    """Return the ``max_batch_size``."""
    if wishes.max_batch_size is not None:
        return _wished_rows(spec, wishes.max_batch_size, trial, notes)
    reason = _reason_against_batches(spec, trial)
    if reason is None:
        return rows_for(spec)
    notes.append(f"max_batch_size: 0, so that each request is answered alone: {reason}")
    return 0


def _wished_rows(spec: ModelSpec, wished: int, trial: Trial, notes: list[str]) -> int:
    if wished and trial.rows_apart is False and not _without_rows(spec):
        raise ConfigurationError(
            "max_batch_size would let Triton join the rows of several requests, but the answer of "
            "this model to a row depends on the rows beside it; export it with max_batch_size 0"
        )
    flat = _flat(spec) if wished else []
    if flat:
        notes.append(
            f"with max_batch_size, Triton wants and gives {_listed(flat)} as [?, 1]; hybridmodel's "
            "own clients send and expect the shape of the local model, and will refuse it"
        )
    return wished


def _reason_against_batches(spec: ModelSpec, trial: Trial) -> str | None:
    rowless = _without_rows(spec)
    if rowless:
        return f"the first dimension of {_listed(rowless)} does not count rows"
    flat = _flat(spec)
    if flat:
        return (
            f"with batches, Triton would want or give {_listed(flat)} as [?, 1], another shape "
            "than the local model's"
        )
    if trial.rows_apart is False:
        return "its answer to a row depends on the rows beside it"
    if trial.rows_apart is None:
        return (
            "whether rows stay apart was not found out with made-up rows; --max-batch-size says "
            "that they do"
        )
    return None


def _without_rows(spec: ModelSpec) -> list[TensorSpec]:
    return [item for item in (*spec.inputs, *spec.outputs) if not item.batched]


def _flat(spec: ModelSpec) -> list[TensorSpec]:
    return [item for item in (*spec.inputs, *spec.outputs) if len(item.shape) == 1]


def _listed(tensors: list[TensorSpec]) -> str:
    shown = [f"{item.name!r} {format_shape(item.shape)}" for item in tensors[:_LONGEST_SHOWN]]
    return ", ".join(shown) + (", …" if len(tensors) > _LONGEST_SHOWN else "")


def _warm_up(wishes: Wishes, trial: Trial, notes: list[str]) -> bool:
    if wishes.warm_up is None and trial.takes_zeros is False:
        notes.append("no warm-up, since the model fails on zeros: the first request will be slow")
        return False
    if wishes.warm_up is None and trial.takes_zeros is None:
        notes.append(
            f"the warm-up with zeros was not tried, as the model has over {MOST_BYTES >> 20} MiB "
            "or very large rows; a model that fails on zeros will not start, and --no-warm-up "
            "leaves it out"
        )
    if wishes.warm_up and trial.takes_zeros is False:
        raise ConfigurationError(
            "the model fails on zeros, which its warm-up would send, so Triton would not start it; "
            "export it without a warm-up"
        )
    return wishes.warm_up is not False
