"""Keeps what the endpoint answers in shadow mode, so that a calibration need not ask again."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from hybridmodel.calibrating.kept import KeptAnswers
from hybridmodel.calibrating.sample import row_keys
from hybridmodel.data.tensors import Array

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

_ROWS = 256
"""So many rows are written together; they are lost if the process is killed before."""


@contextmanager
def keep_shadow(model: HybridOnnxModel, path: str | os.PathLike[str]) -> Iterator[KeptAnswers]:
    """Keep what the endpoint answers in shadow mode while the block runs.

    Calls have to name the same outputs, among them what a calibration compares. What is still
    pending at the end of the block is not kept; ``model.stats()["shadow.pending"]`` tells.

    Parameters
    ----------
    model : HybridOnnxModel
        Whose calls are made in shadow mode, or may be.
    path : path
        A file as `hybridmodel.calibrating.calibrate` takes it for `answers`.

    Yields
    ------
    KeptAnswers
        Which grows as calls are compared.

    Raises
    ------
    ConfigurationError
        If the model has no endpoint, or the file is not one for its answers.
    """
    kept = KeptAnswers(path, model.client.endpoint.model_url, model.spec)
    keeper, comparison = _Keeper(kept), model.comparison
    comparison.on_answer = keeper.note
    try:
        yield kept
    finally:
        comparison.on_answer = None
        keeper.write()


class _Keeper:
    """Collects answers until they are worth writing."""

    def __init__(self, kept: KeptAnswers) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._version: str | None = None
        self._answers: dict[bytes, dict[str, Array]] = {}

    def note(
        self, feeds: Mapping[str, Array], outputs: Mapping[str, Array], version: str | None
    ) -> None:
        """Note the answers to the rows of one call."""
        keys = row_keys(feeds, len(next(iter(feeds.values()))))
        with self._lock:
            if version != self._version:
                self._write()
            self._version = version
            for row, key in enumerate(keys):
                self._answers[key] = {name: values[row] for name, values in outputs.items()}
            if len(self._answers) >= _ROWS:
                self._write()

    def write(self) -> None:
        """Write what was collected."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        answers, self._answers = self._answers, {}
        if not answers:
            return
        names = next(iter(answers.values()))
        outputs = {name: np.stack([item[name] for item in answers.values()]) for name in names}
        self._kept.add(list(answers), outputs, self._version)
