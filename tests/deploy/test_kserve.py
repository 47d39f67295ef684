"""`hybridmodel export --kserve`: the file of an inference service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.azure_exports import export, read, save

if TYPE_CHECKING:
    from pathlib import Path

PLACE = "s3://bucket/digits"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a hybrid model."""
    return save(tmp_path_factory.mktemp("kserve") / "saved")


def test_the_service(saved: Path, tmp_path: Path) -> None:
    """The service runs Triton with the protocol v2 on a copy of the repository."""
    export(saved, tmp_path / "out", "--kserve", "digits", "--storage-uri", PLACE)
    found = read(tmp_path / "out" / "kserve.yml")
    assert (found["apiVersion"], found["kind"]) == (
        "serving.kserve.io/v1beta1",
        "InferenceService",
    )
    assert found["metadata"] == {"name": "digits"}
    model = found["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "onnx"}
    assert (model["protocolVersion"], model["storageUri"]) == ("v2", PLACE)
    assert model["runtime"] == "kserve-tritonserver"
    assert (tmp_path / "out" / "models" / "digits" / "config.pbtxt").is_file()


def test_beside_azure(saved: Path, tmp_path: Path) -> None:
    """One repository may have files for both."""
    export(saved, tmp_path / "out", "--azure", "abc", "--kserve", "digits", "--storage-uri", PLACE)
    assert (tmp_path / "out" / "kserve.yml").is_file()
    assert (tmp_path / "out" / "endpoint.yml").is_file()


@pytest.mark.parametrize("name", ["", "Digits", "a_b", "-a", "a-", "1a", "a" * 51, "a.b"])
def test_names_that_kubernetes_refuses(saved: Path, tmp_path: Path, name: str) -> None:
    """A name that is no label of DNS is refused before anything is written."""
    result = export(saved, tmp_path / "out", f"--kserve={name}", "--storage-uri", PLACE, status=2)
    assert "Kubernetes takes" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "place", ["models", "s3://user:k3y-0af1@bucket/x", "https://h/x?sig=k3y-0af1", "s3:// x"]
)
def test_places_that_are_refused(saved: Path, tmp_path: Path, place: str) -> None:
    """A place that is no address, or has a secret in it, is refused and not repeated."""
    result = export(saved, tmp_path / "out", "--kserve", "digits", "--storage-uri", place, status=2)
    assert "storage_uri is an address" in result.output
    assert "k3y" not in result.output
    assert not (tmp_path / "out").exists()
