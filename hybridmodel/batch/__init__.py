"""Files and streams of any size: scored in flat memory, in order, and exactly once.

`predict_files` reads files and writes one file or a folder; a job that was killed goes on.
`predict_batches` takes record batches and yields scored ones.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hybridmodel.batch.summary import Summary

if TYPE_CHECKING:
    from hybridmodel.batch.job import predict_files
    from hybridmodel.batch.streaming import predict_batches

_LATER = {
    "predict_batches": "hybridmodel.batch.streaming",
    "predict_files": "hybridmodel.batch.job",
}

__all__ = ["Summary", "predict_batches", "predict_files"]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
