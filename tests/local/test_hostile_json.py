"""What is stored in `hybrid.json` is read strictly, and nothing in it is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hybridmodel import ConfigurationError, HybridOnnxModel, load_model
from hybridmodel.flavor import DATA_FOLDER, save_model
from hybridmodel.flavor.artifact import METADATA_FILE
from tests.support import models
from tests.support.hostile import (
    ONE,
    READERS,
    XY,
    at,
    edit,
    refused,
    replace_model,
)


@pytest.mark.parametrize(
    "name",
    [
        "../../../secret.bin",
        "/etc/passwd",
        "/dev/zero",
        "sub/model.onnx",
        "sub\\model.onnx",
        "..",
        ".",
        "",
        "C:model.onnx",
        "a\x00",
        None,
        1,
        ["model.onnx"],
    ],
)
def test_the_model_is_a_file_beside_hybrid_json(name: Any, saved: Path, secret: Path) -> None:
    """The ONNX file is named by a plain name; any other tells nothing about what lies there."""
    edit(saved, lambda stored: stored["model"].update(file=name))
    refused(saved, "json: model.file: expected the name of a file in this folder")
    assert secret.exists()


@pytest.mark.parametrize("file", ["model.onnx", "w.bin"])
def test_errors_tell_nothing_about_files_elsewhere(file: str, saved: Path, secret: Path) -> None:
    """Neither size nor hash nor existence of a file outside is told, whatever a link leads to."""
    folder = replace_model(
        saved,
        READERS["an initializer"]("w.bin"),
        external_files={"w.bin": {"size_bytes": 1, "sha256": "0" * 64}},
        **XY,
    )
    (folder / "w.bin").write_bytes(b"1")
    messages = set()
    for target in (secret, secret.with_name("not there")):
        (folder / file).unlink()
        (folder / file).symlink_to(target)
        with pytest.raises(ConfigurationError) as caught:
            load_model(saved)
        messages.add(str(caught.value))
    assert messages == {f"{folder / file}: is a link that leads out of the model's own folder"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nests deeper than 50 levels"),
        ("[" * 60 + "]" * 60, "nests deeper than 50 levels"),
        ('{"a":' * 990 + "1" + "}" * 990, "nests deeper than 50 levels"),
        ('{"schema_version": 1, "schema_version": 1}', "'schema_version' occurs twice"),
        ('{"schema_version": NaN}', "NaN is not a number"),
        ('{"schema_version": -Infinity}', "-Infinity is not a number"),
        ('{"schema_version": ' + "9" * 5000 + "}", "4300 digits"),
        (b"\xff\xfe{\x00}\x00", "codec can't decode"),
        ("x" * (2**24 + 1), "more than 16777216 bytes"),
    ],
)
def test_hostile_json(content: str | bytes, message: str, saved: Path) -> None:
    """JSON that is too deep, too large, ambiguous or none is a ConfigurationError."""
    data = content if isinstance(content, bytes) else content.encode()
    (saved / DATA_FOLDER / METADATA_FILE).write_bytes(data)
    refused(saved, rf"hybrid\.json: .*{message}")


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        (("model", "sha256"), 1, "json: model.sha256: expected a sha256, got 1$"),
        (("model", "sha256"), "../../etc", "json: model.sha256: expected a sha256, got"),
        (("model", "sha256"), "0" * 64, "is not the file that was saved"),
        (("model", "size_bytes"), 10**4000, "is not the file that was saved"),
        (
            ("model", "size_bytes"),
            None,
            "json: model.size_bytes: expected a whole number, got None",
        ),
        (
            ("model", "size_bytes"),
            "172",
            "json: model.size_bytes: expected a whole number, got '172'",
        ),
        (("model", "external_files"), [], "json: model.external_files: expected an object"),
        (("model", "external_files"), {"a": 1}, r"model.external_files\['a'\]: expected an object"),
        (("model", "external_files"), {"a": {}}, r"\['a'\]\.size_bytes: is missing"),
        (("model", "outputs", 0, "labels"), [1, 2], "it has other labels"),
        (("model", "outputs", 0, "labels"), [True], r"labels\[0\]: expected a text or a"),
        (("model", "outputs", 0, "labels"), [1.5], r"labels\[0\]: expected a text or a"),
        (("model", "outputs", 0, "labels"), [[]], r"outputs\[0\]\.labels\[0\]: expected a text or"),
        (("session", "providers"), [{}], "providers is a list of names"),
        (("session",), None, "json: session: expected an object, got None"),
        (("model", "outputs", 1, "shape"), "x", r"model\.outputs\[1\]\.shape: expected a list of"),
        (("model", "outputs", 1, "shape"), [1.0], r"outputs\[1\]\.shape\[0\]: expected a whole"),
        (("model", "outputs", 1, "datatype"), "F", r"model\.outputs\[1\]: .*'F' is not one of"),
        (("model", "inputs", 0, "batched"), 1, r"model\.inputs\[0\]\.batched: expected true or"),
        (("feature_names",), "abc", "json: feature_names: expected a list of texts, got 'abc'"),
        (("output",), 1, "json: output: expected a text, got 1"),
        (("use_azure",), "1", "json: use_azure: expected true or false, got '1'"),
        (("routing",), {"mode": "x"}, "json: routing: not a stored routing policy"),
        (("endpoint",), "https://a.example", "json: endpoint: expected an object, got"),
    ],
)
def test_lies_in_hybrid_json(way: tuple[Any, ...], value: Any, message: str, saved: Path) -> None:
    """Values of a wrong kind, or that are not so, are found out when the model is loaded."""
    edit(saved, lambda stored: at(stored, *way[:-1]).update({way[-1]: value}))
    refused(saved, message)


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("inputs", 0, "name"), "other"),
        (("outputs", 0, "name"), "other"),
        (("outputs",), []),
        (("inputs",), []),
    ],
)
def test_names_that_the_graph_does_not_have(way: tuple[Any, ...], value: Any, saved: Path) -> None:
    """Inputs and outputs of other names are found out when the session opens, not by a crash."""
    edit(saved, lambda stored: at(stored["model"], *way[:-1]).update({way[-1]: value}))
    model = load_model(saved)
    with pytest.raises(ConfigurationError, match="but its description has"):
        model.local.run({"x": ONE}, model.spec.output_names)


def test_labels_of_a_zipmap_that_are_not_so(tmp_path: Path) -> None:
    """Class labels that are not those of the graph are refused at load, not found at predict."""
    save_model(HybridOnnxModel(models.classifier(zipmap=True)), tmp_path / "saved")
    for labels in (["no", "yes", "perhaps"], []):
        edit(
            tmp_path / "saved",
            lambda stored, labels=labels: stored["model"]["outputs"][1].update(labels=labels),
        )
        refused(tmp_path / "saved", "it has other labels")


def test_a_description_that_could_not_be_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving refuses a hybrid.json that would be too large to load."""
    from hybridmodel.flavor import artifact

    monkeypatch.setattr(artifact, "MOST_METADATA_BYTES", 100)
    with pytest.raises(ConfigurationError, match="loading would refuse it"):
        save_model(HybridOnnxModel(models.two_outputs()), tmp_path / "saved")
