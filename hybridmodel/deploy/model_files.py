"""Writes the files of one version of a model, as Triton's onnxruntime backend loads them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from hybridmodel.data.tensors import ModelSpec, TensorSpec, format_shape
from hybridmodel.deploy.graph_edits import edited, to_declare
from hybridmodel.deploy.linking import COPY, HARD_LINK, REFLINK, assemble, clone
from hybridmodel.deploy.trying import MOST_BYTES, opened, same_answers, size_bytes
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.protobuf import Malformed
from hybridmodel.local.session import LocalSession
from hybridmodel.serving.model_config import MODEL_FILE


def served(spec: ModelSpec) -> ModelSpec:
    """Return the tensors of a model as the endpoint has them: classes are columns of numbers."""
    plain = (replace(item, labels=(), unranked=False) for item in spec.outputs)
    return replace(spec, outputs=tuple(plain))


def write_labels(spec: ModelSpec, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Write the classes of each ZipMap output; return the names of the files, and notes."""
    folder.mkdir(parents=True)
    files: dict[str, str] = {}
    notes = []
    for item in spec.outputs:
        if not item.labels:
            continue
        lines = [str(label) for label in item.labels]
        where = "in the local model only, as one has a line break"
        if not any("\n" in line for line in lines):
            name = f"labels_{len(files) + 1}.txt" if files else "labels.txt"
            (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            files[item.name] = name
            where = f"in {name}"
        notes.append(
            f"the ZipMap of output {item.name!r} is taken out, as Triton serves no list of maps: "
            f"the endpoint gives {format_shape(item.shape)}; the classes of its columns are {where}"
        )
    return files, notes


def write_model(
    local: LocalSession, folder: Path, *, linked: bool = True, verify: bool = False
) -> list[str]:
    """Write the ONNX file and its external data into the folder of a version; return notes.

    With external data, the version has a folder ``model.onnx`` with all files. An output that the
    graph declares otherwise than the model gives it is declared anew. The hash is compared with
    the saved one, that of a large model with `verify` only: it would take longer than a copy.
    """
    onnx = local.onnx
    if MODEL_FILE in map(os.path.normpath, onnx.external_files):
        raise ConfigurationError(
            f"{onnx.path}: has tensors in a file {MODEL_FILE!r}, the name that Triton wants for "
            "the model itself; save it with another name for its external data"
        )
    folder /= MODEL_FILE if onnx.external_files else ""
    folder.mkdir(parents=True)
    outputs = _to_declare(onnx, local.spec)
    notes = [] if verify else _unverified(onnx)
    if not notes and onnx.sha256:
        onnx.verify()
    means = _write_files(onnx, outputs, folder, _means(onnx) if linked else ())
    notes += _redeclared(outputs)
    if outputs:
        notes += _check_edited(local, folder / MODEL_FILE)
    if HARD_LINK in means:
        notes.append(
            f"files are hard links to those beside {onnx.path}: what changes one changes both; "
            "--copy makes copies"
        )
    return notes


def _write_files(
    onnx: OnnxFile, outputs: Mapping[str, TensorSpec], folder: Path, means: Collection[str]
) -> list[str]:
    """Return how each file came there."""
    found = [_write_graph(onnx, outputs, folder / MODEL_FILE, means)]
    for name in onnx.external_files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        found.append(clone(_path(onnx).parent / name, folder / name, means))
    return found


def _means(onnx: OnnxFile) -> Collection[str]:
    """Return how files may be linked: only those of a saved model are never written again."""
    is_saved = onnx.sha256 and onnx.external_hashes.keys() == set(onnx.external_files)
    return (REFLINK, HARD_LINK) if is_saved else (REFLINK,)


def _to_declare(onnx: OnnxFile, spec: ModelSpec) -> dict[str, TensorSpec]:
    try:
        with onnx.view() as view:
            return to_declare(view, spec)
    except Malformed as error:
        raise ConfigurationError(f"{onnx.path}: is damaged") from error


def _write_graph(
    onnx: OnnxFile, outputs: Mapping[str, TensorSpec], target: Path, means: Collection[str]
) -> str:
    if outputs:
        with onnx.view() as view:
            pieces = edited(view, outputs)
        assemble(_path(onnx) if onnx.data is None else onnx.data, pieces, target)
    elif onnx.data is None:
        return clone(_path(onnx), target, means)
    else:
        target.write_bytes(onnx.data)
    return COPY


def _unverified(onnx: OnnxFile) -> list[str]:
    if onnx.data is not None or not onnx.sha256 or size_bytes(onnx) <= MOST_BYTES:
        return []
    said = f"the hash of the model was not compared, as it has over {MOST_BYTES >> 20} MiB"
    return [f"{said}; --verify does that"]


def _redeclared(outputs: Mapping[str, TensorSpec]) -> list[str]:
    return [
        f"output {item.name!r} is declared as {format_shape(item.shape)}, which the model gives: "
        "its graph says otherwise, or nothing, and Triton goes by that"
        for item in outputs.values()
        if not item.labels
    ]


def _check_edited(local: LocalSession, path: Path) -> list[str]:
    """Compare the written model with the original; raise if they are not the same."""
    if size_bytes(local.onnx) > MOST_BYTES:
        return [f"{MODEL_FILE} was changed and not tried, as it has over {MOST_BYTES >> 20} MiB"]
    old, new, expected = opened(local.onnx, local.spec), opened(path), served(local.spec)
    if _shapes(new.spec) != _shapes(expected) or not same_answers(old, new):
        raise ConfigurationError(
            "the model without its ZipMap, or with its outputs declared anew, does not answer as "
            "the original does; convert it with zipmap=False, and declare what its outputs are"
        )
    return []


def _shapes(spec: ModelSpec) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(item.name, item.datatype, item.shape) for item in (*spec.inputs, *spec.outputs)]


def _path(onnx: OnnxFile) -> Path:
    return onnx.path or Path()
