"""What is swept of the files that killed processes left in shared memory, and what is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hybridmodel.remote.shared_memory import segments
from hybridmodel.remote.shared_memory.pool import Pool

pytestmark = pytest.mark.skipif(not segments.are_possible(), reason="only with /dev/shm")


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the segments of a test names of their own, which other processes do not sweep."""
    found = f"hybridmodel-test-{os.getpid()}-{os.urandom(4).hex()}-"
    monkeypatch.setattr(segments, "PREFIX", found)
    return found


def left(prefix: str) -> list[Path]:
    """Return the segments of a test."""
    return sorted(segments.FOLDER.glob(f"{prefix}*"))


def test_only_names_of_segments_are_swept(prefix: str) -> None:
    """What the user keeps beside them under a name that begins alike, open or not, stays."""
    kept = [segments.FOLDER / f"{prefix}{name}" for name in ("0" * 31, "cache.db", "f" * 31 + "g")]
    dead = segments.FOLDER / f"{prefix}{'0' * 32}"
    for path in (*kept, dead):
        path.touch()
    try:
        assert list(segments.swept()) == [dead.name]
        assert left(prefix) == sorted(kept)
    finally:
        for path in kept:
            path.unlink()


def test_what_is_no_file_of_this_user_is_not_even_opened(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a file with a lease of its owner, or a device, may take as long as that likes."""
    pipe, theirs = (segments.FOLDER / f"{prefix}{letter * 32}" for letter in "ab")
    os.mkfifo(pipe)
    theirs.touch()
    opened: list[Any] = []
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "geteuid", lambda: 12345)
            patched.setattr(os, "open", lambda path, *_: opened.append(path))
            assert list(segments.swept()) == []
        assert opened == []
    finally:
        pipe.unlink()
        theirs.unlink()


def test_a_server_that_forgets_nothing_fills_no_memory(prefix: str) -> None:
    """Of the names that it is to forget, the latest are kept, and each is asked for once a call."""
    pool = Pool()
    names = [f"{prefix}{number}" for number in range(1000)]
    for name in names:
        pool.still_known([name])
    known = pool.names_to_forget()
    assert known == names[-len(known) :]
    assert 64 <= len(known) <= 256
    assert pool.names_to_forget() == []


def test_files_of_others_are_not_swept(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links, folders, and what another user owns stay where they are."""
    folder, link, theirs = (segments.FOLDER / f"{prefix}{letter * 32}" for letter in "abc")
    folder.mkdir()
    link.symlink_to("/etc/passwd")
    theirs.touch()
    try:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert list(segments.swept()) == []
        assert left(prefix) == [folder, link, theirs]
    finally:
        folder.rmdir()
        link.unlink()
        theirs.unlink()
