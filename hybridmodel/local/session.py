"""The local route: an ONNX model that onnxruntime runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.tensors import BY_ONNX, WILDCARD, Array, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.onnx_scan import Label
from hybridmodel.local.probing import settled
from hybridmodel.local.session_settings import (
    as_session_options,
    checked_providers,
    installed_providers,
    register_libraries,
)
from hybridmodel.process.per_process import PerProcess

if TYPE_CHECKING:
    import onnxruntime


_TENSOR = re.compile(r"tensor\((\w+)\)")
_ZIPMAP = re.compile(r"seq\(map\((?:int64|string),tensor\((float|double)\)\)\)")


class LocalSession:
    """A local ONNX model: its inputs and outputs, and how to run it.

    The onnxruntime session is made on first use, once in each process. It is safe to share between
    threads, survives a fork, and is not part of a pickle. Where `spec` is known, from a saved
    model, nothing is opened before the first run, and the tensors must then have the names of
    `spec`.
    """

    def __init__(
        self,
        source: Any,
        *,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        session_options: Mapping[str, Any] | onnxruntime.SessionOptions | None = None,
        spec: ModelSpec | None = None,
    ) -> None:
        self.onnx = OnnxFile.read(source)
        self.providers = checked_providers(providers)
        self.provider_options = provider_options
        self.session_options = session_options
        self._process: PerProcess[onnxruntime.InferenceSession] = PerProcess()
        if session_options:
            as_session_options(session_options)
        self._described = spec
        if spec is None:
            session = self._process.get(self._open)
            spec = spec_of(session, self.onnx.zipmaps, self.onnx.unranked)
        self.spec = spec
        self._zipmaps = {item.name: item for item in spec.outputs if item.labels}
        self._wide = {item.name: item.dtype for item in spec.outputs if _is_wide(item)}

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """The onnxruntime session of this process."""
        return self._process.get(self._open)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute the named outputs, in their order, as new, writable arrays.

        Raises `InputMismatch` if onnxruntime does not accept the feeds, or the model fails on them.
        """
        try:
            values = self._process.get(self._open).run(outputs, feeds)
        except Exception as error:
            if type(error).__module__.startswith("onnxruntime."):
                raise InputMismatch(
                    f"onnxruntime cannot run the model on this input: {error}"
                ) from error
            raise
        named = dict(zip(outputs, values, strict=True))
        if self._zipmaps:
            for name in self._zipmaps.keys() & named.keys():
                named[name] = _unzip(named[name], self._zipmaps[name])
        for name in self._wide:
            if name in named:
                named[name] = named[name].view(self._wide[name])
        return named

    def __repr__(self) -> str:
        return f"LocalSession(sha256={self.onnx.sha256[:12]}…, providers={list(self.providers)})"

    def __getstate__(self) -> dict[str, Any]:
        if self.session_options is not None and not isinstance(self.session_options, Mapping):
            raise ConfigurationError(
                "an onnxruntime.SessionOptions object cannot be pickled or saved; pass "
                "session_options as a dict of its attributes"
            )
        return {key: value for key, value in self.__dict__.items() if key != "_process"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._process = PerProcess()

    def _open(self) -> onnxruntime.InferenceSession:
        import onnxruntime

        providers = installed_providers(self.providers)
        options = as_session_options(self.session_options or {})
        register_libraries(options, self.session_options or {})
        source = str(self.onnx.path) if self.onnx.data is None else self.onnx.data
        where = self.onnx.path or "the model given"
        try:
            session = onnxruntime.InferenceSession(
                source, options, providers, self.provider_options
            )
        except Exception as error:
            raise ConfigurationError(f"{where}: onnxruntime cannot load it: {error}") from error
        if self._described is not None:
            _check_names(session, self._described, str(where))
        return session


def _check_names(session: onnxruntime.InferenceSession, spec: ModelSpec, where: str) -> None:
    """Raise unless a session has the tensors of a description, which may come from a file.

    Shapes and datatypes are checked in each run: releases of onnxruntime describe them differently.
    """
    for what, tensors, described in (
        ("inputs", session.get_inputs(), spec.input_names),
        ("outputs", session.get_outputs(), spec.output_names),
    ):
        found = [tensor.name for tensor in tensors]
        if sorted(found) != sorted(described):
            raise ConfigurationError(
                f"{where}: has the {what} {found}, but its description has {list(described)}"
            )


def spec_of(
    session: onnxruntime.InferenceSession,
    zipmaps: Mapping[str, tuple[Label, ...]],
    unranked: Collection[str] = (),
) -> ModelSpec:
    """Return the inputs and outputs of any open session.

    `zipmaps` and `unranked` are those of `OnnxFile`: onnxruntime knows no class labels, and reports
    an unknown shape as ``[]``, like that of a scalar. Raises `ConfigurationError` for types that no
    array can hold.
    """
    inputs = session.get_inputs()
    rows = next((t.shape[0] for t in inputs if t.shape and not isinstance(t.shape[0], int)), 0)
    spec = ModelSpec(
        tuple(_tensor_spec("input", tensor, rows, unranked) for tensor in inputs),
        tuple(
            _zipmap_spec(tensor, match[1], zipmaps)
            if (match := _ZIPMAP.fullmatch(tensor.type))
            else _tensor_spec("output", tensor, rows, unranked)
            for tensor in session.get_outputs()
        ),
    )
    return settled(spec, session)


def _tensor_spec(
    what: str, tensor: Any, rows: str | int | None, unranked: Collection[str]
) -> TensorSpec:
    """Describe a tensor; `rows` is the name of the first dimension of the first input.

    A first dimension counts rows when it has the same name. Dimensions without a name count as the
    same: converters from scikit-learn name none.
    """
    match = _TENSOR.fullmatch(tensor.type)
    element = BY_ONNX.get(match[1]) if match else None
    if element is None:
        raise ConfigurationError(
            f"{what} {tensor.name!r} is a {tensor.type}, which neither route supports; supported "
            f"are ZipMap outputs and tensors of {', '.join(BY_ONNX)}; have the graph end in one of "
            "these, for example by Cast or ConcatFromSequence"
        )
    shape = tuple(size if isinstance(size, int) else WILDCARD for size in tensor.shape)
    batched = bool(shape) and shape[0] == WILDCARD and tensor.shape[0] == rows
    is_unranked = not shape and tensor.name in unranked
    return TensorSpec(tensor.name, element.datatype, shape, batched, unranked=is_unranked)


def _zipmap_spec(tensor: Any, element: str, zipmaps: Mapping[str, tuple[Label, ...]]) -> TensorSpec:
    labels = zipmaps.get(tensor.name)
    if not labels:
        raise ConfigurationError(
            f"output {tensor.name!r} is a {tensor.type} of unknown classes; convert the model "
            "with zipmap=False"
        )
    return TensorSpec(tensor.name, BY_ONNX[element].datatype, (WILDCARD, len(labels)), True, labels)


def _unzip(maps: Any, spec: TensorSpec) -> Array:
    rows = list(map(itemgetter(*spec.labels), maps))
    return np.array(rows, dtype=spec.dtype).reshape(len(rows), len(spec.labels))


def _is_wide(spec: TensorSpec) -> bool:
    """Return whether onnxruntime gives an output's dtype by its other name, such as longlong."""
    same = np.dtype(np.longlong if spec.dtype.kind == "i" else np.ulonglong)
    return spec.dtype == same and spec.dtype.char != same.char
