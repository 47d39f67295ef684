"""onnxruntime with an Azure execution provider that works: change only the import line.

Every name except `InferenceSession` is onnxruntime's own, so each way of importing works::

    from hybridmodel.azure_ep import *                 # was: from onnxruntime import *
    from hybridmodel.azure_ep import InferenceSession  # was: from onnxruntime import ...
    import hybridmodel.azure_ep as onnxruntime         # was: import onnxruntime
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridmodel.azure_ep.session import InferenceSession as InferenceSession


def __getattr__(name: str) -> Any:
    import onnxruntime

    if name == "InferenceSession":
        from hybridmodel.azure_ep.session import InferenceSession

        return InferenceSession
    return __dir__() if name == "__all__" else getattr(onnxruntime, name)


def __dir__() -> list[str]:
    import onnxruntime

    return [name for name in dir(onnxruntime) if not name.startswith("_")]
