"""Where an export appears: complete or not at all, and never over what is there."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.deploy import export, linking, model_files, placing, planning, trying
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import READ_AT_LOAD_BYTES
from tests.support import models
from tests.support.triton_configs import parsed


def linear(seed: int = 0, **shape: int) -> HybridOnnxModel:
    """Make a model; another seed makes another with the same tensors."""
    return HybridOnnxModel(models.linear(seed=seed, **shape))


def content(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, hidden ones too."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Export version 1 of a model."""
    export(linear(), tmp_path / "out", model_name="m")
    return tmp_path / "out"


def test_a_version_joins_others_and_leaves_them_alone(out: Path) -> None:
    """Version 2 appears beside 1; 1 and the configuration are the same files as before."""
    before = {path: path.stat() for path in out.rglob("*") if path.is_file()}
    made = export(linear(seed=1), out, model_name="m", model_version=2)
    assert sorted(content(out)) == [
        "models/m/1/model.onnx",
        "models/m/2/model.onnx",
        "models/m/config.pbtxt",
    ]
    assert (out / "models/m/2/model.onnx").read_bytes() == models.linear(seed=1)
    for path, status in before.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert not made.notes
    assert parsed(out / "models/m").version_policy.HasField("all")


def test_settings_of_a_later_version_are_left_to_overwrite(out: Path) -> None:
    """The configuration of the first version stays, and a note says how to replace it."""
    made = export(linear(), out, model_name="m", model_version=2, queue_size=9)
    config = parsed(out / "models/m")
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 64
    assert "models/m/config.pbtxt stays as it is" in made.notes[0]
    export(linear(), out, model_name="m", model_version=3, queue_size=9, overwrite=True)
    config = parsed(out / "models/m")
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 9
    assert sorted(path.name for path in (out / "models/m").iterdir() if path.is_dir()) == list(
        "123"
    )


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_version_with_other_tensors_is_refused(out: Path, overwrite: bool) -> None:
    """All versions share one configuration, so it must be true for all of them."""
    before = content(out)
    with pytest.raises(ConfigurationError, match=r"config.pbtxt: all versions.*for version 1, in"):
        export(linear(n_outputs=3), out, model_name="m", model_version=2, overwrite=overwrite)
    assert content(out) == before


def test_a_version_with_other_classes_is_refused(tmp_path: Path) -> None:
    """Versions share the file of classes as well."""
    for version, labels in enumerate((("a", "b", "c"), ("a", "b", "d")), start=1):
        model = HybridOnnxModel(models.classifier(zipmap=True, labels=labels))
        if version == 1:
            export(model, tmp_path / "out", model_name="m")
            continue
        with pytest.raises(ConfigurationError, match=r"labels.txt: all versions"):
            export(model, tmp_path / "out", model_name="m", model_version=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model_name": "m"}, r"m/1: exists already; export another version.*--overwrite"),
        ({"model_name": "n"}, r"none of them is models/n/config.pbtxt; choose a new folder"),
    ],
)
def test_a_folder_with_other_files_is_refused(
    out: Path, options: dict[str, Any], said: str
) -> None:
    """Nothing is replaced, and nothing is added, unless that is asked for."""
    before = content(out)
    with pytest.raises(ConfigurationError, match=said):
        export(linear(), out, **options)
    assert content(out) == before


