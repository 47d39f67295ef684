"""Rules for deployments: online ones, on managed machines and on Kubernetes, and batch."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hybridmodel.checks import printable
from hybridmodel.deploy.azure.limits import MOST_INSTANCES, MOST_REQUEST_TIMEOUT_S
from hybridmodel.deploy.checking.documents import Document
from hybridmodel.deploy.checking.endpoints import check_identity
from hybridmodel.deploy.checking.findings import Finding
from hybridmodel.deploy.checking.keys import word

DEFAULT_TIMEOUT_MS = 5000
DEFAULT_PERIOD_S, DEFAULT_PROBE_TIMEOUT_S, DEFAULT_FAILURES = 10, 2, 30
LOGGING_LEVELS = ("debug", "info", "warning")
PROBES = ("liveness_probe", "readiness_probe")

_MS_PER_S = 1000

_MACHINE = re.compile(
    r"Standard_[A-Z]{1,4}\d{1,4}(-\d{1,4})?[a-z]{0,6}"  # The family, and how many CPUs.
    r"(_[A-Z]{1,3}\d{1,4}[A-Z]?|_cc)?(_v\d{1,2}|_Promo)?",  # The accelerator, and the release.
    re.ASCII | re.IGNORECASE,
)


def check(deployment: Document) -> Iterator[Finding]:
    """Yield what is wrong with a deployment by itself."""
    yield from check_identity(deployment)
    yield from _check_variables(deployment, "environment_variables")
    if deployment.platform == "batch":
        yield from _check_batch(deployment)
    else:
        yield from _check_instances(deployment)
        yield from _check_requests(deployment)
        for name in PROBES:
            yield from _check_probe(deployment, name)
        yield from _check_patience(deployment)
        yield from _check_scale(deployment)


def _at_least(
    document: Document, rule: str, path: tuple[str, ...], least: int, most: int | None = None
) -> Iterator[Finding]:
    """Yield a finding if a number of a document is out of its bounds."""
    value, key = document.root.number(*path), ".".join(path)
    if value is None or (least <= value and (most is None or value <= most)):
        return
    bounds = f"from {least} to {most}" if most is not None else f"from {least}"
    line = document.root.line_of(*path)
    what, write = f"{key} is {value}", f"write {key}: with a number {bounds}"
    yield document.place.found(rule, line, what, write)


def _check_variables(deployment: Document, *path: str) -> Iterator[Finding]:
    node = deployment.root.get(*path)
    for name, value in node.members.items() if node is not None else ():
        if not isinstance(value.value, str):
            shown = printable(name, 60)
            yield deployment.place.found(
                "environment-variables",
                value.line,
                f"the environment variable {shown} is {word(value.value)}, not a text",
                f"put the value of {shown} in quotes",
            )


def _check_instances(deployment: Document) -> Iterator[Finding]:
    root, managed = deployment.root, deployment.platform == "managed"
    if managed and "instance_count" not in root.members:
        yield deployment.place.found(
            "instance-count",
            root.line,
            "the deployment does not say how many instances it has",
            "write instance_count: 1",
        )
    most = MOST_INSTANCES if managed else None
    yield from _at_least(deployment, "instance-count", ("instance_count",), 1, most)
    machine = root.text("instance_type")
    if managed and machine is not None and not _MACHINE.fullmatch(machine):
        yield deployment.place.found(
            "instance-type",
            root.line_of("instance_type"),
            f"{printable(machine, 60)!r} is not spelled like a size of Azure's machines",
            "write one such as Standard_DS3_v2; az vm list-sizes lists those of a region",
        )


def _check_requests(deployment: Document) -> Iterator[Finding]:
    most = int(MOST_REQUEST_TIMEOUT_S[deployment.platform] * _MS_PER_S)
    timeout = ("request_settings", "request_timeout_ms")
    yield from _at_least(deployment, "request-timeout", timeout, 1, most)
    concurrency = ("request_settings", "max_concurrent_requests_per_instance")
    yield from _at_least(deployment, "concurrency", concurrency, 1)
    deprecated = deployment.root.get("request_settings", "max_queue_wait_ms")
    if deprecated is not None:
        yield deployment.place.found(
            "queue-wait",
            deprecated.line,
            "max_queue_wait_ms is deprecated",
            "leave it out, and count the waiting into request_timeout_ms",
        )


def _check_probe(deployment: Document, name: str) -> Iterator[Finding]:
    for key in ("initial_delay", "period", "timeout", "failure_threshold"):
        yield from _at_least(deployment, "probe", (name, key), 1)
    most = 1 if name == "liveness_probe" else None
    yield from _at_least(deployment, "probe", (name, "success_threshold"), 1, most)
    node = deployment.root.get(name)
    if node is None:
        return
    timeout = node.number("timeout") or DEFAULT_PROBE_TIMEOUT_S
    period = node.number("period") or DEFAULT_PERIOD_S
    if timeout > period:
        yield deployment.place.found(
            "probe-overlap",
            node.line_of("timeout"),
            f"{name} waits {timeout} s for an answer and asks again after {period} s",
            f"write a period of at least {timeout}, or a timeout of at most {period}",
        )


def _check_patience(deployment: Document) -> Iterator[Finding]:
    """Compare the time of a request with that of an instance that does not answer its probe."""
    probe = deployment.root.get("liveness_probe")
    timeout_ms = deployment.root.number("request_settings", "request_timeout_ms")
    if probe is None or timeout_ms is None:
        return
    failures = probe.number("failure_threshold") or DEFAULT_FAILURES
    patience_s = failures * (probe.number("period") or DEFAULT_PERIOD_S)
    if 0 < patience_s * _MS_PER_S < timeout_ms:
        yield deployment.place.found(
            "probe-patience",
            probe.line,
            f"an instance that is busy for {patience_s} s is restarted, and a request may take "
            f"{timeout_ms} ms",
            f"write a failure_threshold times period of more than {timeout_ms // _MS_PER_S} s",
        )


def _check_scale(deployment: Document) -> Iterator[Finding]:
    node = deployment.root.get("scale_settings", "type")
    if deployment.platform == "managed" and node is not None and node.value != "default":
        yield deployment.place.found(
            "scale-settings",
            node.line,
            f"managed deployments do not scale by type {printable(str(node.value), 40)!r}",
            "write type: default, and let Azure Monitor's autoscale change the instance count",
        )


def _check_batch(deployment: Document) -> Iterator[Finding]:
    yield from _check_variables(deployment, "settings", "environment_variables")
    for way in ((), ("settings",)):
        yield from _at_least(deployment, "mini-batch-size", (*way, "mini_batch_size"), 1)
        yield from _at_least(deployment, "error-threshold", (*way, "error_threshold"), -1)
        timeout = (*way, "retry_settings", "timeout")
        yield from _at_least(deployment, "retry-timeout", timeout, 1)
        level = deployment.root.text(*way, "logging_level")
        if level is not None and level.lower() not in LOGGING_LEVELS:
            yield deployment.place.found(
                "logging-level",
                deployment.root.line_of(*way, "logging_level"),
                f"{printable(level, 40)!r} is no logging_level",
                f"write logging_level: {', '.join(LOGGING_LEVELS[:-1])} or {LOGGING_LEVELS[-1]}",
            )
