"""Files that are whole once they have their name."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.batch.durable import Disk, Sink, Written, durably, measured
from hybridmodel.batch.lock import LOCK, locked
from hybridmodel.batch.store import LocalStore
from hybridmodel.exceptions import ConfigurationError
from tests.support.batches import DyingDisk, Killed, names


@given(st.lists(st.binary(max_size=50)))
def test_a_sink_knows_what_was_written(pieces: list[bytes]) -> None:
    """Size and checksum are those of all bytes, however they came."""
    file = io.BytesIO()
    sink = Sink(file)
    for piece in pieces:
        assert sink.write(piece) == len(piece)
    whole = b"".join(pieces)
    assert file.getvalue() == whole
    assert sink.tell() == len(whole)
    assert sink.written == Written(len(whole), f"{zlib.crc32(whole):08x}")


def test_a_sink_that_was_given_up_takes_nothing() -> None:
    """A writer that ends its file after an error changes nothing any more."""
    file = io.BytesIO()
    sink = Sink(file)
    sink.write(b"before")
    sink.give_up()
    assert sink.write(b"after") == 5
    assert file.getvalue() == b"before"


def test_the_order_of_the_steps(tmp_path: Path) -> None:
    """A file is written and synced before it has its name, and then its folder is synced."""
    disk = DyingDisk()
    with durably(disk, tmp_path / "file") as sink:
        sink.write(b"data")
        assert names(tmp_path) == {"file.tmp"}
    assert disk.steps == ["create", "sync", "rename", "sync_folder"]
    assert (tmp_path / "file").read_bytes() == b"data"
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize("at", range(4))
def test_a_name_is_never_that_of_half_a_file(tmp_path: Path, at: int) -> None:
    """Killed at any step, there is the old file or the new one, and a later try succeeds."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(Killed), durably(DyingDisk(at), path) as sink:
        sink.write(b"new, and longer")
    assert path.read_bytes() == (b"new, and longer" if at == 3 else b"old")
    with durably(Disk(), path) as sink:
        sink.write(b"last")
    assert path.read_bytes() == b"last"
    assert names(tmp_path) == {"file"}


def test_an_error_leaves_no_unfinished_file(tmp_path: Path) -> None:
    """What could not be written is removed, which gives a full disk its room back."""
    with pytest.raises(TypeError), durably(Disk(), tmp_path / "file") as sink:
        sink.write("no bytes")
    assert names(tmp_path) == set()


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link where a file is to be made is replaced, and what it leads to stays as it is."""
    (tmp_path / "theirs").write_bytes(b"theirs")
    for name in ("file", "file.tmp"):
        (tmp_path / name).symlink_to(tmp_path / "theirs")
    with durably(Disk(), tmp_path / "file") as sink:
        sink.write(b"ours")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize(
    ("content", "is_held"), [(b"data", True), (b"date", False), (b"dat", False), (None, False)]
)
def test_a_store_knows_its_files(tmp_path: Path, content: bytes | None, is_held: bool) -> None:
    """A file counts only if it has the bytes that were written."""
    store = LocalStore(tmp_path, Disk())
    with store.create("file") as sink:
        sink.write(b"data")
    (tmp_path / "file").unlink()
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    assert store.holds("file", sink.written) is is_held


def test_measuring_reads_to_the_end(tmp_path: Path) -> None:
    """A file that is larger than a piece is read piece by piece."""
    data = bytes(range(256)) * 8200
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        assert measured(file) == Written(len(data), f"{zlib.crc32(data):08x}")


@pytest.mark.parametrize(
    "stored", [None, {}, {"size_bytes": -1, "checksum": ""}, {"size_bytes": "1", "checksum": ""}]
)
def test_records_of_files_are_checked(stored: object) -> None:
    """What a manifest says of a file has the types it should have."""
    with pytest.raises(ConfigurationError, match="not the size and checksum"):
        Written.from_dict(stored)


def test_one_job_at_a_time(tmp_path: Path) -> None:
    """Who holds a folder holds it alone, and until the block ends."""
    folder = tmp_path / "job"
    with (
        locked(folder, "out.csv"),
        pytest.raises(ConfigurationError, match=r"out\.csv: another job is writing it"),
        locked(folder, "out.csv"),
    ):
        pass
    with locked(folder, "out.csv"):
        (folder / LOCK).unlink()
        # The file that is held has no name any more, so it keeps nobody away.
        with locked(folder, "out.csv"):
            pass


def test_a_link_is_no_folder_for_a_job(tmp_path: Path) -> None:
    """A job does not work where a link leads that was laid for it."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "job").symlink_to(tmp_path / "theirs")
    with (
        pytest.raises(ConfigurationError, match="is a link; a folder for the job was expected"),
        locked(tmp_path / "job", "out.csv"),
    ):
        pass
    assert names(tmp_path / "theirs") == set()
