"""What models and their calls take, for type checkers and editors; nobody imports it to run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypedDict

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl

from hybridmodel.data.tensors import Array
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession
from hybridmodel.routing.policy import Policy

Frame: TypeAlias = pd.DataFrame | pd.Series[Any]
PolarsFrame: TypeAlias = pl.DataFrame | pl.Series


class ArrayLike(Protocol):
    """What numpy makes an array of, such as a tensor of another library."""

    def __array__(self) -> Array:
        """Return an array."""


class ArrowStream(Protocol):
    """A table or chunked column of an Arrow library."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule."""


class ArrowArray(Protocol):
    """A batch or column of an Arrow library."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Return two capsules."""


Plain: TypeAlias = Array | ArrayLike | Sequence[Any] | Mapping[str, Any]
"""Arrays, lists, and dicts of either by input name."""

Column: TypeAlias = pd.Series[Any] | pl.Series | Array | ArrayLike | Sequence[Any]
Arrow: TypeAlias = ArrowStream | ArrowArray
Data: TypeAlias = Frame | PolarsFrame | Plain | Arrow

UseAzure: TypeAlias = bool | int | str | np.bool_ | None
Chooser: TypeAlias = Callable[[dict[str, Array]], object]
"""Returns whether the endpoint answers, once or for each row; the inputs are arrays by name."""

Mode: TypeAlias = str | Policy | Chooser

Provider: TypeAlias = str | tuple[str, Mapping[str, Any]]
SessionOptions: TypeAlias = Mapping[str, Any] | onnxruntime.SessionOptions


class Proto(Protocol):
    """An ``onnx.ModelProto``, by what is asked of it."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return the model as bytes."""


class TokenCredential(Protocol):
    """A credential as those of azure-identity are."""

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return an object with a ``token``."""


Source: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | Proto | OnnxFile | LocalSession
)
OneCredential: TypeAlias = TokenCredential | Callable[[], object]
Credential: TypeAlias = OneCredential | Sequence[OneCredential | None]


class Asked(TypedDict, total=False):
    """What every call takes besides its data and what it returns."""

    use_azure: UseAzure
    mode: Mode | None
    timeout: float | None
