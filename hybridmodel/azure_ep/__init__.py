"""onnxruntime with an Azure execution provider that asks the endpoint: change the import line only.

Every name that is not here is onnxruntime's own, so that each way of importing works::

    from hybridmodel.azure_ep import *                 # was: from onnxruntime import *
    from hybridmodel.azure_ep import InferenceSession  # was: from onnxruntime import ...
    import hybridmodel.azure_ep as onnxruntime         # was: import onnxruntime
"""

from __future__ import annotations

from typing import Any

from hybridmodel.azure_ep.session import InferenceSession as InferenceSession


def __getattr__(name: str) -> Any:
    import onnxruntime

    if name == "__all__":
        return [*__dir__(), "InferenceSession"]
    return getattr(onnxruntime, name)


def __dir__() -> list[str]:
    import onnxruntime

    return [name for name in dir(onnxruntime) if not name.startswith("_")]
