"""Rules that need more than one file: deployments of one endpoint, requests and queues."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence

from hybridmodel.checks import printable
from hybridmodel.deploy.azure.limits import PENDING_PER_RUNNING
from hybridmodel.deploy.checking.config_rules import max_batch_size
from hybridmodel.deploy.checking.deployments import DEFAULT_TIMEOUT_MS
from hybridmodel.deploy.checking.documents import Document
from hybridmodel.deploy.checking.findings import Finding, listed
from hybridmodel.deploy.checking.model_paths import local_path
from hybridmodel.deploy.checking.repository import Model

MOST_DEPLOYMENTS = 20
_US_PER_MS = 1000
_WITH_GPU = "standard_n"  # Families of machines that begin with N have GPUs.


def check(documents: Sequence[Document], models: Sequence[Model]) -> Iterator[Finding]:
    """Yield what is wrong with documents and models that belong together."""
    by_endpoint: dict[tuple[str, bool], list[Document]] = defaultdict(list)
    for document in documents:
        if document.what == "deployment" and document.endpoint_name is not None:
            is_batch = document.platform == "batch"
            by_endpoint[document.endpoint_name, is_batch].append(document)
    for (name, _), deployments in by_endpoint.items():
        yield from _check_number(name, deployments)
    for document in documents:
        if document.what == "endpoint":
            online = by_endpoint.get((document.name or "", False), [])
            yield from _check_receivers(document, online)
    yield from _check_servers(documents, models)


def _check_servers(documents: Sequence[Document], models: Sequence[Model]) -> Iterator[Finding]:
    """Compare each deployment with the models that its Triton serves."""
    by_repository: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        by_repository[os.path.realpath(model.path.parent)].append(model)
    for document in documents:
        repository = local_path(document) if document.is_triton else None
        if repository is not None and document.platform != "batch":
            for model in by_repository.get(os.path.realpath(repository), ()):
                yield from _check_queue(document, model)
                yield from _check_machine(document, model)


def _check_number(name: str, deployments: Sequence[Document]) -> Iterator[Finding]:
    for document in deployments[MOST_DEPLOYMENTS : MOST_DEPLOYMENTS + 1]:
        yield document.place.found(
            "too-many-deployments",
            document.root.line_of("endpoint_name"),
            f"the endpoint {printable(name, 40)!r} has {len(deployments)} deployments",
            f"keep {MOST_DEPLOYMENTS}, or write the name of another endpoint",
        )


def _check_receivers(endpoint: Document, deployments: Sequence[Document]) -> Iterator[Finding]:
    names = {document.name: None for document in deployments if document.name}
    for key in ("traffic", "mirror_traffic"):
        node = endpoint.root.get(key)
        for name, share in node.members.items() if node is not None and names else ():
            if name not in names and share.value:
                yield endpoint.place.found(
                    "traffic-deployment",
                    share.line,
                    f"no file describes a deployment {printable(name, 40)!r} of this endpoint",
                    f"write one of {listed(names)}",
                )


def _check_queue(deployment: Document, model: Model) -> Iterator[Finding]:
    batching = model.config.one("dynamic_batching")
    if batching is None:
        return
    timeout_ms = deployment.root.number("request_settings", "request_timeout_ms")
    timeout_ms = DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms
    policy = batching.value.one("default_queue_policy")
    waits = {
        "max_queue_delay_microseconds": batching.value,
        "default_timeout_microseconds": None if policy is None else policy.value,
    }
    for name, message in waits.items():
        wait = message.one(name) if message is not None else None
        if wait is not None and wait.value >= timeout_ms * _US_PER_MS:
            yield model.place.found(
                "queue-timeout",
                wait.line,
                f"requests may wait {wait.value // _US_PER_MS} ms in Triton's queue, and Azure "
                f"gives them up after {timeout_ms} ms ({deployment.place.file})",
                f"write a {name} well under {timeout_ms * _US_PER_MS}, or a longer "
                "request_timeout_ms",
            )
    if policy is not None:
        yield from _check_room(deployment, model, policy.value.get("max_queue_size", 0))


def _check_room(deployment: Document, model: Model, queue_size: int) -> Iterator[Finding]:
    """Compare what Azure lets in with what Triton queues and computes; 0 queues without end."""
    node = deployment.root.get("request_settings", "max_concurrent_requests_per_instance")
    if node is None or type(node.value) is not int or not queue_size:
        return
    groups = model.config.messages("instance_group")
    instances = sum(max(1, group.get("count", 1)) for group in groups) or 1
    room = queue_size + instances * max(1, max_batch_size(model.config))
    if node.value * PENDING_PER_RUNNING > room:
        yield deployment.place.found(
            "queue-size",
            node.line,
            f"Azure lets {node.value * PENDING_PER_RUNNING} requests wait or run, and "
            f"{model.place.file} has room for {room}: the others become errors of the model (424) "
            "instead of 429, which clients wait out",
            f"write at most {room // PENDING_PER_RUNNING}, or a larger max_queue_size",
        )


def _check_machine(deployment: Document, model: Model) -> Iterator[Finding]:
    machine = deployment.root.text("instance_type")
    if deployment.platform != "managed" or not machine:
        return
    for group in model.config.messages("instance_group"):
        if group.get("kind") == "KIND_GPU" and not machine.lower().startswith(_WITH_GPU):
            yield model.place.found(
                "gpu",
                group.line_of("kind"),
                f"the model wants a GPU, and {printable(machine, 40)} in {deployment.place.file} "
                "has none",
                "write kind: KIND_CPU, or the instance_type of a machine with a GPU, such as "
                "Standard_NC4as_T4_v3",
            )