def test_overwriting_replaces_only_files_of_the_same_name(out: Path) -> None:
    """What else is in the folder stays, other versions and models too."""
    (out / "notes.txt").write_text("mine")
    (out / "models/m/1/model.py").write_text("old")
    export(linear(seed=1), out, model_name="m", overwrite=True, queue_size=9)
    export(linear(seed=2), out, model_name="n", overwrite=True)
    found = content(out)
    assert sorted(found) == [
        "models/m/1/model.onnx",
        "models/m/config.pbtxt",
        "models/n/1/model.onnx",
        "models/n/config.pbtxt",
        "notes.txt",
    ]
    assert found["models/m/1/model.onnx"] == models.linear(seed=1)
    assert b"max_queue_size: 9" in found["models/m/config.pbtxt"]


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path: Path) -> None:
    """It may be a mounted one, or the current one."""
    (tmp_path / "out").mkdir()
    number = (tmp_path / "out").stat().st_ino
    export(linear(), tmp_path / "out", model_name="m")
    assert sorted(content(tmp_path / "out")) == ["models/m/1/model.onnx", "models/m/config.pbtxt"]
    assert (tmp_path / "out").stat().st_ino == number


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """An existing file is never replaced."""
    (tmp_path / "out").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigurationError, match="is not a folder"):
            export(linear(), tmp_path / "out", overwrite=overwrite)
    assert content(tmp_path) == {"out": b"mine"}


@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_nothing(tmp_path: Path, exists: bool) -> None:
    """Where the system takes no more bytes, there is a message and no part of an export."""
    if exists:
        (tmp_path / "out").mkdir()
    model = HybridOnnxModel(models.linear(n_features=200, n_outputs=100))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(ConfigurationError, match="nothing of it is left: File too large"):
            export(model, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.rglob("*")] == ["out"] * exists


def test_a_failed_export_leaves_no_folders_above_it(tmp_path: Path) -> None:
    """Folders that an export has made on the way to its own go with it."""
    with pytest.raises(ConfigurationError, match="nothing of it is left"):
        export(linear(), tmp_path / "a/b" / ("c" * 300))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("exists", [False, True])
def test_an_export_that_was_killed_is_repeated(tmp_path: Path, exists: bool) -> None:
    """What it left does not stand in the way, and goes unless somebody is still writing it."""
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    parent = out if exists else tmp_path
    left = parent / ".export.0123abcd.part"

    def beside(_: Any) -> None:
        """Begin the same export once more: it must leave this one alone."""
        (running,) = (path for path in parent.glob(".export.*.part") if path != left)
        os.utime(running, (0, 0))
        export(linear(), tmp_path / "other", model_name="m")
        export(linear(), parent / "sub/other", model_name="m")
        assert running.is_dir()

    (left / "models").mkdir(parents=True)
    os.utime(left, (0, 0))
    export(linear(), out, model_name="m", beside=beside)
    assert (out / "models/m/1/model.onnx").is_file()
    assert not list(parent.glob(".export.*"))


def test_what_is_written_beside_appears_with_the_export_or_not_at_all(tmp_path: Path) -> None:
    """Templates write where all is built; when they fail there is no folder."""

    def template(built: Any) -> None:
        assert (built.repository / "m/config.pbtxt").is_file()
        (built.folder / "endpoint.yml").write_text("name: e")

    def failing(built: Any) -> None:
        template(built)
        raise ConfigurationError("a name that Azure refuses")

    with pytest.raises(ConfigurationError, match="Azure refuses"):
        export(linear(), tmp_path / "out", model_name="m", beside=failing)
    assert content(tmp_path) == {}
    made = export(linear(), tmp_path / "out", model_name="m", beside=template)
    assert made.folder == tmp_path / "out"
    assert "endpoint.yml" in content(made.folder)


def test_a_file_beside_is_not_replaced_unasked(out: Path) -> None:
    """The same file may be there already, another is refused by name."""

    def template(built: Any) -> None:
        (built.folder / "endpoint.yml").write_text("name: e")

    (out / "endpoint.yml").write_text("name: mine")
    before = content(out)
    with pytest.raises(ConfigurationError, match=r"has endpoint.yml already, with another content"):
        export(linear(), out, model_name="m", model_version=2, beside=template)
    assert content(out) == before
    (out / "endpoint.yml").write_text("name: e")
    export(linear(), out, model_name="m", model_version=2, beside=template)
    assert "models/m/2/model.onnx" in content(out)


