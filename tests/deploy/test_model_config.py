"""The text of config.pbtxt, as NVIDIA's own description of the format reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.data.tensors import BY_DATATYPE, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.serving.model_config import Running, model_config, tensors_in, to_text
from tests.support.strategies import law, names
from tests.support.triton_configs import parsed, tensors

SIZES = st.one_of(st.just(-1), st.integers(1, 2**63 - 1))


@st.composite
def specs(draw: st.DrawFn, batched: bool) -> ModelSpec:
    """Draw a model of tensors with any name, type and dimensions."""
    called = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    made = [
        TensorSpec(
            name,
            draw(st.sampled_from(sorted(BY_DATATYPE))),
            (*((-1,) if batched else ()), *draw(st.lists(SIZES, min_size=1, max_size=4))),
            batched,
        )
        for name in called
    ]
    return ModelSpec(tuple(made[:1]), tuple(made[1:]))


def declared(items: tuple[TensorSpec, ...], batched: bool) -> list[tuple[str, str, Any]]:
    """Return what the parsed text has to say of tensors."""
    return [(item.name, BY_DATATYPE[item.datatype].config, item.shape[batched:]) for item in items]


@law
@given(st.data(), names, st.integers(0, 2**31 - 1), st.booleans())
def test_a_configuration_reads_back_as_it_was(
    data: st.DataObject, name: str, rows: int, warm_up: bool
) -> None:
    """Whatever names, types and dimensions a graph has, they read back the same, in both lists."""
    spec = data.draw(specs(batched=rows > 0))
    files = {spec.outputs[0].name: "labels.txt"}
    running = Running(warm_up=warm_up, label_files=files)
    config = parsed(to_text(model_config(name, spec, max_batch_size=rows, running=running)))
    assert (config.name, config.max_batch_size) == (name, rows)
    assert tensors(config.input) == declared(spec.inputs, rows > 0)
    assert tensors(config.output) == declared(spec.outputs, rows > 0)
    assert config.output[0].label_filename == "labels.txt"
    for sample in config.model_warmup:
        assert sample.inputs.keys() == {item.name for item in spec.inputs}
        assert all(size > 0 for item in sample.inputs.values() for size in item.dims)


SPEC = ModelSpec(
    (TensorSpec("x", "FP32", (-1, 3), True), TensorSpec("t", "BYTES", (-1,), True)),
    (TensorSpec("y", "INT64", (-1, 2), True),),
)


def config_of(rows: int = 0, **running: Any) -> Any:
    """Write and parse the configuration of a small model."""
    return parsed(to_text(model_config("m", SPEC, max_batch_size=rows, running=Running(**running))))


@pytest.mark.parametrize("rows", [0, 8])
def test_the_queue_has_a_bound_with_batches_and_without(rows: int) -> None:
    """A full queue refuses the next request at once, whether requests are joined or not."""
    config = config_of(rows, queue_size=5, queue_delay_us=200)
    assert config.HasField("dynamic_batching")
    policy = config.dynamic_batching.default_queue_policy
    assert (policy.max_queue_size, policy.timeout_action) == (5, policy.REJECT)
    assert config.dynamic_batching.max_queue_delay_microseconds == 200


def test_threads_are_said_only_where_cores_are_known() -> None:
    """Instances with a number of threads compute on the CPU; else the server decides."""
    known, unknown = config_of(instances=3, threads=2), config_of()
    (group,) = known.instance_group
    assert (group.count, group.kind) == (3, group.KIND_CPU)
    assert known.parameters["intra_op_thread_count"].string_value == "2"
    (group,) = unknown.instance_group
    assert (group.count, group.kind) == (1, group.KIND_AUTO)
    assert not unknown.parameters


@pytest.mark.parametrize(("rows", "shapes"), [(0, ([1, 3], [1])), (8, ([3], [1]))])
def test_the_warm_up_is_one_row_of_zeros(rows: int, shapes: tuple[list[int], list[int]]) -> None:
    """Every input gets zeros, texts as well, in dimensions of the kind that the inputs have."""
    (sample,) = config_of(rows).model_warmup
    assert (sample.batch_size, sample.count) == (1, 1)
    assert [list(sample.inputs[name].dims) for name in ("x", "t")] == list(shapes)
    assert all(item.zero_data for item in sample.inputs.values())
    assert not config_of(rows, warm_up=False).model_warmup


def test_flat_tensors_are_reshaped_in_batches() -> None:
    """Triton wants a dimension beside the rows, and takes it off again before the model."""
    _, flat = config_of(8).input
    assert list(flat.dims) == [1]
    assert flat.HasField("reshape")
    assert not flat.reshape.shape
    assert not config_of().input[1].HasField("reshape")


def test_without_wishes_all_else_is_left_to_triton() -> None:
    """Servers of this package say no more than tensors and rows."""
    config = parsed(to_text(model_config("m", SPEC)))
    assert not config.HasField("dynamic_batching")
    assert not config.instance_group
    assert not config.model_warmup


def test_the_python_backend_gets_the_classes_of_maps() -> None:
    """It makes columns of a list of maps, in the order of the classes."""
    output = TensorSpec("p", "FP32", (-1, 2), True, labels=("a", 7))
    config = parsed(to_text(model_config("m", ModelSpec(SPEC.inputs, (output,)), backend="python")))
    assert json.loads(config.parameters["labels"].string_value) == {"p": ["a", 7]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backend": "tensorrt"}, "'tensorrt' is not one of onnxruntime"),
        ({"max_batch_size": -1}, "not -1"),
    ],
)
def test_what_no_configuration_can_say_is_refused(options: dict[str, Any], said: str) -> None:
    """An unknown backend and a negative number of rows are errors."""
    with pytest.raises(ConfigurationError, match=said):
        model_config("m", SPEC, **options)


def test_a_first_dimension_of_another_kind_cannot_be_batched() -> None:
    """With max_batch_size, rows come first in every tensor."""
    fixed = ModelSpec((TensorSpec("x", "FP32", (2, 3)),), SPEC.outputs)
    with pytest.raises(ConfigurationError, match=r"'x'\[2, 3\] is not rows"):
        model_config("m", fixed, max_batch_size=2)


@law
@given(st.data(), st.integers(1, 9))
def test_what_versions_share_is_found_in_the_text(data: st.DataObject, threads: int) -> None:
    """Tensors and rows are told apart from how the model runs, whatever their names."""
    spec = data.draw(specs(batched=False))
    texts = [
        to_text(model_config("m", spec, running=Running(threads=number)))
        for number in (None, threads)
    ]
    assert tensors_in(texts[0]) == tensors_in(texts[1])
    assert len(tensors_in(texts[0])) == 1 + len(spec.inputs) + len(spec.outputs)
    other = to_text(model_config("m", ModelSpec(spec.outputs, spec.inputs)))
    assert tensors_in(other) != tensors_in(texts[0])
