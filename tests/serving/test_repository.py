"""The model repositories that Triton serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import OnnxFile
from hybridmodel.local.session import LocalSession
from hybridmodel.serving.model_config import model_config, to_text
from hybridmodel.serving.repository import through_python, write_model
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = """\
name: "two"
backend: "onnxruntime"
max_batch_size: 8
version_policy {
  all {
  }
}
input {
  name: "a"
  data_type: TYPE_FP32
  dims: [2]
}
input {
  name: "b"
  data_type: TYPE_INT64
  dims: [1]
}
output {
  name: "y"
  data_type: TYPE_FP32
  dims: [2]
}
"""


def test_repository_for_a_real_deployment(tmp_path: Path) -> None:
    """Triton's onnxruntime backend gets the model's own bytes and a configuration, no Python."""
    onnx = OnnxFile.read(models.two_inputs())
    folder = write_model(tmp_path, "two", {"1": onnx}, LocalSession(onnx).spec, max_batch_size=8)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "1/model.onnx",
        "config.pbtxt",
    ]
    assert (folder / "1" / "model.onnx").read_bytes() == models.two_inputs()
    assert (folder / "config.pbtxt").read_text() == EXPECTED


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (models.classifier(zipmap=True), {}, "zipmap=False"),
        (models.identity(), {"backend": "tensorrt"}, "'tensorrt' is not one of onnxruntime"),
        (models.identity(), {"max_batch_size": -1}, "not -1"),
        (models.identity(shape=(4, 3)), {"max_batch_size": 2}, r"of 'x'\[4, 3\] is not rows"),
        (models.identity(shape=()), {}, "no dimension"),
    ],
)
def test_what_triton_cannot_serve_is_refused(
    tmp_path: Path, model: bytes, options: dict[str, Any], said: str
) -> None:
    """A configuration that Triton would refuse is refused here, with the reason."""
    onnx = OnnxFile.read(model)
    with pytest.raises(ConfigurationError, match=said):
        write_model(tmp_path, "m", {"1": onnx}, LocalSession(onnx).spec, **options)


def test_flat_tensors_are_reshaped_in_batches() -> None:
    """A tensor of rows only gets the second dimension that Triton wants, and takes it off again."""
    config = model_config("s", LocalSession(models.strings()).spec, max_batch_size=4)
    assert "dims: [1]\n  reshape {\n    shape: []\n  }" in to_text(config)


def test_an_exported_model_runs_through_the_python_backend(tmp_path: Path) -> None:
    """Its files are linked, its configuration has another backend, and nothing of it changes."""
    model = tmp_path / "models" / "m"
    (model / "1" / "model.onnx").mkdir(parents=True)
    (model / "2").mkdir()
    (model / "2" / "model.py").write_text("theirs")
    (model / "notes").mkdir()
    (model / "labels.txt").write_text("a\n")
    config = 'name: "m"\nplatform: "onnxruntime_onnx"\nbackend: "onnxruntime"\nmax_batch_size: 8\n'
    (model / "config.pbtxt").write_text(config)
    made = through_python(model, tmp_path / "other")
    text = (made / "config.pbtxt").read_text()
    ours = 'backend: "python"\ndefault_model_filename: "model.py"\n'
    assert text == f'{ours}name: "m"\nmax_batch_size: 8\n'
    assert (made / "1" / "model.onnx").readlink() == model / "1" / "model.onnx"
    assert "TritonPythonModel" in (made / "2" / "model.py").read_text()
    assert (model / "2" / "model.py").read_text() == "theirs"
    assert sorted(path.name for path in made.iterdir()) == ["1", "2", "config.pbtxt", "labels.txt"]
