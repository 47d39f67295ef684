"""config.pbtxt as `check` reads it, beside protobuf's own reader with NVIDIA's own proto."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from hybridmodel.deploy.checking.config_parser import Message, parse
from hybridmodel.deploy.checking.config_schema import ENUMS, Field, fields_of, messages
from hybridmodel.deploy.checking.findings import MOST_FINDINGS, Place
from hybridmodel.deploy.checking.repository import read_model

_PACKAGE = "inference."
_KINDS = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in ("string", "bool", "int32", "int64", "uint32", "uint64", "float", "double")
}

ACCEPTED = {
    "empty": "",
    "comment only": "# nothing\n",
    "plain": 'name: "a" max_batch_size: 8',
    "single quotes": "name: 'a'",
    "adjacent texts": 'name: "a" \'b\'\n  "c"',
    "escapes": r'name: "\t\"\\\x41\101é\303\251"',
    "no space": 'name:"a"max_batch_size:8',
    "separators": 'name: "a", max_batch_size: 8; backend: "b"',
    "message": "dynamic_batching { }",
    "message with colon": "dynamic_batching: { preserve_ordering: true }",
    "message in angles": "dynamic_batching < preserve_ordering: t >",
    "list of numbers": "input { dims: [1, 2, -1] }",
    "repeated numbers": "input { dims: 1 dims: 2 dims: [ 3 ] }",
    "empty list": "input { dims: [] } input: []",
    "list of messages": 'input [ { name: "a" }, < name: "b" > ]',
    "list of messages with colon": 'input: [ { name: "a" } ]',
    "map": 'parameters { key: "a" value: { string_value: "b" } }',
    "map in a list": 'parameters: [ { key: "a" value { string_value: "b" } } ]',
    "map without a key": 'parameters { value { string_value: "b" } }',
    "map with numbers": "dynamic_batching { priority_queue_policy { key: 1 value { } } }",
    "enumeration": "input { data_type: TYPE_FP32 format: FORMAT_NCHW }",
    "enumeration by number": "input { data_type: 11 }",
    "booleans": "response_cache { enable: True } model_operations { }",
    "hexadecimal and octal": "max_batch_size: 0x1F input { dims: 017 }",
    "bounds": "max_batch_size: -2147483648 input { dims: 9223372036854775807 }",
    "floats": "sequence_batching { direct { minimum_slot_utilization: 1.5e-3f } }",
    "float like an int": "sequence_batching { direct { minimum_slot_utilization: 1 } }",
    "infinity": "model_metrics { metric_control { histogram_options { buckets: [ .5, inf ] } } }",
    "a default twice": 'name: "" name: "a" max_batch_size: 0 max_batch_size: 8',
    "comment between": 'name: # here\n "a" # there\n',
    "carriage returns": 'name: "a"\r\nmax_batch_size: 8\r\n',
    "oneof": "version_policy { specific { versions: [1, 2] } }",
}

REFUSED = {
    "unknown field": 'nam: "a"',
    "unknown inner field": "input { dim: 1 }",
    "unknown message": "inputs { dims: 1 }",
    "unknown enumeration": "input { data_type: TYPE_FP33 }",
    "enumeration in quotes": 'input { data_type: "TYPE_FP32" }',
    "text without quotes": "name: a",
    "number for a text": "name: 1",
    "text for a number": 'max_batch_size: "8"',
    "float for a number": "max_batch_size: 8.0",
    "too large": "max_batch_size: 2147483648",
    "negative": "instance_group { rate_limiter { priority: -1 } }",
    "bad octal": "max_batch_size: 08",
    "octal float": "sequence_batching { direct { minimum_slot_utilization: 01.5 } }",
    "minus apart": "max_batch_size: - 8",
    "no boolean": "response_cache { enable: yes }",
    "no colon": 'name "a"',
    "no value": "name:",
    "no value before a brace": "input { dims: }",
    "message for a text": 'name { key: "a" }',
    "list for one value": "max_batch_size: [ 8 ]",
    "list for one message": "dynamic_batching [ { } ]",
    "scalar for a message": "dynamic_batching: 1",
    "comma at the end": "input { dims: [ 1, 2, ] }",
    "comma after messages": 'input [ { name: "a" }, ]',
    "two commas": 'name: "a",, max_batch_size: 8',
    "no comma": "input { dims: [ 1 2 ] }",
    "not closed": "input { dims: 1",
    "list not closed": "input [ { dims: 1 }",
    "closed twice": "input { } }",
    "closed by another": "dynamic_batching { >",
    "text not closed": 'name: "a\n',
    "text over lines": 'name: "a\nb"',
    "no UTF-8": r'name: "\377"',
    "twice": 'name: "a" name: "b"',
    "message twice": "dynamic_batching { } dynamic_batching { }",
    "two of a choice": "dynamic_batching { } sequence_batching { }",
    "two policies": "version_policy { all { } latest { } }",
    "extension": "[a.b]: 1",
    "field number": '1: "a"',
    "stray sign": 'name: "a" !',
    "key with a wrong type": "parameters { key: 1 }",
    "unknown with a value": "foo: 1",
    "unknown with a message": "foo { bar: [ 1, { } ] }",
}


def by_protobuf(text: str) -> bool:
    """Tell whether protobuf's own reader takes a text."""
    try:
        text_format.Parse(text, model_config_pb2.ModelConfig())
    except (text_format.ParseError, ValueError):  # ValueError: an enumeration's number is too big.
        return False
    return True


