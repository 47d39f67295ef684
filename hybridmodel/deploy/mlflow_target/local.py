"""Rehearses a deployment on this machine, until it is ended: MLflow's ``run-local``."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from hybridmodel.deploy.mlflow_target import shares
from hybridmodel.deploy.mlflow_target.failures import in_the_way
from hybridmodel.deploy.mlflow_target.finding import deployed, shared
from hybridmodel.deploy.mlflow_target.places import Place, Target, place_of
from hybridmodel.deploy.mlflow_target.records import kept_uri
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.exceptions import ConfigurationError

KEYS = ("folder", "endpoint", "port", "traffic", "mirror", "without", "server")
"""Beside those of a deployment."""

_SERVERS = ("auto", "triton", "embedded")

Create = Callable[[Target, Place, str, dict[str, Any]], Any]
"""Makes a deployment that does not exist."""


def run(
    name: str,
    model_uri: str,
    config: dict[str, Any],
    target: Target | None,
    create: Create,
    say: Callable[[str], object],
) -> None:
    """Rehearse a deployment of the target until Ctrl-C or SIGTERM; it is made if it is not there.

    Without a target it is made in a folder of its own, which is removed at the end.
    """
    own = {key: config.pop(key) for key in KEYS if key in config}
    with ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())
        if "folder" in own:
            target = Target(folder=Path(own["folder"]))
        if target is None:
            target = Target(folder=Path(stack.enter_context(tempfile.TemporaryDirectory())))
        place = _placed(target, name, own.get("endpoint") or config.get("azure"))
        if place.record.is_file():
            _check_same(target, place, model_uri, config)
        else:
            create(target, place, model_uri, config)
        rehearsal = stack.enter_context(_started(target, place, own))
        say(_greeting(rehearsal, place))
        rehearsal.wait()


def _placed(target: Target, name: str, endpoint: str | None) -> Place:
    target.local()
    return place_of(target, name, endpoint)


def _check_same(target: Target, place: Place, model_uri: str, config: Mapping[str, Any]) -> None:
    """Raise where an existing deployment is another one than is asked for."""
    _, record = deployed(target, place.name, place.endpoint)
    other = [key for key in config if key != "azure" and config[key] != record.config.get(key)]
    if record.model_uri != kept_uri(model_uri):
        other.append(f"model_uri ({record.model_uri})")
    if other:
        raise in_the_way(
            f"{place.title} exists with another {', '.join(other)}; update it first, or choose "
            "another name"
        )


def _started(target: Target, place: Place, own: Mapping[str, Any]) -> Rehearsal:
    if own.get("server", "auto") not in _SERVERS:
        raise ConfigurationError(f"server is one of {', '.join(_SERVERS)}")
    kept = None if place.endpoint is None else shared(target, place.endpoint)
    given = {key: shares.read(own[key], key) for key in shares.KEYS if key in own}
    return rehearse(
        place.rehearsed,
        port=own.get("port", 0),
        traffic=given.get("traffic", (kept.traffic or None) if kept else None),
        mirror=given.get("mirror", kept.mirror if kept else None),
        without=own.get("without", "").replace(",", " ").split(),
        server=own.get("server", "auto"),
    )


def _greeting(rehearsal: Rehearsal, place: Place) -> str:
    seen = rehearsal.snapshot()
    file = rehearsal.write_environment()
    notes = "".join(f"\n  {note}" for note in (seen.server, *seen.notes))
    return (
        f"rehearsing {place.title} at {seen.uri} ({seen.auth_mode}); Ctrl-C ends it{notes}\n"
        f"  ask it from another shell after: . {file}"
    )


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and both count as a good end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
