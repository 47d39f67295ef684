"""A saved model may suggest; only the machine pairs a secret, or data, with a place."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hybridmodel import (
    ConfigurationError,
    TritonEndpoint,
    load_model,
)
from hybridmodel.remote.trust import permission, trust_file
from hybridmodel.remote.trust.grants import parse_grants
from tests.support.granting import GRANT, Token, config_home, secrets
from tests.support.trusting import (
    EVIL,
    HOST,
    HOST_KEY,
    KEY,
    STORED,
    Wire,
    another_process,
    ask,
    line_of,
    stored,
    wire,
)

__all__ = ["another_process", "config_home", "secrets", "wire"]  # Fixtures.

pytestmark = pytest.mark.usefixtures("another_process")


ATTACKS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a variable": ({"auth_key_env": "AWS_SECRET_ACCESS_KEY"}, {}, "AWS_SECRET_ACCESS_KEY@"),
    "the usual one": ({"auth_key_env": "HYBRIDMODEL_API_KEY"}, {}, "HYBRIDMODEL_API_KEY@"),
    "another host's own": ({"auth_key_env": HOST_KEY}, {}, f"{HOST_KEY}@"),
    "only a second one": (
        {"auth_key_env": None, "secondary_key_env": "SECOND_KEY"},
        {},
        "SECOND_KEY@",
    ),
    "a token": ({}, {"credential": Token()}, "entra@"),
    "a function's": ({}, {"credential": lambda: KEY}, "credential@"),
    "without encryption": (
        {"uri": f"http://{EVIL}", "allow_http": True},
        {},
        "DIGITS_API_KEY@http",
    ),
    "to this machine": ({"uri": "http://127.0.0.1:9"}, {}, "DIGITS_API_KEY@http://127.0.0.1:9"),
    "below a prefix": ({"uri": f"https://{EVIL}/a/b"}, {}, f"DIGITS_API_KEY@{EVIL}/a/b"),
    "to a name like Azure's": ({"uri": f"https://x{HOST}"}, {}, f"DIGITS_API_KEY@x{HOST}"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_stored_pair_is_not_sent_until_the_line_is_pasted(
    attack: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking sends nothing at all; the error's line, run by a real shell, grants exactly that."""
    fields, at_load, grant = ATTACKS[attack]
    folder = stored(tmp_path, {"uri": f"https://{EVIL}", **fields})
    monkeypatch.setenv(HOST_KEY, KEY)
    with load_model(folder, **at_load) as model:
        with pytest.raises(ConfigurationError, match="nobody has granted") as caught:
            ask(model)
        assert wire.sent == []
        line = line_of(caught)
        assert f'"{grant}' in line
        said = subprocess.run(
            ["bash", "-euc", f'{line}; printf %s "$HYBRIDMODEL_ALLOW"'],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert KEY not in str(caught.value)
        monkeypatch.setenv("HYBRIDMODEL_ALLOW", said)
        ask(model)
    assert len(wire.sent) == 1
    assert KEY in str(wire.keys[0])


def test_the_line_keeps_what_is_granted_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasting the second error's line does not take back the first grant."""
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", "A@b.example")
    with pytest.raises(ConfigurationError) as caught:
        ask(load_model(stored(tmp_path)))
    shell = f'{line_of(caught)}; printf %s "$HYBRIDMODEL_ALLOW"'
    said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert list(map(str, parse_grants(said, "test"))) == ["A@b.example", GRANT]


@pytest.mark.parametrize(
    "path",
    ["/$(touch pwned)", "/`id`", '/"; id; "', "/a/../b", "/a%2e%2e/b", "/a,b.example", "/a;id"],
)
def test_a_path_that_a_shell_could_read_is_never_in_a_line(path: str, tmp_path: Path) -> None:
    """Such a place cannot be named by a grant, so the error tells the other way."""
    folder = stored(tmp_path, {"uri": f"https://{EVIL}{path}"})
    try:
        model = load_model(folder)
    except ConfigurationError:
        return
    with pytest.raises(ConfigurationError, match="no grant can name") as caught:
        ask(model)
    assert "export" not in str(caught.value)


NEARLY = [
    f"DIGITS_API_KEY@{HOST}:8443",
    f"DIGITS_API_KEY@{HOST}/prefix",
    f"DIGITS_API_KEY@http://{HOST}",
    f"DIGITS_API_KEY@http://{HOST}:443",
    f"DIGITS_API_KEY@sub.{HOST}",
    f"DIGITS_API_KEY@{HOST.partition('.')[2]}",
    f"DIGITS_API_KE@{HOST}",
    f"digits_api_key@{HOST}",
    f"entra@{HOST}",
    HOST,
    "unix:/run/x.sock",
]


@pytest.mark.parametrize("grant", NEARLY)
def test_a_grant_is_exact(
    grant: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another port, prefix, scheme, host or variable is another pair."""
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", grant)
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(load_model(stored(tmp_path)))
    assert wire.sent == []


@pytest.mark.parametrize("spelt", [GRANT, GRANT.replace(HOST, f"{HOST.upper()}."), f"{GRANT}:443"])
@pytest.mark.parametrize("way", ["environment", "load", "text", "file"])
def test_every_way_to_grant(
    way: str, spelt: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment, the caller and the user's file grant the same, however the host is spelt."""
    if way == "environment":
        monkeypatch.setenv("HYBRIDMODEL_ALLOW", f"other.host, {spelt}")
    elif way == "file":
        trust_file.write(parse_grants(spelt, "test"))
    allow = {"load": [spelt], "text": f"{spelt}, x.example"}.get(way)
    ask(load_model(stored(tmp_path), allow=allow))  # type: ignore[arg-type]
    assert wire.keys == [f"digits_api_key-{KEY}"]


@pytest.mark.parametrize("allow", [5, [5], ["a/.."], {"a": 1}, ["VAR@"]])
def test_allow_is_a_list_of_grants(allow: Any, tmp_path: Path) -> None:
    """What is none is said at load."""
    with pytest.raises(ConfigurationError, match="allow: "):
        load_model(stored(tmp_path), allow=allow)


def test_a_bad_environment_grants_nothing(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry that is no grant is an error, not a reason to guess."""
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", f"{GRANT}, sk-S3CRET=")
    with pytest.raises(ConfigurationError, match="entry 2") as caught:
        ask(load_model(stored(tmp_path)))
    assert "S3CRET" not in str(caught.value)
    assert wire.sent == []


def test_a_second_key_needs_its_own_grant(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 401 does not draw out a second variable that nobody granted."""
    folder = stored(tmp_path, {"secondary_key_env": "AWS_SECRET_ACCESS_KEY"})
    wire.unauthorized = True
    ask(load_model(folder, allow=[GRANT]))
    assert wire.keys == [f"digits_api_key-{KEY}"]
    wire.sent.clear()
    ask(load_model(folder, allow=[GRANT, f"AWS_SECRET_ACCESS_KEY@{HOST}"]))
    assert wire.keys == [f"digits_api_key-{KEY}", f"aws_secret_access_key-{KEY}"]


def test_a_token_is_not_even_asked_for(tmp_path: Path, wire: Wire) -> None:
    """Without a grant the credential is left alone; with one it is asked for the ML scope."""
    token = Token()
    folder = stored(tmp_path)
    with pytest.raises(ConfigurationError, match=f"entra@{HOST}"):
        ask(load_model(folder, credential=token))
    with pytest.raises(ConfigurationError, match="say uri yourself"):
        ask(load_model(folder, credential=token))
    assert token.scopes == []
    ask(load_model(folder, credential=token, allow=[f"entra@{HOST}"]))
    assert token.scopes == ["https://ml.azure.com/.default"]
    assert wire.keys == [KEY]


@pytest.mark.parametrize("variable", ["entra", "credential"])
def test_no_variable_passes_for_a_token(variable: str, tmp_path: Path) -> None:
    """A grant for tokens is none for a variable of that name."""
    with pytest.raises(ConfigurationError, match="means something else"):
        load_model(stored(tmp_path, {"auth_key_env": variable}), allow=[f"entra@{HOST}"])


def test_each_attempt_is_checked(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grant that is taken back between two attempts of one call stops the second."""
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", f"{GRANT}, SECOND_KEY@{HOST}")
    wire.unauthorized = True
    wire.between = lambda: monkeypatch.delenv("HYBRIDMODEL_ALLOW", raising=False)
    model = load_model(stored(tmp_path, {"secondary_key_env": "SECOND_KEY"}))
    ask(model)
    assert wire.keys == [f"digits_api_key-{KEY}"]
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(model)


def test_a_request_elsewhere_is_refused() -> None:
    """The place is compared where the request is made."""
    endpoint = TritonEndpoint.from_dict({**STORED, "auth_key_env": None})
    found = permission.permission_of(endpoint)
    assert found is not None
    found.check_request(f"https://{HOST}/v2")
    for url in (f"https://{HOST}.evil.example/v2", f"https://{HOST}:8443/v2", "https://x/v2"):
        with pytest.raises(ConfigurationError, match="went elsewhere"):
            found.check_request(url)
