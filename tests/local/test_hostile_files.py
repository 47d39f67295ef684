"""A saved model makes nobody read a file elsewhere, or wait for one that never ends."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hybridmodel import ConfigurationError, HybridOnnxModel, load_model
from hybridmodel.flavor import DATA_FOLDER, save_model
from hybridmodel.flavor.artifact import METADATA_FILE
from tests.support import models
from tests.support.hostile import (
    ONE,
    READERS,
    SECRET,
    XY,
    elsewhere,
    refused,
    replace_model,
    scaling,
)


@pytest.mark.parametrize("way", READERS)
@pytest.mark.parametrize("place", ["..", "absolute", "link", "link of a folder"])
def test_weights_outside_of_the_folder_are_refused(
    way: str, place: str, saved: Path, secret: Path
) -> None:
    """A saved model reads no file outside of its folder, whichever way it says so."""
    folder = saved / DATA_FOLDER
    location = {
        "..": os.path.relpath(secret, folder),
        "absolute": str(secret),
        "link": "w.bin",
        "link of a folder": "sub/secret.bin",
    }[place]
    (folder / "w.bin").symlink_to(secret)
    (folder / "sub").symlink_to(secret.parent)
    facts = {"size_bytes": 12, "sha256": "0" * 64}
    for listed in ({}, {location: facts}):
        replace_model(saved, READERS[way](location), external_files=listed, **XY)
        refused(saved, r"outside of|leads out|is not as it was saved|not an ONNX model")


@pytest.mark.parametrize("way", [way for way in READERS if "bits" not in way])
def test_weights_that_hybrid_json_does_not_list_are_refused(way: str, saved: Path) -> None:
    """A file inside the folder is read only where the model was saved with it."""
    folder = replace_model(saved, READERS[way]("w.bin"), **XY)
    (folder / "w.bin").write_bytes(SECRET.tobytes())
    refused(saved, r"its tensors are in other files \('w\.bin'\)")


@pytest.mark.parametrize("way", ["an initializer", "a constant", "a branch", "a function"])
def test_weights_inside_of_the_folder_are_read(way: str, tmp_path: Path) -> None:
    """External data inside is saved, loaded and used as before."""
    given = tmp_path / "given"
    given.mkdir()
    (given / "m.onnx").write_bytes(READERS[way]("w.bin"))
    (given / "w.bin").write_bytes(SECRET.tobytes())
    save_model(HybridOnnxModel(given / "m.onnx"), tmp_path / "saved")
    np.testing.assert_array_equal(load_model(tmp_path / "saved").predict(ONE), [SECRET])


def test_links_inside_of_the_folder_are_followed(tmp_path: Path) -> None:
    """A link to another file of the folder, and a folder reached by a link, are as good."""
    given = tmp_path / "given"
    given.mkdir()
    (given / "m.onnx").write_bytes(READERS["an initializer"]("w.bin"))
    (given / "w.bin").write_bytes(SECRET.tobytes())
    save_model(HybridOnnxModel(given / "m.onnx"), tmp_path / "saved")
    folder = tmp_path / "saved" / DATA_FOLDER
    for name in ("w.bin", "model.onnx", METADATA_FILE):
        (folder / name).rename(folder / f"real-{name}")
        (folder / name).symlink_to(f"real-{name}")
    (tmp_path / "linked").symlink_to(tmp_path / "saved")
    np.testing.assert_array_equal(load_model(tmp_path / "linked").predict(ONE), [SECRET])


def test_caches_of_links_are_taken_from_code(tmp_path: Path) -> None:
    """A path that code gives may be a link to a folder where the weights lie beside the model."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "view").mkdir()
    (tmp_path / "blobs" / "m.onnx").write_bytes(READERS["an initializer"]("w.bin"))
    (tmp_path / "blobs" / "w.bin").write_bytes(SECRET.tobytes())
    for name in ("m.onnx", "w.bin"):
        (tmp_path / "view" / name).symlink_to(tmp_path / "blobs" / name)
    np.testing.assert_array_equal(
        HybridOnnxModel(tmp_path / "view" / "m.onnx").predict(ONE), [SECRET]
    )


