"""Converted estimators: without their ZipMap they answer as before, and Triton would load them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.deploy import check, export
from hybridmodel.local.session import LocalSession
from tests.support import estimators, trees
from tests.support.triton_configs import parsed, tensors

if TYPE_CHECKING:
    from pathlib import Path

CASES = [
    *((name, "estimators") for name in estimators.NAMES),
    *((name, "trees") for name in trees.NAMES),
]


@pytest.mark.parametrize(("name", "where"), CASES, ids=[name for name, _ in CASES])
def test_an_exported_estimator_answers_as_the_local_model(
    tmp_path: Path, name: str, where: str
) -> None:
    """Outputs are equal number by number, and shaped in the graph as in config.pbtxt."""
    source = estimators if where == "estimators" else trees
    model = HybridOnnxModel(source.made(name))
    exported = export(model, tmp_path / "out", model_name="m")
    assert check(exported.folder) == ()
    folder = exported.repository / "m"
    session = LocalSession(folder / "1" / "model.onnx")
    expected = model.infer(source.X).outputs
    found = session.run({session.spec.input_names[0]: source.X}, session.spec.output_names)
    assert found.keys() == expected.keys()
    for output, values in expected.items():
        np.testing.assert_array_equal(found[output], values)
        assert found[output].dtype == values.dtype
    config = parsed(folder)
    declared = [(item.name, tuple(item.shape)) for item in session.session.get_outputs()]
    assert [
        (name, tuple(size if isinstance(size, int) else -1 for size in shape))
        for name, shape in declared
    ] == [
        (name, shape if config.max_batch_size == 0 else (-1, *shape))
        for name, _, shape in tensors(config.output)
    ]
    for item in model.outputs:
        if item.labels:
            (declaration,) = (out for out in config.output if out.name == item.name)
            lines = (folder / declaration.label_filename).read_text().splitlines()
            assert lines == [str(label) for label in item.labels]
            assert any("ZipMap" in note for note in exported.notes)


def test_there_are_thirty_with_a_zipmap() -> None:
    """The table has at least thirty classifiers whose probabilities were maps."""
    made = [estimators.made(name) for name in estimators.NAMES]
    assert sum(b"ZipMap" in model for model in made) >= 30
