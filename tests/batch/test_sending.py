"""Rows that go to the endpoint are counted also where the run that sent them was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hybridmodel import ConfigurationError, HybridOnnxModel
from hybridmodel.batch.manifest import Entry
from hybridmodel.batch.sending import SentRows
from hybridmodel.testing import fake_endpoint
from tests.support import models
from tests.support.batches import COLUMNS, DyingDisk, Killed, folder_of_files, run, small_parts
from tests.support.two_routes import DEAD

pytestmark = pytest.mark.usefixtures("small_parts")

__all__ = ["small_parts"]


def test_a_killed_remote_job_tells_what_it_sent_again(tmp_path: Path) -> None:
    """To the row, at whichever step it was killed; the answers are those of another."""
    model = HybridOnnxModel(models.linear(), endpoint=DEAD, feature_names=COLUMNS)
    source = folder_of_files(tmp_path / "in", 40, 20)
    options: dict[str, Any] = {"use_azure": True, "batch_rows": 16, "model": model}
    with fake_endpoint(model) as fake:
        whole = DyingDisk()
        first = run(source, tmp_path / "whole.parquet", disk=whole, **options)
        assert (first.remote, first.resent) == (60, 0)
        wanted = pd.read_parquet(tmp_path / "whole.parquet")
        for at in range(len(whole.steps)):
            output, before = tmp_path / f"{at}.parquet", len(fake.requests)
            with pytest.raises(Killed):
                run(source, output, disk=DyingDisk(at), **options)
            if not output.exists():
                summary = run(source, output, resume=True, **options)
                sent = sum(len(request.inputs["x"]) for request in fake.requests[before:])
                assert summary.remote == 60
                # What was noted right before the kill was not sent, but might have been.
                assert sent - 60 <= summary.resent <= sent - 60 + 16
            pd.testing.assert_frame_equal(pd.read_parquet(output), wanted)


def test_other_notes_are_refused() -> None:
    """A manifest is data."""
    for entry in (Entry("sent", {"rows": 5}), Entry("rows sent", {"rows": -5})):
        with pytest.raises(ConfigurationError, match="is not expected"):
            SentRows(None, [entry])  # type: ignore[arg-type]
