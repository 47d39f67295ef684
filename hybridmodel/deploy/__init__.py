"""From a model to a deployment: files for a Triton endpoint, and what is done with them.

`export` writes the Triton repository of a model; `check` finds mistakes in such files;
`rehearse` is the endpoint that they make, on this machine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridmodel.deploy.checking import Finding, check
    from hybridmodel.deploy.exporting import Exported, export
    from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse

_LATER = {
    "Finding": "hybridmodel.deploy.checking",
    "check": "hybridmodel.deploy.checking",
    "Exported": "hybridmodel.deploy.exporting",
    "export": "hybridmodel.deploy.exporting",
    "Rehearsal": "hybridmodel.deploy.rehearsal.running",
    "rehearse": "hybridmodel.deploy.rehearsal.running",
}
"""The modules of names that importing this package does not load."""

__all__ = ["Exported", "Finding", "Rehearsal", "check", "export", "rehearse"]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
