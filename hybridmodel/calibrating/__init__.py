"""Find the threshold of a cascade on a sample of rows, with a promise about all others."""

from __future__ import annotations

from hybridmodel.calibrating.entry import calibrate
from hybridmodel.calibrating.gating import Gated, train_gate
from hybridmodel.calibrating.kept import KeptAnswers, keep_answers
from hybridmodel.calibrating.sample import fingerprint
from hybridmodel.calibrating.shadow import keep_shadow

__all__ = [
    "Gated",
    "KeptAnswers",
    "calibrate",
    "fingerprint",
    "keep_answers",
    "keep_shadow",
    "train_gate",
]