def test_a_move_that_fails_is_undone(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When not all can be moved, what was replaced is back."""
    before, rename = content(out), Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name == "config.pbtxt" and path.parent.parent.parent.name.endswith(".part"):
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(placing.Path, "rename", refuse)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        export(linear(seed=1), out, model_name="m", overwrite=True, queue_size=9)
    assert content(out) == before
    with pytest.raises(ConfigurationError, match="Permission denied"):
        export(linear(), out, model_name="n", overwrite=True)
    assert content(out) == before
    assert [path.name for path in (out / "models").iterdir()] == ["m"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model that is too large to be read when it is loaded, with external data or not."""
    folder = tmp_path_factory.mktemp("large")
    columns = READ_AT_LOAD_BYTES // 4 + 1
    whole = models.scaled(np.ones(columns)).SerializeToString()
    save_model(HybridOnnxModel(whole), folder / "whole")
    models.save_external(models.scaled(np.arange(3.0)), folder / "m.onnx")
    save_model(HybridOnnxModel(folder / "m.onnx"), folder / "external")
    return folder


@pytest.mark.parametrize("name", ["whole", "external"])
def test_files_of_a_saved_model_are_linked(large: Path, tmp_path: Path, name: str) -> None:
    """They need no room on the disk, and a note says so where they are the same files."""
    out = large / f"out_{name}"
    made = export(large / name, out, model_name="m")
    kept = large / name / "data/hybrid_onnx"
    for path in (made.repository / "m/1").rglob("*.*"):
        if path.is_file():
            is_same = path.samefile(kept / path.name)
            assert is_same == any("hard links" in note for note in made.notes)
            assert path.read_bytes() == (kept / path.name).read_bytes()


def test_a_copy_is_a_file_of_its_own(large: Path, tmp_path: Path) -> None:
    """Whoever will change the exported files asks for copies."""
    made = export(large / "whole", tmp_path / "out", model_name="m", linked=False)
    copy = made.repository / "m/1/model.onnx"
    kept = large / "whole/data/hybrid_onnx/model.onnx"
    assert copy.stat().st_nlink == 1
    assert copy.read_bytes() == kept.read_bytes()
    assert not any("hard links" in note for note in made.notes)


def test_a_file_of_two_names_is_not_emptied(tmp_path: Path) -> None:
    """A model may name its data twice, as w.bin and ./w.bin; the saved file stays as it was."""
    model = onnx.load_from_string(models.linear())
    models.save_external(model, tmp_path / "m.onnx", "w.bin")
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "./w.bin"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    save_model(HybridOnnxModel(tmp_path / "m.onnx"), tmp_path / "saved")
    before = content(tmp_path / "saved")
    made = export(tmp_path / "saved", tmp_path / "out", model_name="m")
    assert content(tmp_path / "saved") == before
    exported = made.repository / "m/1/model.onnx"
    assert (exported / "w.bin").read_bytes() == before["data/hybrid_onnx/w.bin"]
    assert (exported / "model.onnx").read_bytes() == before["data/hybrid_onnx/model.onnx"]


@pytest.mark.parametrize("write", [export, save_model])
def test_external_data_does_not_take_the_model_s_place(tmp_path: Path, write: Any) -> None:
    """However its name is spelt."""
    model = onnx.load_from_string(models.linear())
    models.save_external(model, tmp_path / "m.onnx", "model.onnx")
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "./model.onnx"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ConfigurationError, match="another name for its external data"):
        write(HybridOnnxModel(tmp_path / "m.onnx"), tmp_path / "out")


@pytest.fixture
def damaged(large: Path, tmp_path: Path) -> Path:
    """Save a large model, and change one of its weights on the disk."""
    shutil.copytree(large / "whole", tmp_path / "saved")
    path = tmp_path / "saved/data/hybrid_onnx/model.onnx"
    data = bytearray(path.read_bytes())
    data[-20000] ^= 1
    path.write_bytes(data)
    return tmp_path / "saved"


