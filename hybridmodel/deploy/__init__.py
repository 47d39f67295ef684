"""From a model to a deployment: files for a Triton endpoint, and what is done with them.

`export` writes the Triton repository of a model; `check` finds mistakes in such files;
`rehearse` is the endpoint that they make, on this machine; `promote` compares two of its
deployments, and shifts the traffic from one to the other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridmodel.deploy.checking import Finding, check
    from hybridmodel.deploy.exporting import Exported, export
    from hybridmodel.deploy.gate import Bounds
    from hybridmodel.deploy.promotion import Promotion, promote
    from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
    from hybridmodel.deploy.shifting import Plan

_LATER = {
    "Finding": "hybridmodel.deploy.checking",
    "check": "hybridmodel.deploy.checking",
    "Exported": "hybridmodel.deploy.exporting",
    "export": "hybridmodel.deploy.exporting",
    "Bounds": "hybridmodel.deploy.gate",
    "Plan": "hybridmodel.deploy.shifting",
    "Promotion": "hybridmodel.deploy.promotion",
    "promote": "hybridmodel.deploy.promotion",
    "Rehearsal": "hybridmodel.deploy.rehearsal.running",
    "rehearse": "hybridmodel.deploy.rehearsal.running",
}
"""The modules of names that importing this package does not load."""

__all__ = [
    "Bounds",
    "Exported",
    "Finding",
    "Plan",
    "Promotion",
    "Rehearsal",
    "check",
    "export",
    "promote",
    "rehearse",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