def by_us(text: str) -> bool:
    """Tell whether our reader takes a text."""
    return not parse(text, Place("config.pbtxt"))[1]


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_both_accept(name: str) -> None:
    """Texts in the format are taken by protobuf and by us."""
    assert (by_protobuf(ACCEPTED[name]), by_us(ACCEPTED[name])) == (True, True)


@pytest.mark.parametrize("name", REFUSED)
def test_what_both_refuse(name: str) -> None:
    """Texts with a mistake are refused by protobuf and by us."""
    assert (by_protobuf(REFUSED[name]), by_us(REFUSED[name])) == (False, False)


@pytest.mark.parametrize("text", [r'name: "\777"', r'name: "\q"', r'name: "\x"'])
def test_escapes_that_are_none(text: str) -> None:
    """An escape that is none, or more than a byte, is refused."""
    assert not by_us(text)


@pytest.mark.parametrize("text", ["max_batch_size: +5", "max_batch_size: 1_000"])
def test_what_only_python_reads(text: str) -> None:
    """Spellings that protobuf's Python reader knows and Triton's C++ does not are refused."""
    assert (by_protobuf(text), by_us(text)) == (True, False)


def test_the_table_is_nvidias() -> None:
    """Our messages, fields, types, lists, maps, choices and enumerations are those of the proto."""
    found = {}
    enums = {}
    for descriptor in _all_of(model_config_pb2.DESCRIPTOR.message_types_by_name.values()):
        enums |= {_name(enum): tuple(enum.values_by_name) for enum in descriptor.enum_types}
        if not descriptor.GetOptions().map_entry:
            found[_name(descriptor)] = {field.name: _field(field) for field in descriptor.fields}
    file_enums = model_config_pb2.DESCRIPTOR.enum_types_by_name.values()
    enums |= {_name(enum): tuple(enum.values_by_name) for enum in file_enums}
    assert {message: dict(fields_of(message)) for message in messages()} == found
    assert enums == ENUMS


def _all_of(descriptors: Any) -> list[Descriptor]:
    found = []
    for descriptor in descriptors:
        found += [descriptor, *_all_of(descriptor.nested_types)]
    return found


def _name(descriptor: Any) -> str:
    return str(descriptor.full_name).removeprefix(_PACKAGE)


def _field(field: Any) -> Field:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = (_kind(message.fields_by_name[name]) for name in ("key", "value"))
        kind = f"entry {key} {value}"
    else:
        kind = _kind(field)
    choice = field.containing_oneof.name if field.containing_oneof else ""
    return Field(field.name, kind, field.is_repeated, choice)


def _kind(field: Any) -> str:
    return _KINDS.get(field.type) or _name(field.message_type or field.enum_type)


_SCALARS = {
    "string": st.sampled_from(['"a"', "'b'", '""', "\"x\" 'y'"]),
    "bool": st.sampled_from(["true", "false", "0", "1"]),
    "float": st.sampled_from(["0", "1.5", "-2e3", "inf"]),
    "double": st.sampled_from(["0", "1.5", "-2e3", "nan"]),
    "int32": st.integers(-(2**31), 2**31 - 1).map(str),
    "int64": st.integers(-(2**63), 2**63 - 1).map(str),
    "uint32": st.integers(0, 2**32 - 1).map(str),
    "uint64": st.integers(0, 2**64 - 1).map(str),
}


@st.composite
def bodies(draw: st.DrawFn, message: str = "ModelConfig", depth: int = 0) -> str:
    """Draw the fields of a message, written in one of the ways that the format has."""
    fields = list(fields_of(message).values())
    if not fields:
        return ""
    chosen = draw(st.lists(st.sampled_from(fields), max_size=4 if depth == 0 else 2))
    return " ".join(draw(written(field, depth)) for field in chosen)