def test_a_damaged_model_is_not_exported(damaged: Path, tmp_path: Path) -> None:
    """Its hash is compared, also where its files would only be linked."""
    with pytest.raises(ConfigurationError, match="not the file that was saved"):
        export(damaged, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every model as one that takes long to read."""
    for module in (model_files, planning, trying):
        monkeypatch.setattr(module, "MOST_BYTES", 0)


@pytest.mark.usefixtures("nothing_is_small")
def test_the_hash_of_a_very_large_model_is_compared_on_demand(
    damaged: Path, tmp_path: Path
) -> None:
    """It would take longer than a copy; a note says that it was left out, and how to have it."""
    made = export(damaged, tmp_path / "out", model_name="m")
    assert any("hash" in note and "--verify" in note for note in made.notes)
    with pytest.raises(ConfigurationError, match="not the file that was saved"):
        export(damaged, tmp_path / "other", verify=True)


@pytest.mark.usefixtures("nothing_is_small")
def test_a_very_large_model_is_not_tried(tmp_path: Path) -> None:
    """Batches need a word of the user, the warm-up is written with a warning, and both say so."""
    made = export(HybridOnnxModel(models.linear()), tmp_path / "a", model_name="m")
    assert made.max_batch_size == 0
    assert any("was not found out" in note for note in made.notes)
    assert any("warm-up with zeros was not tried" in note for note in made.notes)
    assert parsed(made.repository / "m").model_warmup
    made = export(linear(), tmp_path / "b", max_batch_size=32, warm_up=False)
    assert (made.max_batch_size, made.notes) == (32, ())
    made = export(HybridOnnxModel(models.classifier(zipmap=True)), tmp_path / "c")
    assert any("was changed and not tried" in note for note in made.notes)


@pytest.mark.parametrize("without", [(), ("copy_file_range",)])
def test_pieces_of_a_file_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: tuple[str, ...]
) -> None:
    """New bytes and old ranges follow each other, with the system's help and without."""
    for name in without:
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(linking, "_RANGE_BYTES", 7)
    monkeypatch.setattr(linking, "_BLOCK_BYTES", 5)
    old = bytes(range(256))
    (tmp_path / "old").write_bytes(old)
    pieces = [range(10), b"new", range(200, 256), b"", range(5, 6), b"end"]
    expected = old[:10] + b"new" + old[200:] + old[5:6] + b"end"
    for source in (tmp_path / "old", old):
        linking.assemble(source, pieces, tmp_path / "made")
        assert (tmp_path / "made").read_bytes() == expected
    with pytest.raises(OSError, match="ended at byte 256, of 300"):
        linking.assemble(tmp_path / "old", [range(300)], tmp_path / "made")


def test_a_link_to_a_model_is_followed(tmp_path: Path) -> None:
    """Caches keep models as symbolic links; what is exported is the file itself."""
    (tmp_path / "blob").write_bytes(b"model")
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    linking.clone(tmp_path / "link", tmp_path / "made")
    assert not (tmp_path / "made").is_symlink()
    assert (tmp_path / "made").read_bytes() == b"model"


def test_a_reflink_is_taken_where_the_file_system_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shares the blocks of the disk, and is a file of its own."""

    def share(new: Any, code: int, old: int) -> None:
        assert code == 0x40049409
        new.write(os.pread(old, 99, 0))

    (tmp_path / "model").write_bytes(b"model")
    monkeypatch.setattr("fcntl.ioctl", share)
    assert linking.clone(tmp_path / "model", tmp_path / "made") == linking.REFLINK
    assert (tmp_path / "made").read_bytes() == b"model"
    assert (tmp_path / "model").stat().st_nlink == 1


def test_a_copy_is_made_where_files_cannot_be_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between two file systems."""

    def refuse(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    (tmp_path / "model").write_bytes(b"model")
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr("fcntl.ioctl", refuse)
    assert linking.clone(tmp_path / "model", tmp_path / "made") == linking.COPY
    assert (tmp_path / "made").read_bytes() == b"model"
    assert (tmp_path / "model").stat().st_nlink == 1
