"""A job that ended anywhere goes on, and nobody can tell from the output."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridmodel import HybridOnnxModel
from hybridmodel.exceptions import ConfigurationError
from tests.support import models
from tests.support.batches import (
    COLUMNS,
    DyingDisk,
    Killed,
    PowerDisk,
    QuickDisk,
    folder_of_files,
    linear,
    names,
    rows_of,
    run,
    small_parts,
    table,
    write,
)

pytestmark = pytest.mark.usefixtures("small_parts")

__all__ = ["small_parts"]

ROWS = 90
OUTPUTS = ["out.parquet", "out.csv", "out"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make files of 40, 0 and 50 rows: parts of 32, 8, 32 and 18."""
    return folder_of_files(tmp_path_factory.mktemp("source") / "in", 40, 0, 50)


def undisturbed(source: Path, folder: Path, output: str) -> tuple[pd.DataFrame, list[str]]:
    """Return what a job writes, and its steps."""
    folder.mkdir()
    disk = DyingDisk()
    run(source, folder / output, disk=disk)
    assert names(folder) == {output}
    return rows_of(folder / output), disk.steps


def is_complete(folder: Path, output: str) -> bool:
    """Tell whether a job had done all but ending itself."""
    inside = folder / f".{output}.hybridmodel"
    return (folder / output).exists() and not (inside / "manifest").exists()


def gone_on(source: Path, output: Path, **options: Any) -> Any:
    """Go on with a job unless it was done, and check what it leaves."""
    if is_complete(output.parent, output.name):
        return None
    summary = run(source, output, resume=True, **options)
    assert summary.rows == summary.local == ROWS
    assert summary.parts == 4
    hidden = f".{output.name}.hybridmodel"
    assert names(output.parent) == {output.name, hidden}
    assert names(output.parent / hidden) == {"lock", "manifest"}
    return summary


@pytest.mark.parametrize("output", OUTPUTS)
def test_killed_at_any_step_of_the_disk(source: Path, tmp_path: Path, output: str) -> None:
    """A job killed at any step of its writing goes on, and its output is that of another."""
    expected, steps = undisturbed(source, tmp_path / "whole", output)
    torn = [(at, True) for at, step in enumerate(steps) if step == "append"]
    assert len(torn) == 5
    for at, is_torn in [*((at, False) for at in range(len(steps))), *torn]:
        folder = tmp_path / f"{at} {is_torn}"
        folder.mkdir()
        with pytest.raises(Killed):
            run(source, folder / output, disk=DyingDisk(at, is_torn))
        gone_on(source, folder / output)
        pd.testing.assert_frame_equal(rows_of(folder / output), expected)


@pytest.mark.parametrize(("output", "seed"), [("out.parquet", None), ("out", 1)])
def test_the_power_fails_at_any_step(
    source: Path, tmp_path: Path, output: str, seed: int | None
) -> None:
    """What the disk had not got yet may be lost, all of it or some, and the job goes on."""
    expected, steps = undisturbed(source, tmp_path / "whole", output)
    for at in range(len(steps)):
        folder = tmp_path / str(at)
        folder.mkdir()
        disk = PowerDisk(at, seed and seed + at)
        with pytest.raises(Killed):
            run(source, folder / output, disk=disk)
        disk.fail(folder)
        gone_on(source, folder / output)
        pd.testing.assert_frame_equal(rows_of(folder / output), expected)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40), st.integers(0, 2)), max_size=5),
    st.sampled_from(OUTPUTS),
)
def test_killed_again_and_again(
    source: Path, tmp_path: Path, kills: list[tuple[int, int, int]], output: str
) -> None:
    """However often a job is killed, and with whatever batches and workers it goes on."""
    shutil.rmtree(tmp_path / "in turn", ignore_errors=True)
    folder = tmp_path / "in turn"
    folder.mkdir()
    for at, batch_rows, workers in kills:
        options = {"resume": True, "batch_rows": batch_rows, "workers": workers}
        try:
            run(source, folder / output, disk=DyingDisk(at), **options)
        except Killed:
            continue
        break
    gone_on(source, folder / output)
    expected = linear().predict(pd.concat([table(40), table(50, 40)])[COLUMNS])
    found = rows_of(folder / output)
    assert found["id"].tolist() == list(range(ROWS))
    pd.testing.assert_frame_equal(
        found[["y_0", "y_1"]], expected.reset_index(drop=True), check_dtype=False, rtol=1e-5
    )


def half_done(source: Path, output: Path, **options: Any) -> Path:
    """Leave a job with some of its parts, and return its folder."""
    steps = 14 if output.suffix == ".parquet" else 20  # An output that grows takes fewer.
    with pytest.raises(Killed):
        run(source, output, disk=DyingDisk(steps), **options)
    inside = output.with_name(f".{output.name}.hybridmodel")
    assert (inside / "manifest").read_bytes().count(b'"kind":"part"') >= 2
    return inside


