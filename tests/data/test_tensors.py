"""The table of element types, and the specs that speak it."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.data.tensors import (
    BY_DATATYPE,
    BY_DTYPE,
    BY_ONNX,
    ELEMENT_TYPES,
    ElementType,
    ModelSpec,
    TensorSpec,
    format_shape,
)
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession
from tests.support import models
from tests.support.strategies import datatypes, law, names

specs = st.builds(
    TensorSpec,
    names,
    datatypes,
    st.lists(st.integers(-1, 2**40), max_size=4).map(tuple),
    st.booleans(),
    st.lists(st.integers() | names, max_size=3).map(tuple),
    st.booleans(),
)
X = TensorSpec("x", "FP32", (-1, 3), batched=True)
Y = TensorSpec("y", "INT64", (-1,), batched=True)


@pytest.mark.parametrize("row", ELEMENT_TYPES, ids=lambda row: row.datatype)
def test_the_table_agrees_with_onnxruntime(row: ElementType) -> None:
    """Each row's ONNX name is what onnxruntime prints, and its dtype what onnxruntime returns."""
    session = onnxruntime.InferenceSession(
        models.identity(row.datatype), providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].type == f"tensor({row.onnx})"
    value = np.full((1, 3), "a" if row.datatype == "BYTES" else 1, row.dtype)
    (result,) = session.run(None, {"x": value})
    assert result.dtype == row.dtype
    assert row.config == ("TYPE_STRING" if row.datatype == "BYTES" else f"TYPE_{row.datatype}")


def test_only_half_precision_has_no_form_in_json() -> None:
    """The rule stands in the table; client, server and command line read it there."""
    assert [row.datatype for row in ELEMENT_TYPES if not row.in_json] == ["FP16"]


def test_the_table_is_one_to_one() -> None:
    """No name and no dtype stands for two element types."""
    assert len(BY_DATATYPE) == len(BY_ONNX) == len(BY_DTYPE) == len(ELEMENT_TYPES) == 13


@law
@given(st.lists(specs, max_size=3), st.lists(specs, max_size=3))
def test_specs_survive_json(inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    """What `to_dict` writes, `from_dict` reads, through JSON as through a pickle."""
    spec = ModelSpec(tuple(inputs), tuple(outputs))
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    copied = pickle.loads(pickle.dumps(spec))
    assert copied == spec
    assert [item.dtype for item in copied.inputs] == [item.dtype for item in spec.inputs]


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"name": "x", "datatype": "FP32"},
        {"name": "x", "datatype": "FP32", "shape": 3},
        {"name": "x", "datatype": "FP32", "shape": ["a"]},
        {"name": "x", "datatype": "FP32", "shape": [float("inf")]},
        {"name": "x", "datatype": "FP32", "shape": [None]},
        {"name": "x", "datatype": "FP32", "shape": [], "labels": 5},
        {"name": "x", "datatype": "BF16", "shape": []},
        [],
        None,
        "text",
    ],
)
def test_damaged_descriptions_are_refused(stored: Any) -> None:
    """A description that lacks a key, or has one of another type, is a configuration error."""
    with pytest.raises(ConfigurationError):
        TensorSpec.from_dict(stored)
    with pytest.raises(ConfigurationError):
        ModelSpec.from_dict({"inputs": [stored], "outputs": []})


@pytest.mark.parametrize("stored", [{}, {"inputs": []}, {"inputs": 1, "outputs": []}, [], None])
def test_damaged_models_are_refused(stored: Any) -> None:
    """A model's description needs a list of inputs and one of outputs."""
    with pytest.raises(ConfigurationError, match=r"puts: |expected an object"):
        ModelSpec.from_dict(stored)


def test_an_unknown_datatype_is_refused() -> None:
    """The message says which tensor, what came, and lists what there is."""
    with pytest.raises(ConfigurationError, match=r"^tensor 'x': datatype 'BF16' .* FP32, FP64"):
        TensorSpec("x", "BF16", (1,))


