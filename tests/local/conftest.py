"""A saved model to be spoilt, and a file that it must not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hostile import SECRET, copied


@pytest.fixture
def saved(good_model: Path, tmp_path: Path) -> Path:
    """Copy the saved model, to be spoilt."""
    return copied(good_model, tmp_path)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Write a file beside the saved model, which it must not read."""
    path = tmp_path / "secret.bin"
    path.write_bytes(SECRET.tobytes())
    return path
