"""``hybridmodel trust`` and ``inspect``: what would be sent where, said before it is granted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hybridmodel import ConfigurationError, HybridOnnxModel, load_model, save_model
from hybridmodel.cli.program import program
from hybridmodel.remote.trust import trust_file
from tests.support import models
from tests.support.paths import ROOT
from tests.support.trusting import (
    EVIL,
    HOST,
    HOST_KEY,
    KEY,
    Wire,
    another_process,
    ask,
    stored,
    wire,
)

__all__ = ["another_process", "wire"]  # Fixtures.

pytestmark = pytest.mark.usefixtures("another_process")

GRANT = f"DIGITS_API_KEY@{HOST}"


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a user with a key and an empty folder; return where the file will be."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DIGITS_API_KEY", KEY)
    return tmp_path / "config" / "hybridmodel" / "allow"


def cli(*words: object, status: int = 0, said: str | None = None) -> Result:
    """Run a command; `said` is typed in answer to its question."""
    result = CliRunner().invoke(program, [str(word) for word in words], input=said)
    assert result.exit_code == status, result.output
    assert KEY not in result.output
    return result


def test_what_a_person_sees(tmp_path: Path, user: Path, wire: Wire) -> None:
    """Place, data and the key's variable are said first; after a yes the model may send them."""
    folder = stored(tmp_path)
    shown = cli("trust", folder, said="y\n").stdout
    assert shown == (
        f"model     {folder}\n"
        f"endpoint  https://{HOST}/v2/models/digits/versions/1\n"
        "\n"
        f"It wants to send to {HOST}\n"
        "  the rows of calls\n"
        "  the key in DIGITS_API_KEY, which is set here\n"
        "\n"
        "This holds for every saved model that names the same, not only for this one.\n"
        f"Allow it, in {user}? [y/N]: y\n"
        f"granted: {GRANT}\n"
    )
    assert user.stat().st_mode & 0o777 == 0o600
    assert "model" not in user.read_text().partition("\n")[2]
    ask(load_model(folder))
    assert wire.keys == [KEY]
    assert "already" in cli("trust", folder).stdout


@pytest.mark.parametrize("said", ["n\n", "\n"])
def test_no_is_the_usual_answer(said: str, tmp_path: Path, user: Path) -> None:
    """Only a yes is one, and nothing is written without it."""
    cli("trust", stored(tmp_path), status=1, said=said)
    assert not user.exists()


def test_nobody_there_to_answer(tmp_path: Path, user: Path) -> None:
    """Without a person the command is ended, unless it was told ``--yes``."""
    cli("trust", stored(tmp_path), status=130, said="")
    assert not user.exists()
    cli("trust", stored(tmp_path / "two"), "--yes")
    assert user.exists()


@pytest.mark.parametrize(
    ("fields", "grants", "said"),
    [
        ({"auth_key_env": None}, HOST, "the rows of calls\n\n"),
        ({"secondary_key_env": "B"}, f"{GRANT},B@{HOST}", "the key in B, which is not set here"),
        ({"entra_id": True}, f"entra@{HOST}", "tokens of Entra ID that are good for all"),
        (
            {"uri": f"http://{HOST}:8000", "allow_http": True},
            f"DIGITS_API_KEY@http://{HOST}:8000",
            "WITHOUT ENCRYPTION",
        ),
        ({"uri": f"https://{HOST}:8443/api/v1"}, f"{GRANT}:8443/api/v1", f"to {HOST}:8443/api/v1"),
    ],
)
def test_each_kind_of_pair(
    fields: dict[str, Any], grants: str, said: str, tmp_path: Path, user: Path
) -> None:
    """Data alone, two keys, tokens, plain http and prefixes are said and granted as such."""
    folder = stored(tmp_path, fields)
    assert said in cli("trust", folder, "--yes").stdout
    assert cli("trust", "--list").stdout.split() == sorted(grants.split(","))
    assert cli("trust", folder, "--print-env").stdout == f"HYBRIDMODEL_ALLOW={grants}\n"


def test_a_stored_route_can_be_looked_at_and_trusted(tmp_path: Path, wire: Wire) -> None:
    """A model that cannot be loaded yet is shown all the same, and can be granted."""
    folder = stored(tmp_path, use_azure=True)
    with pytest.raises(ConfigurationError):
        load_model(folder)
    assert "route      azure, refused, unless a call says" in cli("inspect", folder).stdout
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b,c,d\n1,2,3,4\n")
    assert "although no call asks for it" in cli("predict", folder, rows, status=2).stderr
    cli("predict", folder, rows, "--local")
    cli("trust", folder, "--yes")
    assert "route      azure, unless a call says" in cli("inspect", folder).stdout
    assert wire.sent == []
    load_model(folder)