@pytest.mark.parametrize(
    ("declared", "shape", "fits"),
    [
        ((-1, 3), (5, 3), True),
        ((-1, 3), (0, 3), True),
        ((-1, 3), (5, 4), False),
        ((-1, 3), (3,), False),
        ((), (), True),
        ((), (1,), False),
        ((2, -1), (2, 9), True),
        ((2, -1), (1, 9), False),
    ],
)
def test_fits(declared: tuple[int, ...], shape: tuple[int, ...], fits: bool) -> None:
    """A shape fits when its rank is the declared one, and so is each size that is declared."""
    assert TensorSpec("x", "FP32", declared).fits(shape) is fits


def test_any_number_of_dimensions_fits_where_none_is_known() -> None:
    """A tensor of unknown rank takes any shape, differs from none, and reads so."""
    unknown = TensorSpec("x", "FP32", (), unranked=True)
    assert all(unknown.fits(shape) for shape in [(), (1,), (5, 3)])
    assert not list(ModelSpec((unknown,), ()).differences(ModelSpec((X,), ())))
    assert str(unknown) == "x: FP32[…]"
    assert str(TensorSpec("y", "FP32", (-1, 1), unranked=True)) == "y: FP32[?, 1]"


def test_empty() -> None:
    """The answer to zero rows has every declared size, and 0 for the others."""
    made = TensorSpec("x", "BYTES", (-1, 3, -1)).empty()
    assert made.shape == (0, 3, 0)
    assert made.dtype == object


def test_a_spec_reads_well() -> None:
    """A tensor prints as its name, datatype and shape, with question marks for any size."""
    assert str(X) == "x: FP32[?, 3]"
    assert format_shape(()) == "[]"


def test_output_by_name() -> None:
    """An output is found by its name; for an unknown one, the message lists those there are."""
    spec = ModelSpec((X,), (X, Y))
    assert spec.output("y") is Y
    assert (spec.input_names, spec.output_names) == (("x",), ("x", "y"))
    with pytest.raises(ConfigurationError, match=r"no output 'z'; it has 'x', 'y'"):
        spec.output("z")


@pytest.mark.parametrize(
    ("there", "differences"),
    [
        (ModelSpec((X,), (Y,)), []),
        (ModelSpec((TensorSpec("x", "FP32", (-1, -1)),), (Y,)), []),
        (ModelSpec((TensorSpec("x", "FP32", (8, 3)),), (Y,)), []),
        (
            ModelSpec((TensorSpec("x", "FP64", (-1, 4)),), (Y,)),
            [
                "input 'x': FP32 locally, FP64 at the endpoint",
                "input 'x': shape [?, 3] locally, [?, 4] at the endpoint",
            ],
        ),
        (
            ModelSpec((TensorSpec("x", "FP32", (-1, 3, 1)),), (Y,)),
            ["input 'x': shape [?, 3] locally, [?, 3, 1] at the endpoint"],
        ),
        (
            ModelSpec((X,), (TensorSpec("z", "INT64", (-1,)),)),
            [
                "output 'y': the endpoint does not have it, it has 'z'",
                "output 'z': the endpoint has it, the local model does not",
            ],
        ),
        (
            ModelSpec((), (Y,)),
            ["input 'x': the endpoint does not have it, it has none"],
        ),
    ],
)
def test_differences(there: ModelSpec, differences: list[str]) -> None:
    """Every difference is told, and a size that one side leaves open is none."""
    assert list(ModelSpec((X,), (Y,)).differences(there)) == differences


@pytest.mark.parametrize(
    ("source", "inputs", "outputs"),
    [
        (models.two_outputs(), [X], [("total", (-1, 1), True), ("double", (-1, 3), True)]),
        (models.identity("FP32", (2, 3)), [("x", (2, 3), False)], [("y", (2, 3), False)]),
        (models.identity("FP32", ()), [("x", (), False)], [("y", (), False)]),
        (models.identity("FP32", (None, 3)), [("x", (-1, 3), True)], [("y", (-1, 3), True)]),
    ],
)
def test_the_spec_of_a_session(source: bytes, inputs: list[Any], outputs: list[Any]) -> None:
    """Shapes are read from the graph; a first dimension shared with an input counts rows."""
    spec = LocalSession(source).spec
    expected = [
        item if isinstance(item, tuple) else (item.name, item.shape, True) for item in inputs
    ]
    assert [(item.name, item.shape, item.batched) for item in spec.inputs] == expected
    assert [(item.name, item.shape, item.batched) for item in spec.outputs] == outputs
