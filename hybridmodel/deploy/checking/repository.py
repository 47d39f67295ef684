"""Rules for the folder of one of Triton's models: configuration, versions and their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from hybridmodel.checks import printable
from hybridmodel.deploy.checking import config_rules, graph_rules
from hybridmodel.deploy.checking.config_parser import Message, parse
from hybridmodel.deploy.checking.files import (
    Unreadable,
    folders_in,
    is_version,
    read_text,
)
from hybridmodel.deploy.checking.findings import MOST_FINDINGS, Finding, Place, listed
from hybridmodel.deploy.checking.graph import read_graph
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.model_config import CONFIG_FILE, MODEL_FILE

_FILES = {"onnxruntime": MODEL_FILE, "python": "model.py"}
_PLATFORMS = {"onnxruntime_onnx": "onnxruntime"}


@dataclass(frozen=True)
class Model:
    """A folder of a repository, with its configuration and what is wrong with both."""

    path: Path
    place: Place
    config: Message
    findings: list[Finding] = field(default_factory=list)

    @property
    def backend(self) -> str:
        """What loads its files; without a word about it, Triton goes by the files."""
        if self.config.get("backend"):
            return str(self.config.get("backend"))
        platform = str(self.config.get("platform", ""))
        guessed = platform or "onnxruntime"
        return _PLATFORMS.get(platform, guessed)

    @property
    def file_name(self) -> str | None:
        """The file that each version has to have; None where it is not known."""
        named = self.config.get("default_model_filename")
        return str(named) if named else _FILES.get(self.backend)


def read_model(path: Path, name: str, root: Path) -> Model:
    """Read the folder of a model, which findings call `name`, in a folder that is checked."""
    place = Place(f"{name}/{CONFIG_FILE}")
    config = Message("ModelConfig", 1)
    findings: list[Finding] = []
    if os.path.lexists(path / CONFIG_FILE):
        try:
            config, findings = parse(read_text(path / CONFIG_FILE, root), place)
        except Unreadable as error:
            write = "write a file of text in its place"
            findings = [place.found("unreadable", None, f"it {error}", write)]
            return Model(path, place, config, findings)
    model = Model(path, place, config, findings)
    if not findings:  # What could not be read cannot be compared.
        findings += islice(config_rules.check(config, place, path.name), MOST_FINDINGS)
        findings += islice(_check_versions(model, name), MOST_FINDINGS)
    return model


def _check_versions(model: Model, name: str) -> Iterator[Finding]:
    if model.backend == "ensemble" or model.config.one("ensemble_scheduling") is not None:
        return
    names = [path.name for path in folders_in(model.path)]
    versions = sorted(filter(is_version, names), key=int)
    if not versions:
        close = f"; {printable(names[0], 40)!r} is none" if names else ""
        yield Place(name).found(
            "version-folder",
            None,
            f"there is no folder of a version{close}",
            f"name it 1, so that the file is {name}/1/{model.file_name or 'model.onnx'}",
        )
    yield from _check_policy(model, versions)
    for version in versions:
        yield from _check_version(model, name, version)


def _check_policy(model: Model, versions: list[str]) -> Iterator[Finding]:
    policy = model.config.one("version_policy")
    specific = policy.value.one("specific") if policy is not None else None
    for wanted in specific.value.all("versions") if specific is not None else ():
        if str(wanted.value) not in versions:
            yield model.place.found(
                "version-policy",
                wanted.line,
                f"there is no folder for version {wanted.value}",
                f"write versions out of {listed(versions) or 'those that are there'}",
            )


def _check_version(model: Model, name: str, version: str) -> Iterator[Finding]:
    wanted = model.file_name
    if wanted is None:
        return
    file = model.path / version / wanted
    place = Place(f"{name}/{version}/{wanted}")
    if not os.path.lexists(file) or "/" in wanted or "\\" in wanted:
        yield place.found(
            "model-file",
            None,
            "the file that Triton loads is not there",
            f"put {printable(wanted, 60)} there, or write default_model_filename",
        )
        return
    if model.backend == "onnxruntime":
        # A model with weights in other files may be a folder, in which all of them are.
        yield from _check_graph(model, file / wanted if file.is_dir() else file, place)


def _check_graph(model: Model, file: Path, place: Place) -> Iterator[Finding]:
    try:
        graph = read_graph(file)
    except ConfigurationError as error:
        write = "export or convert the model again"
        yield place.found("onnx-unreadable", None, f"it {error}", write)
        return
    for external in graph.external:
        if not _is_beside(file, external):
            yield place.found(
                "external-data",
                None,
                f"its weights in {printable(external, 80)!r} are missing",
                "copy that file into the same folder",
            )
    yield from graph_rules.check_kinds(graph, place)
    yield from graph_rules.check(model.config, graph, model.place)


def _is_beside(file: Path, name: str) -> bool:
    """Tell whether a file that a model names is in the model's folder."""
    target = Path(os.path.normpath(file.parent / name))
    return target.is_relative_to(file.parent) and target.is_file()
