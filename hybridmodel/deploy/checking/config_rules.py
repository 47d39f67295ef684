"""Rules for a ``config.pbtxt`` by itself: what Triton refuses although it can be parsed."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from hybridmodel.checks import printable
from hybridmodel.deploy.checking.config_parser import Message, Value
from hybridmodel.deploy.checking.config_schema import ENUMS
from hybridmodel.deploy.checking.findings import Finding, Place, listed

FREE = -1
_INVALID = "TYPE_INVALID"


def check(config: Message, place: Place, folder_name: str) -> Iterator[Finding]:
    """Yield what is wrong with a configuration in a folder of a name."""
    yield from _check_name(config, place, folder_name)
    yield from _check_batching(config, place)
    for kind in ("input", "output"):
        yield from _check_tensors(config, place, kind)
    yield from _check_warmup(config, place)


def max_batch_size(config: Message) -> int:
    """Return the most rows of a request; 0 where Triton does not count rows."""
    return int(config.get("max_batch_size", 0))


def dims_of(tensor: Message) -> list[int]:
    """Return the sizes that the model sees: those of reshape where there is one."""
    reshape = tensor.one("reshape")
    values = tensor.all("dims") if reshape is None else reshape.value.all("shape")
    return [value.value for value in values]


def _check_name(config: Message, place: Place, folder_name: str) -> Iterator[Finding]:
    name = config.one("name")
    if name is not None and name.value not in ("", folder_name):
        yield place.found(
            "config-name",
            name.line,
            f"the name {printable(name.value, 60)!r} is not the folder's, "
            f"{printable(folder_name, 60)!r}; Triton does not load the model",
            f'write name: "{printable(folder_name, 60)}", or leave it out',
        )


def _check_batching(config: Message, place: Place) -> Iterator[Finding]:
    most = max_batch_size(config)
    if most < 0:
        yield place.found(
            "config-batch-size",
            config.line_of("max_batch_size"),
            f"max_batch_size is {most}",
            "write max_batch_size: 0, or the most rows of a request",
        )
        return
    for batching in config.messages("dynamic_batching"):
        for size in batching.all("preferred_batch_size"):
            if not 0 < size.value <= most:
                yield place.found(
                    "config-batch-size",
                    size.line,
                    f"preferred_batch_size {size.value} is not between 1 and max_batch_size, "
                    f"which is {most}",
                    "leave it out, or write a size up to max_batch_size",
                )


def _check_tensors(config: Message, place: Place, kind: str) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for tensor in config.messages(kind):
        name = tensor.get("name", "")
        if not name:
            yield place.found(
                "config-tensor",
                tensor.line,
                f"an {kind} has no name",
                "write name: and the name that the graph has for it",
            )
        elif name in seen:
            what = f"the {kind} {printable(name, 60)!r} stands on line {seen[name]} already"
            yield place.found("config-tensor", tensor.line, what, "keep one of them")
        seen.setdefault(name, tensor.line)
        yield from _check_type(tensor, place, f"{kind} {printable(name, 60)!r}")
        yield from _check_dims(tensor, place, f"{kind} {printable(name, 60)!r}")


def _check_type(tensor: Message, place: Place, which: str) -> Iterator[Finding]:
    known = ENUMS["DataType"]
    given = tensor.get("data_type", _INVALID)
    if given == _INVALID or given not in known:
        yield place.found(
            "config-tensor",
            tensor.line_of("data_type"),
            f"{which} has no datatype",
            f"write data_type: and one of {', '.join(known[1:])}",
        )


def _check_dims(tensor: Message, place: Place, which: str) -> Iterator[Finding]:
    dims = tensor.all("dims")
    if not dims:
        yield place.found(
            "config-tensor",
            tensor.line,
            f"{which} has no dims",
            "write dims: [ … ] with a size or -1 for each dimension; one number needs no list",
        )
    yield from _check_sizes(dims, place, which)
    reshape = tensor.one("reshape")
    if reshape is None or not dims:
        return
    shape = reshape.value.all("shape")
    yield from _check_sizes(shape, place, which)
    before, after = ([value.value for value in sizes] for sizes in (dims, shape))
    if FREE not in (*before, *after) and prod(before) != prod(after):
        yield place.found(
            "config-tensor",
            reshape.line,
            f"{which} has {prod(before)} values by its dims and {prod(after)} by its reshape",
            "write a shape with as many values",
        )


def _check_sizes(sizes: tuple[Value, ...], place: Place, which: str) -> Iterator[Finding]:
    for size in sizes:
        if size.value < 1 and size.value != FREE:
            yield place.found(
                "config-tensor",
                size.line,
                f"{which} has a dimension of size {size.value}",
                "write a size from 1, or -1 for any size",
            )


def _check_warmup(config: Message, place: Place) -> Iterator[Finding]:
    inputs = {tensor.get("name"): tensor for tensor in config.messages("input")}
    if not inputs:
        return
    most = max_batch_size(config)
    for warmup in config.messages("model_warmup"):
        rows = warmup.get("batch_size", 0)
        if rows > max(most, 1):
            yield place.found(
                "config-warmup",
                warmup.line_of("batch_size"),
                f"a warm-up request has {rows} rows, and max_batch_size is {most}",
                f"write batch_size: {max(most, 1)}",
            )
        given = {entry.get("key", ""): entry for entry in warmup.messages("inputs")}
        yield from _check_warmup_inputs(place, inputs, given)
        for name, tensor in inputs.items():
            if name not in given and not tensor.get("optional", False):
                yield place.found(
                    "config-warmup",
                    warmup.line,
                    f"a warm-up request has no input {printable(name or '', 60)!r}",
                    "add an entry of inputs for it",
                )


def _check_warmup_inputs(
    place: Place, inputs: dict[str, Message], given: dict[str, Message]
) -> Iterator[Finding]:
    for name, entry in given.items():
        tensor, value = inputs.get(name), entry.get("value")
        if tensor is None:
            yield place.found(
                "config-warmup",
                entry.line,
                f"there is no input {printable(name, 60)!r}",
                f"write a key out of {listed(str(known) for known in inputs)}",
            )
        elif value is not None and value.get("data_type") != tensor.get("data_type"):
            yield place.found(
                "config-warmup",
                value.line_of("data_type"),
                f"the warm-up of {printable(name, 60)!r} has another datatype than the input",
                f"write data_type: {tensor.get('data_type', _INVALID)}",
            )
