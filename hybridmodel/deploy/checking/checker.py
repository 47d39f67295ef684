"""Checks the files of a deployment before they go to Azure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from hybridmodel.deploy.checking import deployments, endpoints, keys, model_paths, together
from hybridmodel.deploy.checking.documents import Document, document
from hybridmodel.deploy.checking.files import Folder, Unreadable, look_into, read_text
from hybridmodel.deploy.checking.findings import MOST_FINDINGS, Finding, Place
from hybridmodel.deploy.checking.repository import read_model
from hybridmodel.deploy.checking.yaml_tree import BadYaml, read


def check(folder: str | os.PathLike[str]) -> tuple[Finding, ...]:
    """Check a folder with endpoints, deployments and Triton repositories.

    Reads every ``*.yml`` and ``*.yaml``, every ``config.pbtxt``, and of ONNX files the names,
    types and shapes of inputs and outputs. Nothing is run, and no network is asked. YAML that
    describes no endpoint and no deployment is passed by.

    Parameters
    ----------
    folder : str or path
        A folder, such as the one that `export` wrote.

    Returns
    -------
    tuple of Finding
        By file and line. Empty if nothing is wrong.

    Raises
    ------
    ConfigurationError
        If there is no such folder.

    Examples
    --------
    >>> for finding in check("digits-endpoint"):  # doctest: +SKIP
    ...     print(finding.file, finding.line, finding.what, finding.write)
    """
    seen = look_into(Path(folder))
    findings = list(_whole(seen))
    models = [read_model(path, seen.name(path), seen.root) for path in seen.models]
    for model in models:
        findings += model.findings
    documents: list[Document] = []
    for path in seen.yaml:
        findings += _read(path, seen, documents)
    documents = list(_with_platforms(documents))
    for found in documents:
        findings += islice(_check_document(found), MOST_FINDINGS)
    findings += islice(together.check(documents, models), MOST_FINDINGS)
    return tuple(sorted(set(findings), key=lambda item: (item.file, item.line or 0, item.rule)))


def _whole(seen: Folder) -> Iterator[Finding]:
    if not seen.is_whole:
        yield Place(".").found(
            "too-many-files",
            None,
            "it holds more files than are looked at",
            "check the folder of the deployment itself",
        )


def _read(path: Path, seen: Folder, documents: list[Document]) -> Iterator[Finding]:
    """Add the endpoints and deployments of a file to a list; yield why it cannot be read."""
    place = Place(seen.name(path))
    try:
        roots, duplicates = read(read_text(path, seen.root))
    except Unreadable as error:
        write = "write a file of text in its place"
        yield place.found("unreadable", None, f"it {error}", write)
        return
    except BadYaml as error:
        write = "mend the line, or move the file out of the folder if it is not Azure's"
        yield place.found("yaml-syntax", error.line, f"not YAML: {error.reason}", write)
        return
    found = [document(root, path, place) for root in roots]
    documents += [item for item in found if item is not None]
    for twice in duplicates[:MOST_FINDINGS] if any(found) else ():
        what = f"the key {twice.key!r} stands on line {twice.first_line} already"
        yield place.found("yaml-duplicate-key", twice.line, what, "keep one of them")


def _with_platforms(documents: list[Document]) -> Iterator[Document]:
    """Yield the documents; deployments of an endpoint on Kubernetes are so, too."""
    kubernetes = {
        found.name
        for found in documents
        if found.what == "endpoint" and found.platform == "kubernetes"
    }
    for found in documents:
        known = found.root.text("type") is not None or found.platform != "managed"
        if found.what == "deployment" and not known and found.endpoint_name in kubernetes:
            yield replace(found, platform="kubernetes")
        else:
            yield found


def _check_document(found: Document) -> Iterator[Finding]:
    yield from keys.check(found)
    if found.what == "endpoint":
        yield from endpoints.check(found)
    else:
        yield from deployments.check(found)
        yield from model_paths.check(found)