def test_links_to_anywhere_are_not_copied_from_code(tmp_path: Path, secret: Path) -> None:
    """Weights that a link takes from anywhere else are refused, not copied into a saved model."""
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "m.onnx").write_bytes(READERS["an initializer"]("w.bin"))
    (tmp_path / "given" / "w.bin").symlink_to(secret)
    with pytest.raises(ConfigurationError, match="leads out"):
        HybridOnnxModel(tmp_path / "given" / "m.onnx")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "circle", "gone"])
@pytest.mark.parametrize("file", ["w.bin", "model.onnx", METADATA_FILE])
def test_only_regular_files_are_opened(kind: str, file: str, saved: Path) -> None:
    """A pipe, device or folder in the place of a file is refused at once, not waited for."""
    folder = replace_model(
        saved,
        READERS["an initializer"]("w.bin"),
        external_files={"w.bin": {"size_bytes": 12, "sha256": "0" * 64}},
        **XY,
    )
    (folder / "w.bin").write_bytes(bytes(12))
    load_model(saved)
    path = folder / file
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path)
    refused(
        saved,
        rf"{file}: (is not a regular|is a link that leads out|cannot be read)|has no hybrid"
        r"|'w.bin' is missing",
    )


def test_devices_are_no_regular_files(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that lies in the folder itself is refused by its kind."""
    real = Path.stat

    def as_device(path: Path, **options: Any) -> Any:
        found = real(path, **options)
        if path.name != "model.onnx":
            return found
        return os.stat_result((stat.S_IFCHR | 0o666, *tuple(found)[1:]))

    monkeypatch.setattr(Path, "stat", as_device)
    refused(saved, r"model\.onnx: is not a regular file")


@pytest.mark.parametrize(
    "location", ["", ".", "./", "a\x00b", "w\n.bin", "C:w.bin", "\\\\host\\share", "a/../../b"]
)
def test_locations_that_are_no_path_inside(location: str, saved: Path) -> None:
    """A location that some system reads as a way out of the folder, or as none, is refused."""
    data = READERS["an initializer"](location)
    replace_model(
        saved, data, external_files={location: {"size_bytes": 1, "sha256": "0" * 64}}, **XY
    )
    refused(saved, "outside of the model's own folder")


def test_addresses_in_memory_are_refused(saved: Path) -> None:
    """A model cannot name an address in memory, as onnxruntime does within a process."""
    location = "*/_ORT_MEM_ADDR_/*"
    tensor = elsewhere(location)
    tensor.external_data.add(key="offset", value="140000000000000")
    data = scaling(initializer=[tensor]).SerializeToString()
    folder = replace_model(
        saved, data, external_files={location: {"size_bytes": 12, "sha256": "0" * 64}}, **XY
    )
    (folder / "*" / "_ORT_MEM_ADDR_").mkdir(parents=True)
    (folder / location).write_bytes(bytes(12))
    with pytest.raises(ConfigurationError):
        load_model(saved).predict(ONE)


def test_onnxruntimes_own_format_is_refused(saved: Path) -> None:
    """Bytes that onnxruntime would read as its own format are not looked through as ONNX."""
    data = b"\x12\x04" + b"\x00\x00" + b"ORTM" + models.two_outputs()
    replace_model(saved, data)
    refused(saved, "onnxruntime's own format")
    data = models.two_outputs()
    folder = replace_model(saved, data, file="model.ort")
    (folder / "model.onnx").rename(folder / "model.ort")
    assert load_model(saved).predict(ONE, output="total").tolist() == [[3.0]]


def test_settings_in_the_onnx_file_are_refused_where_they_count(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings in the file's metadata are refused where a variable lets onnxruntime read them."""
    model = onnx.load_from_string(models.two_outputs())
    inner = {"session_options": {"enable_profiling": 1}}
    model.metadata_props.add(key="ort_config", value=json.dumps(inner))
    replace_model(saved, model.SerializeToString())
    assert load_model(saved).predict(ONE, output="total").tolist() == [[3.0]]
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    refused(saved, "unset that variable")
