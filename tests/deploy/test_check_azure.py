"""`check` beside azure-ai-ml's own loaders: the list of 29 mistakes, and Azure's samples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hybridmodel.deploy import check
from hybridmodel.deploy.checking.keys import KEYS
from tests.support.deploy_mistakes import (
    FILES,
    MISTAKES,
    Case,
    ask_azure,
    cases,
    table,
    write_files,
)
from tests.support.deploy_samples import LOADED, SAMPLES
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "deploy_checks.md"

_SCHEMAS = {
    ("endpoint", "managed"): ("_endpoint.ManagedOnlineEndpointSchema",),
    ("endpoint", "kubernetes"): ("_endpoint.KubernetesOnlineEndpointSchema",),
    ("endpoint", "batch"): ("_endpoint.batch.batch_endpoint.BatchEndpointSchema",),
    ("deployment", "managed"): (
        "_deployment.online.online_deployment.ManagedOnlineDeploymentSchema",
    ),
    ("deployment", "kubernetes"): (
        "_deployment.online.online_deployment.KubernetesOnlineDeploymentSchema",
    ),
    ("deployment", "batch"): (
        "_deployment.batch.batch_deployment.BatchDeploymentSchema",
        "_deployment.batch.model_batch_deployment.ModelBatchDeploymentSchema",
    ),
}
_CASES = list(cases())
_IDS = [f"{case.mistake.number}-{index}" for index, case in enumerate(_CASES)]

needs_environment = pytest.mark.skipif(os.name != "posix", reason="its environment needs POSIX")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Path]:
    """Write the files of each mistake into a folder of its own."""
    return {case: case.write(tmp_path_factory.mktemp("mistake")) for case in _CASES}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write each sample into a folder of its own."""
    folders = {}
    for name, files in SAMPLES.items():
        folders[name] = tmp_path_factory.mktemp(name)
        write_files(folders[name], files)
    return folders


@pytest.fixture(scope="module")
def said(
    written: Mapping[Case, Path], samples: Mapping[str, Path]
) -> tuple[dict[Case, str | None], list[str | None]]:
    """Ask azure-ai-ml once about all mistakes, and then about the samples and its own keys."""
    files = [(loader, samples[name] / file) for (name, file), loader in LOADED.items()]
    schemas = [("schema", Path(name)) for names in _SCHEMAS.values() for name in names]
    return ask_azure(written, [*files, *schemas])


@pytest.mark.parametrize("case", _CASES, ids=_IDS)
def test_each_mistake_is_found(case: Case, written: Mapping[Case, Path]) -> None:
    """Each of the 29 mistakes is found, with its file, its line, and what to write."""
    path = written[case]
    root = path.parents[len(Path(case.file).parts) - 1]
    found = [item for item in check(root) if item.rule == case.mistake.rule]
    assert case.file in {item.file for item in found}
    lines = {item.line for item in found if item.file == case.file}
    assert None not in lines
    assert case.line is None or case.line in lines
    assert all(item.what and item.write for item in found)


def test_without_a_mistake_nothing_is_found(tmp_path: Path) -> None:
    """The files that the mistakes are made of have none."""
    write_files(tmp_path, FILES)
    assert check(tmp_path) == ()


def test_the_list_is_whole() -> None:
    """There are 29 mistakes, each with at least one case."""
    assert [mistake.number for mistake in MISTAKES] == list(range(1, 30))
    assert {case.mistake.number for case in _CASES} == set(range(1, 30))


@needs_environment
def test_the_page_says_what_happened(said: tuple[dict[Case, str | None], Any]) -> None:
    """The table of the page is what check and azure-ai-ml's loaders said just now."""
    made = table(said[0])
    assert made in PAGE.read_text(encoding="utf-8"), made


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_is_found_in_samples(name: str, samples: Mapping[str, Path]) -> None:
    """Files in the shapes of Azure's samples, and files of other tools, are left alone."""
    assert check(samples[name]) == ()


@needs_environment
def test_azure_takes_the_samples_and_has_the_same_keys(said: tuple[Any, list[str | None]]) -> None:
    """azure-ai-ml loads the samples, and its schemas have the keys of our tables."""
    answers = said[1]
    assert dict(zip(LOADED, answers, strict=False)) == dict.fromkeys(LOADED)
    schemas = [name for names in _SCHEMAS.values() for name in names]
    keys = dict(zip(schemas, answers[len(LOADED) :], strict=True))
    for kind, names in _SCHEMAS.items():
        theirs = {key for name in names for key in str(keys[name]).split()}
        ours = set(_flat(KEYS[kind])) - {"$schema"}
        assert _known_to(ours, theirs) == _known_to(theirs, ours), kind


def _flat(keys: Mapping[str, Any], way: str = "") -> list[str]:
    """Return keys, and those of mappings in them with dots."""
    found = []
    for key, value in keys.items():
        found.append(f"{way}{key}")
        if isinstance(value, Mapping):
            found += _flat(value, f"{way}{key}.")
    return found


def _known_to(some: set[str], others: set[str]) -> set[str]:
    """Return the keys in mappings which others look into, too."""
    opened = {key.rpartition(".")[0] for key in others}
    return {key for key in some if key.rpartition(".")[0] in opened}
