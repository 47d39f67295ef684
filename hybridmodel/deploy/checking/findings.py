"""What `check` finds, as records, and the table of its rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal

from hybridmodel.checks import printable

Severity = Literal["error", "warning"]

MOST_FINDINGS = 100
"""Findings of a file, of those of a kind, that are told: a file may be made to have millions."""

_MOST_LISTED = 12


@dataclass(frozen=True, slots=True)
class Rule:
    """What one rule holds, in a sentence, and how bad it is to break it.

    With an error, the deployment does not work as written. A warning is about what Azure ignores,
    or what works only until there is load.
    """

    severity: Severity
    holds: str


_error, _warning = partial(Rule, "error"), partial(Rule, "warning")

RULES: Mapping[str, Rule] = {
    # Reading
    "unreadable": _error("a file is regular, in the folder, UTF-8 and at most 1 MiB"),
    "yaml-syntax": _error("YAML is well-formed, within bounds of depth, size and aliases"),
    "yaml-duplicate-key": _error("a key stands once in its mapping"),
    "too-many-files": _warning("a folder has no more files than are looked at"),
    # Endpoints and deployments
    "schema-url": _warning("$schema is the address of the schema for this kind of file"),
    "missing-key": _error("the keys that Azure requires are there"),
    "unknown-key": _error("only keys that Azure knows are there"),
    "wrong-type": _error("a value is of the type that its key takes"),
    "name-length": _error("names have 3 to 32 characters"),
    "name-characters": _error("names are letters, digits and single dashes, after a letter"),
    "auth-mode": _error("auth_mode is one that this kind of endpoint offers"),
    "environment-variables": _error("values of environment variables are texts"),
    "too-many-deployments": _error("an endpoint has at most 20 deployments"),
    # Traffic
    "traffic-type": _error("shares of traffic are whole numbers"),
    "traffic-range": _error("shares of traffic are between 0 and 100"),
    "traffic-sum": _error("shares of traffic add up to 0 or 100"),
    "traffic-at-creation": _warning("traffic is set when there are deployments to get it"),
    "traffic-deployment": _error("traffic goes to deployments that have a file"),
    "mirror-share": _error("at most half of the traffic is mirrored"),
    "mirror-count": _error("one deployment gets mirrored traffic"),
    "mirror-live": _error("no deployment gets live and mirrored traffic"),
    "mirror-kubernetes": _error("only managed endpoints mirror traffic"),
    # Online deployments
    "no-model": _error("a deployment has a model, or an environment that holds one"),
    "model-path": _error("model.path is there"),
    "code-path": _error("the code and the conda file that a deployment names are there"),
    "mlflow-model": _error("an MLflow model's path is the folder with its MLmodel"),
    "repository-level": _error("a Triton model's path is the folder above <model>/<version>/"),
    "instance-count": _error("a deployment says how many instances it has, from 1 to 50"),
    "instance-type": _error("instance_type is spelled like a size of Azure's machines"),
    "request-timeout": _error("request_timeout_ms is within Azure's bounds"),
    "concurrency": _error("max_concurrent_requests_per_instance is 1 or more"),
    "queue-wait": _warning("max_queue_wait_ms is left out: it is deprecated"),
    "probe": _error("times and thresholds of probes are within Azure's bounds"),
    "probe-patience": _warning("an instance is given more time than a request before a restart"),
    "probe-overlap": _warning("a probe times out before the next one starts"),
    "scale-settings": _error("managed deployments have the scale settings of type default"),
    "gpu": _error("instances on GPUs are for machines that have them"),
    # Batch deployments
    "logging-level": _error("logging_level is one that Azure knows"),
    "retry-timeout": _error("retry_settings.timeout is 1 second or more"),
    "mini-batch-size": _error("mini_batch_size is 1 or more"),
    "error-threshold": _error("error_threshold is -1 or more"),
    # config.pbtxt by itself
    "config-syntax": _error("config.pbtxt is well-formed text format of protocol buffers"),
    "config-unknown-field": _error("fields are those of Triton's ModelConfig"),
    "config-type": _error("a value is of the type that its field takes"),
    "config-enum": _error("a value of an enumeration is one of its names"),
    "config-repeated": _error("a field that takes one value is given once"),
    "config-name": _error("the name is the folder's, or left out"),
    "config-batch-size": _error("sizes of batches fit max_batch_size"),
    "config-tensor": _error("each input and output has a name, a datatype and dims"),
    "config-warmup": _error("warm-up requests fit the inputs"),
    "version-folder": _error("there is a folder of a version, a number without leading zeros"),
    "version-policy": _error("versions that are to be served are there"),
    "model-file": _error("each version has the file that its backend loads"),
    # config.pbtxt beside its ONNX file
    "onnx-unreadable": _error("the ONNX file can be read"),
    "external-data": _error("files with weights are beside the ONNX file"),
    "graph-not-tensor": _error("inputs and outputs of the graph are tensors that Triton serves"),
    "graph-input": _error("the inputs are the graph's"),
    "graph-output": _error("the outputs are the graph's"),
    "graph-datatype": _error("datatypes are the graph's"),
    "graph-dims": _error("dims are the graph's, without rows where max_batch_size is over 0"),
    "graph-batch": _error("where max_batch_size is over 0, each tensor's first size is free"),
    "auto-complete": _warning("both lists are written, so that Triton sets no max_batch_size"),
    # Both together
    "queue-timeout": _warning("requests leave Triton's queue before Azure gives them up"),
    "queue-size": _warning("Triton takes what Azure lets in"),
}
"""All rules by their id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong in a folder.

    Attributes
    ----------
    file : str
        The file, relative to the folder, with forward slashes.
    line : int or None
        Counted from 1; None where the finding is about something that is not there, or a folder.
    what : str
        What is wrong, in one sentence.
    write : str
        What to write instead.
    rule : str
        A key of `RULES`.
    severity : str
        ``"error"`` or ``"warning"``.
    """

    file: str
    line: int | None
    what: str
    write: str
    rule: str
    severity: Severity

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, as JSON takes them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Place:
    """A file as findings name it."""

    file: str

    def found(self, rule: str, line: int | None, what: str, write: str) -> Finding:
        """Make a finding in this file; both texts are made safe to print."""
        return Finding(
            file=printable(self.file, 4096),
            line=line,
            what=printable(what, 400),
            write=printable(write, 400),
            rule=rule,
            severity=RULES[rule].severity,
        )


def listed(names: Iterable[str]) -> str:
    """Return the first of several names of unknown origin, as text that is safe to print."""
    first = list(islice(names, _MOST_LISTED + 1))
    shown = [printable(name, 40) for name in first[:_MOST_LISTED]]
    return ", ".join([*shown, "…"] if len(first) > _MOST_LISTED else shown)
