"""The record of a job: read as it was written, or refused."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.batch.durable import Disk
from hybridmodel.batch.manifest import JOB, SCHEMA_VERSION, Entry, Manifest
from hybridmodel.batch.store import LINE_BYTES, LocalStore
from hybridmodel.exceptions import ConfigurationError

FIRST = Entry(JOB, {"schema_version": SCHEMA_VERSION})
ENTRIES = [FIRST, Entry("part", {"number": 0}), Entry("part", {"number": 1}), Entry("done", {})]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Make a manifest of `ENTRIES`."""
    made = Manifest(LocalStore(tmp_path, Disk()))
    made.begin(ENTRIES[:1])
    for entry in ENTRIES[1:]:
        made.append(entry)
    return made


def lined(text: bytes) -> bytes:
    """Make a line with the right checksum of any text."""
    return b"%08x %s\n" % (zlib.crc32(text), text)


@given(st.dictionaries(st.text().filter(lambda key: key != "kind"), json_values))
def test_a_line_is_read_as_it_was_written(facts: dict[str, Any]) -> None:
    """What is written in a line is what is read from it."""
    entry = Entry("part", facts)
    assert Entry.read(entry.line()) == entry
    assert entry.line().count(b"\n") == 1


@given(st.binary(max_size=60))
def test_any_bytes_are_a_line_or_none(line: bytes) -> None:
    """Bytes that are no line are told as that, whatever they are."""
    assert Entry.read(line) is None


@pytest.mark.parametrize("text", [b"{}", b"[]", b'{"kind": 1}', b"[" * 60_000, b"\xff", b"{"])
def test_a_right_checksum_makes_no_line(text: bytes) -> None:
    """A line is a JSON object that says its kind, also if its checksum is right."""
    assert Entry.read(lined(text)) is None


def test_no_manifest_has_no_entries(tmp_path: Path) -> None:
    """Where no job was begun there is nothing to be read."""
    assert list(Manifest(LocalStore(tmp_path, Disk())).entries()) == []


def test_entries_come_back_in_order(manifest: Manifest) -> None:
    """Lines are read in the order in which they were written."""
    assert list(manifest.entries()) == ENTRIES


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_last_line_is_cut_off(manifest: Manifest, tmp_path: Path, cut: int) -> None:
    """Without any of its last bytes the last line has not happened, and the next one follows."""
    path = tmp_path / "manifest"
    whole = path.read_bytes()
    lost = len(ENTRIES[-1].line())
    path.write_bytes(whole[: -min(cut, lost)])
    assert list(manifest.entries()) == ENTRIES[:-1]
    assert path.read_bytes() == whole[:-lost]
    manifest.append(ENTRIES[-1])
    assert list(manifest.entries()) == ENTRIES


def test_an_altered_last_line_is_cut_off(manifest: Manifest, tmp_path: Path) -> None:
    """Bytes that the power has left in the last line are told by its checksum."""
    path = tmp_path / "manifest"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5] + b"\0\0\0\0\n")
    assert list(manifest.entries()) == ENTRIES[:-1]


@pytest.mark.parametrize("line", [0, 1, 2])
def test_an_altered_line_elsewhere_is_refused(
    manifest: Manifest, tmp_path: Path, line: int
) -> None:
    """No job goes on when a line before the last is not as it was written."""
    path = tmp_path / "manifest"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b"}", b" }")
    path.write_bytes(b"".join(lines))
    with pytest.raises(
        ConfigurationError, match=f"line {line + 1} of the manifest is not as it was written"
    ):
        list(manifest.entries())


def test_a_missing_first_line_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    """The first line says what the job is, and no other does."""
    path = tmp_path / "manifest"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    with pytest.raises(ConfigurationError, match="line 1 of the manifest"):
        list(manifest.entries())
    path.write_bytes(lines[0] * 2)
    with pytest.raises(ConfigurationError, match="line 2 of the manifest"):
        list(manifest.entries())


def test_the_manifest_of_a_later_release(tmp_path: Path) -> None:
    """A job that another release has begun is left to it."""
    made = Manifest(LocalStore(tmp_path, Disk()))
    made.begin([Entry(JOB, {"schema_version": SCHEMA_VERSION + 1})])
    with pytest.raises(ConfigurationError, match=r"by another release.*; go on with"):
        list(made.entries())


def test_lines_are_bounded(tmp_path: Path) -> None:
    """Neither is a line written that is too long, nor is one read into memory."""
    with pytest.raises(ConfigurationError, match="at most 65536 can be kept"):
        Entry("part", {"long": "x" * LINE_BYTES}).line()
    text = json.dumps({"kind": JOB, "schema_version": 1, "long": "x" * LINE_BYTES}).encode()
    (tmp_path / "manifest").write_bytes(lined(text) * 2)
    store = LocalStore(tmp_path, Disk())
    assert max(map(len, store.lines())) == LINE_BYTES
    with pytest.raises(ConfigurationError, match="line 1 of the manifest"):
        list(Manifest(store).entries())


def test_lines_can_be_taken_back(manifest: Manifest) -> None:
    """What is behind a line can be dropped."""
    manifest.cut(2)
    assert list(manifest.entries()) == ENTRIES[:2]
