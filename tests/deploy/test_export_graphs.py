"""Changes to an ONNX file, byte by byte beside the onnx package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import HybridOnnxModel
from hybridmodel.data.tensors import BY_DATATYPE, ModelSpec, TensorSpec
from hybridmodel.deploy import export
from hybridmodel.deploy.graph_edits import Piece, edited, to_declare
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession
from tests.support import models, trees
from tests.support.strategies import datatypes, law, names
from tests.support.triton_configs import parsed, tensors

if TYPE_CHECKING:
    from pathlib import Path

DIMENSIONS = st.lists(st.one_of(st.none(), st.integers(1, 9), names), min_size=1, max_size=4)
SHAPES = st.lists(st.one_of(st.just(-1), st.integers(1, 2**40)), min_size=1, max_size=4)


def together(data: bytes, pieces: list[Piece]) -> bytes:
    """Put pieces together."""
    return b"".join(
        piece if isinstance(piece, bytes) else data[piece.start : piece.stop] for piece in pieces
    )


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """Draw a graph of identities, of any names, types and dimensions."""
    called = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    declared = {name: (draw(datatypes), draw(DIMENSIONS)) for name in called}
    nodes = [onnx.helper.make_node("Identity", [name], [f"{name}_out"]) for name in called]
    graph = onnx.helper.make_graph(
        nodes,
        "law",
        [models.tensor(name, *declared[name]) for name in called],
        [models.tensor(f"{name}_out", *declared[name]) for name in called],
    )
    return onnx.helper.make_model(graph)


@law
@given(st.data(), graphs())
def test_outputs_are_declared_anew_and_all_else_stays(
    data: st.DataObject, model: onnx.ModelProto
) -> None:
    """The onnx package reads the new declarations, and everything else as it was."""
    chosen = data.draw(st.sets(st.sampled_from(range(len(model.graph.output)))))
    wanted = {
        name: TensorSpec(name, data.draw(datatypes), tuple(data.draw(SHAPES)))
        for name in (model.graph.output[place].name for place in sorted(chosen))
    }
    whole = model.SerializeToString()
    made = onnx.load_from_string(together(whole, edited(memoryview(whole), wanted)))
    for old, new in zip(model.graph.output, made.graph.output, strict=True):
        spec = wanted.get(old.name)
        if spec is not None:
            kind = new.type.tensor_type
            sizes = [
                -1 if not item.HasField("dim_value") else item.dim_value for item in kind.shape.dim
            ]
            assert (new.name, tuple(sizes)) == (spec.name, spec.shape)
            word = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
            assert word == BY_DATATYPE[spec.datatype].onnx
            new.CopyFrom(old)
    assert made == model


@law
@given(graphs())
def test_what_a_graph_declares_is_found(model: onnx.ModelProto) -> None:
    """A spec with the graph's own shapes needs no change, one with another shape does."""
    outputs = [
        TensorSpec(
            item.name,
            "FP32",
            tuple(
                size.dim_value if size.HasField("dim_value") else -1
                for size in item.type.tensor_type.shape.dim
            ),
        )
        for item in model.graph.output
    ]
    view = memoryview(model.SerializeToString())
    assert to_declare(view, ModelSpec((), tuple(outputs))) == {}
    longer = tuple(TensorSpec(item.name, "FP32", (*item.shape, 1)) for item in outputs)
    assert list(to_declare(view, ModelSpec((), longer))) == [item.name for item in outputs]


@pytest.mark.parametrize("datatype", sorted(BY_DATATYPE))
@pytest.mark.parametrize("shape", [("N", 3), ("N",), (2, 3), ("N", "K", None, 4)])
def test_the_configuration_says_what_the_graph_says(
    tmp_path: Path, datatype: str, shape: tuple[int | str | None, ...]
) -> None:
    """Every type and kind of shape comes back from config.pbtxt as onnxruntime reports it."""
    made = export(HybridOnnxModel(models.identity(datatype, shape)), tmp_path / "out")
    config = parsed(made.repository / "model")
    session = LocalSession(made.repository / "model/1/model.onnx").session
    for declared, items in (
        (config.input, session.get_inputs()),
        (config.output, session.get_outputs()),
    ):
        rows = 1 if config.max_batch_size else 0
        assert tensors(declared) == [
            (
                item.name,
                BY_DATATYPE[datatype].config,
                tuple(size if isinstance(size, int) else -1 for size in item.shape)[rows:],
            )
            for item in items
        ]


def test_a_graph_without_onnxs_own_operators_gets_them() -> None:
    """Some converters import the operators of machine learning only, and Identity is not one."""
    model = onnx.load_from_string(trees.made("catboost"))
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 2))
    whole = model.SerializeToString()
    spec = LocalSession(trees.made("catboost")).spec
    view = memoryview(whole)
    made = onnx.load_from_string(together(whole, edited(view, to_declare(view, spec))))
    assert {item.domain for item in made.opset_import} == {"", "ai.onnx.ml"}
    assert [node.op_type for node in made.graph.node].count("Identity") == 1
    LocalSession(made)


def test_a_graph_in_several_parts_is_refused() -> None:
    """Protocol buffers allow it, and no tool writes it."""
    whole = models.linear() * 2
    with pytest.raises(ConfigurationError, match="graph in several parts"):
        edited(memoryview(whole), {})
