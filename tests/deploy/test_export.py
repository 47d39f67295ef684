"""What an export holds: a repository that Triton loads, decided from the model and from wishes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel, TritonEndpoint, save_model
from hybridmodel.deploy import Exported, export
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession
from tests.support import deployed, models
from tests.support.triton_configs import parsed

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = TritonEndpoint(uri="https://x.example", model_name="digits", model_version="7")


def exported(model: bytes, folder: Path, **options: Any) -> Exported:
    """Export the bytes of a model."""
    return export(HybridOnnxModel(model), folder / "out", **options)


def files(folder: Path) -> list[str]:
    """List what a folder holds."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_the_layout_is_that_of_azures_documents(tmp_path: Path) -> None:
    """The repository is DIR/models, and the model in it has the file that was given."""
    made = exported(models.linear(), tmp_path, model_name="digits", model_version=3)
    assert files(tmp_path / "out") == ["models/digits/3/model.onnx", "models/digits/config.pbtxt"]
    assert (made.repository, made.model_name, made.model_version) == (
        tmp_path / "out" / "models",
        "digits",
        "3",
    )
    assert (made.repository / "digits/3/model.onnx").read_bytes() == models.linear()


def test_name_and_version_are_those_of_the_endpoint(tmp_path: Path) -> None:
    """What the model's clients will ask for is what is exported, unless said otherwise."""
    model = HybridOnnxModel(models.linear(), endpoint=ENDPOINT)
    made = export(model, tmp_path / "a")
    assert (made.model_name, made.model_version) == ("digits", "7")
    made = export(model, tmp_path / "b", model_name="other", model_version="1")
    assert (made.model_name, made.model_version) == ("other", "1")


def test_a_saved_model_and_a_file_are_exported_by_their_path(tmp_path: Path) -> None:
    """A path is enough; a file gives its name, a saved model without an endpoint `model`."""
    (tmp_path / "wines.onnx").write_bytes(models.linear())
    save_model(HybridOnnxModel(models.linear()), tmp_path / "saved")
    assert export(tmp_path / "wines.onnx", tmp_path / "a").model_name == "wines"
    assert export(str(tmp_path / "saved"), tmp_path / "b").model_name == "model"


@pytest.mark.parametrize(
    ("model", "rows", "why"),
    [
        (models.linear(), 1024, None),
        (models.identity("FP32", ("N", 3, 224, 224)), 4, None),
        (models.strings(), 0, r"'text' \[\?\], 'shout' \[\?\] as \[\?, 1\]"),
        (models.identity(shape=(2, 3)), 0, "does not count rows"),
        (models.loop(), 0, r"'turns' \[1\] does not count rows"),
        (deployed.centred(), 0, "depends on the rows beside it"),
        (deployed.constant(), 0, "was not found out"),
        (deployed.no_zeros(), 0, "was not found out"),
    ],
    ids=["linear", "image", "flat", "fixed", "loop", "centred", "constant", "no_zeros"],
)
def test_rows_of_several_requests_are_joined_where_they_stay_apart(
    tmp_path: Path, model: bytes, rows: int, why: str | None
) -> None:
    """max_batch_size is set only where rows come first, keep their shape, and stay independent."""
    made = exported(model, tmp_path, model_name="m")
    assert made.max_batch_size == rows == parsed(made.repository / "m").max_batch_size
    said = "".join(note for note in made.notes if note.startswith("max_batch_size"))
    assert re.search(why, said) if why else not said


def test_rows_that_depend_on_each_other_are_never_joined(tmp_path: Path) -> None:
    """A wish for batches is refused where others' rows would change the answer."""
    with pytest.raises(ConfigurationError, match="depends on the rows beside it; export it with"):
        exported(deployed.centred(), tmp_path, max_batch_size=8)
    assert not (tmp_path / "out").exists()


def test_wishes_reach_the_configuration(tmp_path: Path) -> None:
    """Rows, queue, delay, and warm-up are what is asked for."""
    wishes = {"max_batch_size": 8, "queue_size": 5, "queue_delay_us": 100, "warm_up": False}
    made = exported(models.linear(), tmp_path, model_name="m", **wishes)
    config = parsed(made.repository / "m")
    assert (config.max_batch_size, made.queue_size) == (8, 5)
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 5
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert not config.model_warmup


def test_a_wish_for_batches_says_what_changes_for_flat_tensors(tmp_path: Path) -> None:
    """With max_batch_size, tensors of rows get a second dimension at the endpoint."""
    made = exported(models.strings(), tmp_path, max_batch_size=8)
    assert any("as [?, 1]" in note and "refuse" in note for note in made.notes)


@pytest.mark.parametrize(
    ("cores", "instances", "expected"),
    [(4, None, (4, "1")), (4, 2, (2, "2")), (8, 3, (3, "2")), (1, None, (1, "1"))],
)
def test_instances_and_threads_fit_the_cores(
    tmp_path: Path, cores: int, instances: int | None, expected: tuple[int, str]
) -> None:
    """Instances times threads is at most the cores; a small model gets an instance for each."""
    made = exported(models.linear(), tmp_path, model_name="m", cores=cores, instances=instances)
    config = parsed(made.repository / "m")
    threads = config.parameters["intra_op_thread_count"].string_value
    assert (config.instance_group[0].count, threads) == expected
    assert config.instance_group[0].count * int(threads) <= cores


