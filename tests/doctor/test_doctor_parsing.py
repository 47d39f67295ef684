"""The doctor reads any code to its end, refuses what is none in words, and runs nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.doctor.python_code import find_in_source
from hybridmodel.doctor.records import NotRead
from tests.support.doctor_tools import OLD, found, run
from tests.support.strategies import damaged, law

LOOP = b"""
ENTRIES = {"azure.endpoint_type": "triton", **{"azure.uri": uri}}
for key, value in ENTRIES.items():
    options.add_session_config_entry(key, str(value))
"""

SURVIVED = {
    "Python 2": (b"print 'AzureExecutionProvider'", "cannot be read as Python"),
    "a null byte": (b"x = 1\0", "null byte"),
    "an unknown encoding": (b"# coding: klingon\nx = 1", "klingon"),
    "a wrong encoding": (b"x = '\xff'", "cannot be read as Python"),
    "an encoding of bytes": (b"# coding: hex\nx = 1", "cannot be read as Python"),
    "deep brackets": (b"(" * 5000, "cannot be read as Python"),
    "deep signs": (b"-" * 100_000 + b"1", "nests too deeply"),
    "a large number": (b"x = " + b"9" * 5000, "cannot be read as Python"),
}


@pytest.mark.parametrize(("source", "reason"), SURVIVED.values(), ids=SURVIVED)
def test_what_cannot_be_parsed(source: bytes, reason: str) -> None:
    """Code that this interpreter cannot parse is refused with the reason, and nothing breaks."""
    with pytest.raises(NotRead, match=reason):
        find_in_source(source)


@pytest.mark.parametrize("deep", ["a" + "+a" * 500_000, "a" + ".b" * 500_000, "f" + "()" * 500_000])
def test_deep_code(deep: str) -> None:
    """Code that nests half a million times is read as far as Python goes, and breaks nothing."""
    with suppress(NotRead):
        assert found(f"{deep}\n{OLD}") == [run(2, "use_azure")]


@pytest.mark.parametrize(
    ("cookie", "encoding"),
    [("# -*- coding: latin-1 -*-", "latin-1"), ("# vim: set fileencoding=cp1252 :", "cp1252")],
)
def test_declared_encodings(cookie: str, encoding: str) -> None:
    """A file is read in the encoding that it declares."""
    code = f"{cookie}\nname = 'é'\n{OLD}"
    assert find_in_source(code.encode(encoding))[0].line == 3


def test_a_byte_order_mark() -> None:
    """A byte order mark moves nothing."""
    assert find_in_source(b"\xef\xbb\xbf" + OLD.encode())[0].line == 1


def test_code_is_not_run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read is neither run nor imported."""
    monkeypatch.chdir(tmp_path)
    code = f"open('ran', 'w')\n@open('ran', 'w')\nclass A: open('ran', 'w')\n{OLD}"
    assert len(find_in_source(code.encode())) == 1
    assert not (tmp_path / "ran").exists()


CHAINS = {
    "names in a circle": "a = b\nb = a\no.add_run_config_entry(a, '1')",
    "a loop over itself": "for x in x: o.add_run_config_entry(x, '1')",
    "loops in a circle": "\n".join(
        f"for a{i} in [a{(i + 1) % 30}, a{(i + 7) % 30}]: o.add_run_config_entry(*a{i})"
        for i in range(30)
    ),
    "a dict in itself": "d = {**d}\nfor k, v in d.items(): o.add_run_config_entry(k, v)",
    "a long sum": f"o.add_run_config_entry('x' {'+ x' * 300}, '1')",
    "many values": "\n".join(f"k = 'x{i}'" for i in range(5000))
    + "\no.add_run_config_entry(k, '1')" * 5000,
}


@pytest.mark.parametrize("code", CHAINS.values(), ids=CHAINS)
def test_following_names_ends(code: str) -> None:
    """Names that lead in circles, or to very many values, end the search."""
    assert find_in_source(f"{code}\n{OLD}".encode())[-1].name == "use_azure"


def test_warnings_about_code_are_not_raised() -> None:
    """What Python warns of when it parses code is no reason not to read it."""
    assert found(f"x = '\\d'; y = 1 is 1; assert (x, 'y')\n{OLD}") == [run(2, "use_azure")]


def survives(data: bytes) -> None:
    """Read bytes as code, and refuse them only in words."""
    reason = ""
    try:
        find_in_source(data)
    except NotRead as error:
        reason = str(error)
    assert reason.isprintable()


@law
@given(st.binary() | damaged(LOOP))
def test_no_bytes_break_it(data: bytes) -> None:
    """Any bytes are read, or refused with a reason that can be printed."""
    survives(data)


@law
@given(st.from_regex(rb"# coding: [a-z0-9_-]{1,12}\n", fullmatch=True), st.binary())
def test_no_encoding_breaks_it(cookie: bytes, data: bytes) -> None:
    """Any declared encoding is read, or refused."""
    survives(cookie + data)