@st.composite
def written(draw: st.DrawFn, field: Field, depth: int) -> str:
    """Draw a field with a value, or a list of them."""
    if field.is_message and depth > 3:
        return ""
    colon = draw(st.sampled_from([":", ": ", ""])) if field.is_message else ": "
    end = draw(st.sampled_from(["", ",", ";", "\n", " # end\n"]))
    count = draw(st.integers(0, 3)) if field.repeated and draw(st.booleans()) else None
    values = [draw(value_of(field, depth)) for _ in range(1 if count is None else count)]
    value = values[0] if count is None else f"[{', '.join(values)}]"
    return f"{field.name}{colon}{value}{end}"


def value_of(field: Field, depth: int) -> st.SearchStrategy[str]:
    """Return a strategy for one value of a field."""
    if field.kind in ENUMS:
        return st.sampled_from(ENUMS[field.kind])
    if field.kind in _SCALARS:
        return _SCALARS[field.kind]
    brackets = st.sampled_from(["{ %s }", "< %s >", "{\n%s\n}"])
    return st.builds(lambda form, body: form % body, brackets, bodies(field.kind, depth + 1))


_PIECES = st.sampled_from(
    [
        "{", "}", "[", "]", "<", ">", ":", ",", ";", '"', "'a'", "#x\n", "\n", "name", "input",
        "dims", "data_type", "TYPE_FP32", "max_batch_size", "-1", "8", "1.5", "0x1f", "08", "true",
        "dynamic_batching", "unknown", "parameters", "key", "value", "version_policy", "all", "!",
    ]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Draw a text of the format in which pieces were taken out, put in or changed."""
    text = draw(bodies())
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 4)))
        piece = draw(st.one_of(st.just(""), _PIECES.map(lambda piece: f" {piece} ")))
        text = text[:start] + piece + text[end:]
    return text


@settings(max_examples=250, deadline=None)
@given(damaged())
@example("input { dims: [ 1, 2, ] }")
def test_agreement_with_protobuf(text: str) -> None:
    """Whatever is written, protobuf and we accept or refuse the same."""
    assert by_us(text) == by_protobuf(text), text


@settings(max_examples=200, deadline=None)
@given(st.lists(_PIECES, max_size=12).map(" ".join))
def test_agreement_on_pieces(text: str) -> None:
    """Pieces of the format in any order are accepted or refused by both alike."""
    assert by_us(text) == by_protobuf(text), text


@settings(max_examples=100, deadline=None)
@given(bodies())
def test_the_values_are_protobufs(text: str) -> None:
    """What we read is what protobuf reads, where it takes the text."""
    message = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError:
        return
    ours, _ = parse(text, Place(""))
    _assert_same(ours, message)


def _assert_same(ours: Message, theirs: Any) -> None:
    for name, field in fields_of(ours.kind).items():
        value = getattr(theirs, name)
        if field.kind.startswith("entry "):
            unset = "" if field.kind.startswith("entry string ") else 0
            assert {entry.get("key", unset) for entry in ours.messages(name)} == set(value)
        elif field.is_message:
            inner = list(value) if field.repeated else [value] * theirs.HasField(name)
            given_messages = ours.messages(name)
            assert len(given_messages) == len(inner)
            for one, other in zip(given_messages, inner, strict=True):
                _assert_same(one, other)
        elif field.repeated:
            assert [_plain(field, item.value) for item in ours.all(name)] == list(
                map(_or_nan, value)
            )
        else:
            assert _plain(field, ours.get(name, _unset(field))) == _or_nan(value)


def _plain(field: Field, value: Any) -> Any:
    """Return a value as protobuf gives it back; single floats are rounded."""
    if field.kind in ENUMS:
        return ENUMS[field.kind].index(value)
    return _or_nan(value)


def _or_nan(value: Any) -> Any:
    return "nan" if value != value else value


def _unset(field: Field) -> Any:
    if field.kind in ENUMS:
        return ENUMS[field.kind][0]
    return {"string": "", "bool": False}.get(field.kind, 0)


@pytest.mark.parametrize(
    ("text", "line", "rule", "what", "write"),
    [
        ('name: "a"\nmax_batch: 8\n', 2, "config-unknown-field", ("ModelConfig has no field "
         "'max_batch'"), "write max_batch_size"),
        ("input {\n  data_type: TYPE_FLOAT32\n}", 2, "config-enum", ("data_type has "
         "'TYPE_FLOAT32'"), "write data_type: and one of TYPE_FP32"),
        ('input {\n  data_type: "TYPE_INT64"\n}', 2, "config-enum", "it stands in quotes",
         "one of TYPE_INT64"),
        ("\n\nmax_batch_size: 8.5", 3, "config-type", "max_batch_size has '8.5'", "an integer"),
        ("input [\n  { dims: [ 1 ] },\n]", 1, "config-syntax", "a ',' stands before the ']'",
         "leave the last ',' out"),
        ("input {\n  dims: 1\n", 1, "config-syntax", "the '{' of input on line 1 is not closed",
         "write '}'"),
        ('name: "a"\nname: "b"', 2, "config-repeated", "is given on line 1 already", "keep one"),
        ("dynamic_batching { }\nensemble_scheduling { }", 2, "config-repeated",
         "excludes dynamic_batching on line 1", "keep one"),
        ('platform: "onnxruntime_onnx"\nbackend "b"', 2, "config-syntax",
         "a text in quotes where ':' is expected", "write ':'"),
    ],
)  # fmt: skip
def test_lines_and_words(text: str, line: int, rule: str, what: str, write: str) -> None:
    """A mistake is told with its line, what is wrong and what to write."""
    (found, *_) = parse(text, Place("config.pbtxt"))[1]
    assert (found.file, found.line, found.rule) == ("config.pbtxt", line, rule)
    assert what in found.what
    assert write in found.write


def test_all_mistakes_at_once() -> None:
    """Reading goes on after a mistake, so that all are told at once."""
    text = 'nam: "a"\nmax_batch_size: x\ninput { data_type: TYPE_X dimes: [ { } ] }\nbackend: 1\n'
    lines = [found.line for found in parse(text, Place("config.pbtxt"))[1]]
    assert lines == [1, 2, 3, 3, 4]


def test_hostile_texts_are_bounded() -> None:
    """Many mistakes, deep brackets and long numbers cost little and are cut."""
    assert len(parse("x: 1\n" * 100_000, Place(""))[1]) == MOST_FINDINGS
    assert len(parse("x " + "{" * 100_000, Place(""))[1]) <= MOST_FINDINGS
    (found,) = parse(f"max_batch_size: {'9' * 100_000}", Place(""))[1]
    assert len(found.what) < 200


def test_no_text_in_quotes_is_shown() -> None:
    """A text in quotes may be a secret, and no message has it."""
    secret = "canary-71"
    text = (
        f'parameters {{ key: "k" value: {{ string_valu: "{secret}" }} }}\n'
        f'max_batch_size: "{secret}"\nname "{secret}"'
    )
    findings = parse(text, Place("config.pbtxt"))[1]
    assert len(findings) == 3
    assert secret not in str(findings)


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("max_batch_size: -1", 1, "config-batch-size"),
        ("max_batch_size: 4\ndynamic_batching {\n preferred_batch_size: [ 4,\n 8 ] }", 4,
         "config-batch-size"),
        ("\ninput { data_type: TYPE_FP32 dims: 1 }", 2, "config-tensor"),
        ('input { name: "x"\n dims: 1 }', 1, "config-tensor"),
        ('input { name: "x" data_type: 99\n dims: 1 }', 1, "config-tensor"),
        ('output { name: "x"\n data_type: TYPE_FP32 }', 1, "config-tensor"),
        ('input { name: "x" data_type: TYPE_FP32\n dims: [ 0 ] }', 2, "config-tensor"),
        ('input { name: "x" data_type: TYPE_FP32 dims: 6\n reshape { shape: [ 2, 2 ] } }', 2,
         "config-tensor"),
        (('input { name: "x" data_type: TYPE_FP32 dims: 1 }\n'
         'input { name: "x" data_type: TYPE_FP32 dims: 1 }'), 2, "config-tensor"),
        (('input { name: "x" data_type: TYPE_FP32 dims: 1 }\nmodel_warmup { name: "w"\n'
         'batch_size: 2 inputs { key: "x" value { data_type: TYPE_FP32 dims: 1 } } }'), 3,
         "config-warmup"),
        (('input { name: "x" data_type: TYPE_FP32 dims: 1 }\nmodel_warmup { name: "w"\n'
         'inputs { key: "y" value { data_type: TYPE_FP32 dims: 1 } } }'), 3, "config-warmup"),
        (('input { name: "x" data_type: TYPE_FP32 dims: 1 }\nmodel_warmup {\n'
         'inputs { key: "x" value {\n data_type: TYPE_FP64 dims: 1 } } }'), 4, "config-warmup"),
        ('backend: "python"\nversion_policy {\n specific { versions: 7 } }', 3, "version-policy"),
    ],
)  # fmt: skip
def test_what_triton_refuses(text: str, line: int, rule: str, tmp_path: Path) -> None:
    """What can be parsed and is still no configuration is told with its line."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.py").touch()
    backend = "" if text.startswith("backend") else 'backend: "python" '
    (tmp_path / "config.pbtxt").write_text(backend + text)
    found = read_model(tmp_path, "models/m", tmp_path).findings
    assert (line, rule) in {(item.line, item.rule) for item in found}