@pytest.mark.parametrize(
    ("wishes", "bound"),
    [({}, 64), ({"cores": 2}, 64), ({"cores": 1}, 0), ({"cores": 1, "queue_size": 9}, 9)],
)
def test_a_single_instance_has_no_bound_unless_it_is_asked_for(
    tmp_path: Path, wishes: dict[str, int], bound: int
) -> None:
    """A bound lets Triton hold up requests of a single instance, and a note says so."""
    made = exported(models.linear(), tmp_path, model_name="m", **wishes)
    config = parsed(made.repository / "m")
    assert config.dynamic_batching.default_queue_policy.max_queue_size == bound
    assert made.queue_size == bound
    assert config.HasField("dynamic_batching")
    told = [note for note in made.notes if "half a second" in note]
    assert len(told) == (1 if wishes.get("cores") == 1 else 0)


def test_a_model_that_fails_on_zeros_has_no_warm_up(tmp_path: Path) -> None:
    """Triton would not start it; whoever asks for one is told so."""
    made = exported(deployed.no_zeros(), tmp_path, model_name="m")
    assert not parsed(made.repository / "m").model_warmup
    assert any(note.startswith("no warm-up") for note in made.notes)
    with pytest.raises(ConfigurationError, match="fails on zeros"):
        exported(deployed.no_zeros(), tmp_path / "other", warm_up=True)


def test_an_output_is_declared_as_the_model_gives_it(tmp_path: Path) -> None:
    """Triton compares the graph's declaration with the configuration, so both are true."""
    made = exported(deployed.shapeless(), tmp_path, model_name="m")
    (output,) = LocalSession(made.repository / "m/1/model.onnx").spec.outputs
    assert (output.shape, output.unranked) == ((-1, -1), False)
    assert made.outputs == (output,)
    assert any("'y' is declared as [?, ?]" in note for note in made.notes)


def test_classes_with_line_breaks_stay_with_the_local_model(tmp_path: Path) -> None:
    """A file of classes has one in each line, so such classes are in none."""
    made = exported(models.classifier(zipmap=True, labels=("a\nb", "c", "d")), tmp_path)
    assert not list(made.repository.rglob("*.txt"))
    assert any("local model only" in note for note in made.notes)


def test_external_data_is_a_folder_with_the_model(tmp_path: Path) -> None:
    """Triton takes a folder model.onnx with the model and the files of its tensors."""
    models.save_external(models.scaled(np.arange(3.0)), tmp_path / "big.onnx")
    made = export(tmp_path / "big.onnx", tmp_path / "out")
    folder = made.repository / "big" / "1" / "model.onnx"
    assert files(folder) == ["model.onnx", "weights.bin"]
    (answer,) = LocalSession(folder / "model.onnx").session.run(None, {"x": np.ones((1, 3), "f4")})
    assert answer.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (deployed.sequence, {}, r"'parts' is a seq.*ConcatFromSequence"),
        (deployed.brain_floats, {}, r"'y' is a tensor\(bfloat16\).*by Cast"),
        (lambda: models.identity(shape=()), {}, r"input 'x' is a scalar.*Unsqueeze"),
        (models.mean, {}, r"output 'y' is a scalar.*Unsqueeze"),
        (lambda: models.identity(shape=("N", 0)), {}, r"'x' has the shape \[\?, 0\]"),
        (models.linear, {"model_name": "../up"}, "model name '../up': use up to 128"),
        (models.linear, {"model_name": ""}, "model name ''"),
        (models.linear, {"model_name": ".hidden"}, "the first is a letter or digit"),
        (models.linear, {"model_name": "n" * 129}, "use up to 128"),
        (models.linear, {"model_version": 0}, "a number from 1"),
        (models.linear, {"model_version": "01"}, "a number from 1"),
        (models.linear, {"model_version": "1/2"}, "a number from 1"),
        (models.linear, {"cores": 2, "instances": 3}, "do not fit on 2 cores"),
        (models.linear, {"instances": 3}, "how many it has"),
        (models.linear, {"cores": 0}, "cores is a number from 1, not 0"),
        (models.linear, {"queue_size": 0}, "queue_size is a number from 1"),
        (models.linear, {"max_batch_size": -1}, "max_batch_size is a number from 0"),
        (lambda: models.identity(shape=(2, 3)), {"max_batch_size": 2}, "is not rows"),
    ],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, model: Any, options: dict[str, Any], said: str
) -> None:
    """The message says what is wrong and what to do, and nothing is written."""
    with pytest.raises(ConfigurationError, match=said):
        exported(model(), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_many_megabytes_are_not_made_up(tmp_path: Path) -> None:
    """They would cost more memory than the model; the notes say what was not found out."""
    made = exported(models.identity(shape=("N", 5000, 5000)), tmp_path)
    assert made.max_batch_size == 0
    assert [note.split(":")[0].split(",")[0] for note in made.notes] == [
        "max_batch_size",
        "the warm-up with zeros was not tried",
    ]


def test_a_name_of_the_endpoint_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    """Who saved a model does not choose what folders another's export makes."""
    endpoint = TritonEndpoint(uri="https://x.example", model_name="\\\\host\\share")
    with pytest.raises(ConfigurationError, match=r"host.*the first is a letter or digit"):
        export(HybridOnnxModel(models.linear(), endpoint=endpoint), tmp_path / "a" / "out")
    assert list(tmp_path.iterdir()) == []


def test_settings_of_the_local_session_stay_local(tmp_path: Path) -> None:
    """A note names those that the server does not get."""
    options = {"intra_op_num_threads": 1}
    made = export(HybridOnnxModel(models.linear(), session_options=options), tmp_path / "out")
    assert made.notes == (
        "the server gets none of the local session's settings: intra_op_num_threads",
    )


def test_custom_operators_are_refused(tmp_path: Path) -> None:
    """Triton has no libraries of operators beside the model."""
    model = HybridOnnxModel(models.linear())
    model.local.session_options = {"custom_op_libraries": ["ops.so"]}
    with pytest.raises(ConfigurationError, match="op_library_filename"):
        export(model, tmp_path / "out")