def test_printing_for_containers_writes_nothing(
    tmp_path: Path, user: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is printed for a model, or of the file, grants the same where it is set."""
    folder = stored(tmp_path)
    line = cli("trust", folder, "--print-env").stdout.strip()
    assert not user.exists()
    assert cli("trust", "--print-env").stdout == "HYBRIDMODEL_ALLOW=\n"
    name, _, value = line.partition("=")
    with monkeypatch.context() as patched:
        patched.setenv(name, value)
        ask(load_model(folder))
    assert wire.keys == [KEY]
    cli("trust", folder, "--yes")
    assert cli("trust", "--print-env").stdout.strip() == line


def test_revoking(tmp_path: Path, user: Path) -> None:
    """A grant goes by what --list prints; a place takes all of itself with it."""
    for name, fields in {
        "a": {},
        "b": {"auth_key_env": "B"},
        "c": {"uri": f"https://{EVIL}"},
    }.items():
        cli("trust", stored(tmp_path / name, fields), "--yes")
    other = f"DIGITS_API_KEY@{EVIL}"
    assert cli("trust", "--list").stdout.split() == sorted([f"B@{HOST}", GRANT, other])
    cli("trust", "--revoke", GRANT)
    assert cli("trust", "--list").stdout.split() == sorted([f"B@{HOST}", other])
    assert "no such grant: " in cli("trust", "--revoke", GRANT, status=1).stderr
    cli("trust", "--revoke", HOST)
    assert cli("trust", "--list").stdout.split() == [other]
    assert user.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trust"], "name a model"),
        (["trust", "--list", "--revoke", "x"], "take no other options"),
        (["trust", "x", "--list"], "take no other options"),
        (["trust", "--revoke", "a/../b"], "not a grant"),
        (["trust", "@lone"], "has no endpoint"),
        (["trust", "@odd", "--yes"], "no grant can name"),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], said: str, tmp_path: Path) -> None:
    """One line on stderr, and nothing written."""
    save_model(HybridOnnxModel(models.linear()), tmp_path / "lone", signature="params")
    odd = stored(tmp_path, {"uri": f"https://{EVIL}/a,b"})
    places = {"@lone": tmp_path / "lone", "@odd": odd}
    result = cli(*[places.get(word, word) for word in words], status=2)
    assert said in result.stderr
    assert trust_file.read() == ()


def test_inspect_tells_what_would_be_sent_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data and each key, with who says so, or that nobody does."""
    folder = stored(tmp_path, {"secondary_key_env": "B"})
    shown = cli("inspect", folder).stdout
    assert f"data       to {HOST}: when a call asks for it; nothing is granted" in shown
    assert "key        in DIGITS_API_KEY, which is set; not granted, so not sent" in shown
    assert "           in B, which is not set; not granted, so not sent" in shown
    cli("trust", folder, "--yes")
    monkeypatch.setenv(HOST_KEY, KEY)
    sends = json.loads(cli("inspect", folder, "--json").stdout)["sends"]
    assert [(item["what"], item["granted"], item["is_set"]) for item in sends] == [
        ("data", True, None),
        ("DIGITS_API_KEY", True, True),
        ("B", True, False),
        (HOST_KEY, True, True),
    ]
    assert sends[0]["why"] == f"{HOST_KEY} is set"
    assert sends[1]["why"] == f"granted in {trust_file.path()}"
    assert sends[1]["grant"] == GRANT
    assert sends[3]["why"] == "the host's own variable"


def test_pairs_of_the_command_line_are_code_s(tmp_path: Path, wire: Wire) -> None:
    """Host and variable by ``--model-config`` need no grant, one of them does."""
    folder = stored(tmp_path)
    host = ["--model-config", f"uri=https://{EVIL}"]
    assert f"DIGITS_API_KEY@{EVIL}" in cli("ping", folder, *host, status=2).stderr
    assert wire.sent == []
    both = [*host, "--model-config", "auth_key_env=DIGITS_API_KEY"]
    cli("ping", folder, *both, status=2)
    assert wire.keys
    assert set(wire.keys) == {KEY}


def test_a_shell_takes_what_is_printed(tmp_path: Path) -> None:
    """The printed line is an assignment as it stands, also with an IPv6 address."""
    folder = stored(tmp_path, {"uri": "https://[2001:db8::1]:8443"})
    printed = subprocess.run(
        [sys.executable, "-m", "hybridmodel", "trust", str(folder), "--print-env"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout
    shell = f'{printed.strip()}; printf %s "$HYBRIDMODEL_ALLOW"'
    said = subprocess.run(["bash", "-euc", shell], capture_output=True, text=True, check=True)
    assert said.stdout == "DIGITS_API_KEY@[2001:db8::1]:8443"
