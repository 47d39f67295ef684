"""``hybridmodel export`` on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from hybridmodel import HybridOnnxModel, TritonEndpoint, save_model
from hybridmodel.cli.program import program
from tests.support import deployed, models
from tests.support.triton_configs import parsed

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(program, ["export", *map(str, words)])


def test_it_says_what_it_wrote_and_what_to_know(tmp_path: Path) -> None:
    """Stdout describes the endpoint, stderr has the notes, each in a line."""
    (tmp_path / "wines.onnx").write_bytes(models.classifier(zipmap=True))
    done = run(tmp_path / "wines.onnx", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"repository  {tmp_path / 'out' / 'models'}",
        "model       wines, version 1",
        "inputs      X: FP32[?, 4]",
        "outputs     output_label: BYTES[?]",
        "            output_probability: FP32[?, 3]",
        "batches     none",
        "queue       64 requests",
    ]
    notes = done.stderr.splitlines()
    assert len(notes) == 2
    assert all(note.startswith("note: ") for note in notes)
    assert "ZipMap of output 'output_probability'" in notes[0]
    assert "in labels.txt" in notes[0]


def test_options_reach_the_export(tmp_path: Path) -> None:
    """Everything that the library takes can be said, and JSON has what it returns."""
    (tmp_path / "m.onnx").write_bytes(models.linear())
    done = run(
        *(tmp_path / "m.onnx", tmp_path / "out", "--name", "digits", "--model-version", 4),
        *("--max-batch-size", 16, "--cores", 4, "--instances", 2, "--queue-size", 9),
        *("--queue-delay", 100, "--no-warm-up", "--copy", "--json"),
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["model_name"], found["model_version"], found["max_batch_size"]) == (
        *("digits", "4", 16),
    )
    assert [item["name"] for item in found["inputs"] + found["outputs"]] == ["x", "y"]
    config = parsed(tmp_path / "out/models/digits")
    assert config.instance_group[0].count == 2
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 9
    assert not config.model_warmup


def test_a_saved_model_is_exported_under_the_name_of_its_endpoint(tmp_path: Path) -> None:
    """A name in --model-config counts as that of the endpoint; nothing is asked, no key read."""
    endpoint = TritonEndpoint(uri="https://x.example", model_name="digits", model_version="2")
    save_model(HybridOnnxModel(models.linear(), endpoint=endpoint), tmp_path / "saved")
    assert run(tmp_path / "saved", tmp_path / "a").exit_code == 0
    assert (tmp_path / "a/models/digits/2/model.onnx").is_file()
    done = run(tmp_path / "saved", tmp_path / "b", "--model-config", "model_name=other")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "b/models/other/2/model.onnx").is_file()


def test_the_same_command_again_needs_overwrite(tmp_path: Path) -> None:
    """What is there is replaced only when that is asked for."""
    (tmp_path / "m.onnx").write_bytes(models.linear())
    given = (tmp_path / "m.onnx", tmp_path / "out")
    assert run(*given).exit_code == 0
    refused = run(*given)
    assert refused.exit_code == 2
    assert "m/1: exists already" in refused.stderr
    assert run(*given, "--overwrite").exit_code == 0


def test_a_model_that_triton_cannot_serve_is_refused(tmp_path: Path) -> None:
    """The error says what the model has, what is possible, and what to do."""
    (tmp_path / "m.onnx").write_bytes(deployed.sequence())
    done = run(tmp_path / "m.onnx", tmp_path / "out")
    assert done.exit_code == 2
    assert "is a seq(tensor(float))" in done.stderr
    assert "ConcatFromSequence" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option", [("--cores", "2"), ("--verify",), ("--overwrite",), ("--model-config", "uri=")]
)
def test_options_of_the_repository_are_refused_where_none_is_written(
    tmp_path: Path, option: tuple[str, ...]
) -> None:
    """An endpoint of the hybrid model itself has no Triton, and no option is silently ignored."""
    done = run(tmp_path / "m", tmp_path / "out", "--azure-mlflow", "digits-ep", *option)
    assert done.exit_code == 2
    assert f"{option[0]} is about a repository" in done.stderr


def test_notes_about_the_second_deployment_are_told_apart(tmp_path: Path) -> None:
    """What green's model needs to be known is said as well, with its folder."""
    (tmp_path / "m.onnx").write_bytes(models.linear())
    (tmp_path / "n.onnx").write_bytes(deployed.centred())
    given = ("--azure", "digits-ep", "--green", tmp_path / "n.onnx", "--cores", 2)
    done = run(tmp_path / "m.onnx", tmp_path / "out", *given)
    assert done.exit_code == 0, done.output
    assert "note: green: max_batch_size: 0" in done.stderr
    config = parsed(tmp_path / "out/green/models/m")
    assert config.instance_group[0].count == 2