def own_copy(source: Path, tmp_path: Path) -> Path:
    """Copy the inputs, with their times, to change them."""
    return Path(shutil.copytree(source, tmp_path / "in"))


def add_a_file(folder: Path) -> None:
    """Add an input."""
    write(table(5), folder / "3.parquet")


def touch(folder: Path) -> None:
    """Change only the time of an input."""
    os.utime(folder / "2.parquet", ns=(5, 5))


def change(folder: Path) -> None:
    """Change an input."""
    write(table(41), folder / "2.parquet")


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (add_a_file, r"input '.*3\.parquet' is new"),
        (touch, r"input '.*2\.parquet' was written again"),
        (change, r"input '.*2\.parquet' had \d+ bytes, now \d+"),
        (lambda folder: (folder / "2.parquet").unlink(), r"input '.*2\.parquet' is gone"),
    ],
    ids=["added", "touched", "changed", "removed"],
)
def test_a_changed_input_is_refused(source: Path, tmp_path: Path, happens: Any, told: str) -> None:
    """A job does not go on with other inputs, and says what is another."""
    inputs = own_copy(source, tmp_path)
    half_done(inputs, tmp_path / "out.csv")
    happens(inputs)
    with pytest.raises(ConfigurationError, match=f"half-done job cannot go on: {told}"):
        run(inputs, tmp_path / "out.csv", resume=True)
    run(inputs, tmp_path / "out.csv", overwrite=True)
    assert names(tmp_path) == {"in", "out.csv"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"model": HybridOnnxModel(models.linear(seed=3), feature_names=COLUMNS)},
            "model was '[0-9a-f]{64}', now '[0-9a-f]{64}'",
        ),
        ({"keep": ["id", "a"]}, r"keep was '\[\"id\"\]', now '\[\"id\", \"a\"\]'"),
        ({"provenance": True}, "provenance was 'false', now 'true'"),
        ({"output_name": "y"}, "output was 'null', now '\"y\"'"),
    ],
    ids=["model", "keep", "provenance", "output"],
)
def test_a_changed_call_is_refused(
    source: Path, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    """A job does not go on with what would change its answers, and says what that is."""
    half_done(source, tmp_path / "out.csv")
    with pytest.raises(ConfigurationError, match=told):
        run(source, tmp_path / "out.csv", **options, resume=True)
    gone_on(source, tmp_path / "out.csv")


def test_going_on_costs_no_part_twice(source: Path, tmp_path: Path) -> None:
    """Rows of parts that are done are not answered once more."""
    half_done(source, tmp_path / "out.parquet")
    before = linear().stats()["local.rows"]
    summary = gone_on(source, tmp_path / "out.parquet")
    done = {2: 40, 3: 72}[summary.resumed]
    assert linear().stats()["local.rows"] - before == ROWS - done


def test_without_resume_both_ways_are_told(source: Path, tmp_path: Path) -> None:
    """A half-done job is neither dropped nor taken up unless that is said."""
    inside = half_done(source, tmp_path / "out.csv")
    before = (inside / "manifest").read_bytes()
    with pytest.raises(ConfigurationError, match="--resume goes on with it, --overwrite begins"):
        run(source, tmp_path / "out.csv")
    assert (inside / "manifest").read_bytes() == before
    assert run(source, tmp_path / "out.csv", overwrite=True).resumed == 0


def test_the_same_call_may_come_again(source: Path, tmp_path: Path) -> None:
    """With resume, a call whose job is done finds that, does nothing and tells the same."""
    first = run(source, tmp_path / "out.parquet", resume=True)
    time = (tmp_path / "out.parquet").stat().st_mtime_ns
    again = run(source, tmp_path / "out.parquet", resume=True)
    assert (again.rows, again.parts, again.resumed) == (first.rows, first.parts, 4)
    assert (tmp_path / "out.parquet").stat().st_mtime_ns == time
    with pytest.raises(ConfigurationError, match="exists already"):
        run(source, tmp_path / "out.parquet")
    other = {"keep": ["id", "a"]}
    with pytest.raises(ConfigurationError, match="keep was"):
        run(source, tmp_path / "out.parquet", resume=True, **other)
    run(source, tmp_path / "out.parquet", resume=True, overwrite=True, **other)
    (tmp_path / "out.parquet").unlink()
    assert run(source, tmp_path / "out.parquet", resume=True, **other).resumed == 0
    assert len(rows_of(tmp_path / "out.parquet")) == ROWS


@pytest.mark.parametrize("output", ["out.arrow", "out.csv", "out"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
    ],
    ids=["gone", "shorter", "altered"],
)
def test_a_part_that_is_another_is_done_again(
    source: Path, tmp_path: Path, output: str, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A part is only trusted if it is what was written; else it is answered again."""
    inside = half_done(source, tmp_path / output)
    damage(inside / {"out": "parts/part-00001.parquet"}.get(output, "part-00000001"))
    summary = gone_on(source, tmp_path / output)
    assert summary.resumed == 1
    assert "part 1 is not as it was written; it is done again" in caplog.text
    assert rows_of(tmp_path / output)["id"].tolist() == list(range(ROWS))


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda path, end: path.unlink(), 0),
        (lambda path, end: path.write_bytes(path.read_bytes()[:end]), 1),
        (lambda path, end: path.write_bytes(path.read_bytes()[: end + 20]), 1),
        (lambda path, end: path.write_bytes(b"?" + path.read_bytes()[1:]), 0),
        (lambda path, end: path.write_bytes(path.read_bytes() + b"half a part"), 2),
    ],
    ids=["gone", "cut", "cut in a part", "altered", "longer"],
)
def test_an_output_that_grows_counts_up_to_the_first_damage(
    source: Path, tmp_path: Path, damage: Any, kept: int
) -> None:
    """Parts before a damage are kept, the others are answered again, and the file is the same."""
    inside = half_done(source, tmp_path / "out.parquet")
    lines = [json.loads(line[9:]) for line in (inside / "manifest").read_bytes().splitlines()]
    ends = [line["written"]["size_bytes"] for line in lines if line["kind"] == "part"]
    damage(inside / "whole", ends[0])
    assert gone_on(source, tmp_path / "out.parquet").resumed == (kept if kept < 2 else len(ends))
    run(source, tmp_path / "other.parquet")
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()


def edited(old: bytes, new: bytes) -> Any:
    """Return what changes a line of a manifest and keeps its checksum right."""

    def edit(lines: list[bytes]) -> list[bytes]:
        from zlib import crc32

        texts = [line[9:-1].replace(old, new) for line in lines]
        return [b"%08x %s\n" % (crc32(text), text) for text in texts]

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: lines[:3],
        lambda lines: [*lines[:4], lines[5], lines[4]],
        lambda lines: [*lines[:5], lines[4]],
        lambda lines: [*lines[:2], lines[2][:-9] + b"\n", *lines[3:]],
        edited(b'"row":32', b'"row":31'),
        edited(b'"file":0', b'"file":7'),
        edited(b'"inputs":3', b'"inputs":1000000000'),
        edited(b'"part_rows":32', b'"part_rows":-32'),
        edited(b'"local":32', b'"local":33'),
        edited(b'"number":1', b'"number":"../../etc/passwd"'),
    ],
    ids=[
        "no input",
        "few inputs",
        "order",
        "twice",
        "torn inside",
        "row",
        "file",
        "inputs",
        "part_rows",
        "counts",
        "path",
    ],
)
def test_a_manifest_that_was_changed(source: Path, tmp_path: Path, edit: Any) -> None:
    """A manifest that does not fit together is refused, whatever stands in it."""
    inside = half_done(source, tmp_path / "out.csv")
    path = inside / "manifest"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(edit(lines)))
    with pytest.raises(ConfigurationError):
        run(source, tmp_path / "out.csv", resume=True)
    run(source, tmp_path / "out.csv", overwrite=True)
    assert names(tmp_path) == {"out.csv"}


def test_two_jobs_on_one_output(source: Path, tmp_path: Path) -> None:
    """The second is refused at once, whatever it says, and the first goes on undisturbed."""
    refused = []

    def start_another(*_: object) -> None:
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(ConfigurationError, match="another job is writing it"):
                run(source, tmp_path / "out.csv", **options)
            refused.append(options)

    run(source, tmp_path / "out.csv", progress=start_another)
    assert len(refused) >= 3
    assert len(rows_of(tmp_path / "out.csv")) == ROWS


def test_an_output_that_came_meanwhile(source: Path, tmp_path: Path) -> None:
    """What somebody else has written under the name of the output is not replaced."""
    half_done(source, tmp_path / "out.csv")
    (tmp_path / "out.csv").write_text("theirs")
    with pytest.raises(ConfigurationError, match="exists already"):
        run(source, tmp_path / "out.csv", resume=True)
    assert (tmp_path / "out.csv").read_text() == "theirs"
    run(source, tmp_path / "out.csv", resume=True, overwrite=True)
    assert len(rows_of(tmp_path / "out.csv")) == ROWS


class InterruptingDisk(QuickDisk):
    """A disk on which an interrupt comes right behind the first line about a part."""

    def append(self, path: Path, data: bytes) -> None:
        """Append, and be interrupted."""
        super().append(path, data)
        raise KeyboardInterrupt


def test_an_interrupt_behind_the_line_of_a_part(source: Path, tmp_path: Path) -> None:
    """A part counts from the moment that its line is written, whatever the process knew of it."""
    with pytest.raises(KeyboardInterrupt) as caught:
        run(source, tmp_path / "out.csv", disk=InterruptingDisk())
    assert "--resume" in caught.value.__notes__[0]
    assert gone_on(source, tmp_path / "out.csv").resumed == 1
