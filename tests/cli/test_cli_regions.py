"""Commands on models with several endpoints: each endpoint is shown, checked and granted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hybridmodel import HybridOnnxModel, TritonEndpoint, save_model
from hybridmodel.remote.trust import trust_file
from hybridmodel.serving import EmbeddedServer
from tests.support import models
from tests.support.command_line import COLUMNS, NOWHERE, Cli
from tests.support.regions import place
from tests.support.trusting import another_process

__all__ = ["another_process"]  # A fixture.


@pytest.fixture
def regions(server: EmbeddedServer, tmp_path: Path) -> Path:
    """Save a model whose first endpoint is down."""
    there = [TritonEndpoint(uri=uri, model_name="linear") for uri in (NOWHERE, server.uri)]
    model = HybridOnnxModel(models.linear(), endpoint=there, feature_names=COLUMNS)
    save_model(model, tmp_path / "regions")
    return tmp_path / "regions"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save a model with two endpoints that nothing grants."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HYBRIDMODEL_ALLOW", raising=False)
    there = [place(host, auth_key_env=f"{host.upper()}_KEY") for host in ("west", "north")]
    save_model(HybridOnnxModel(models.linear(), endpoint=there), tmp_path / "stored")
    return tmp_path / "stored"


def test_inspect_shows_each_endpoint(cli: Cli, regions: Path, server: EmbeddedServer) -> None:
    """Each has its address and what would be sent there; for machines it is a list."""
    shown = cli("inspect", regions).stdout
    for uri in (NOWHERE, server.uri):
        assert f"endpoint   {uri}/v2/models/linear/versions/1\n" in shown
    found = json.loads(cli("inspect", regions, "--json").stdout)
    assert [item["uri"] for item in found["endpoint"]] == [NOWHERE, server.uri]
    assert [item["what"] for item in found["sends"]] == ["data", "HYBRIDMODEL_API_KEY"] * 2


def test_ping_checks_each_endpoint(cli: Cli, regions: Path, server: EmbeddedServer) -> None:
    """One that is down is not ready, and the other is checked all the same."""
    down, up = json.loads(cli("ping", regions, "--json", "-n", 1, status=1).stdout)
    assert (down["ready"], up["ready"], up["differences"]) == (False, True, [])
    assert down["model_url"].startswith(NOWHERE)
    assert down["reason"].startswith(down["model_url"])
    assert up["model_url"].startswith(server.uri)
    assert "ready       yes" in cli("ping", regions, "-n", 1, status=1).stdout


def test_predict_names_both(cli: Cli, regions: Path, server: EmbeddedServer) -> None:
    """The rows are answered, and both endpoints are named that may have done it."""
    said = cli("predict", regions, "rows.csv", "--use-azure", "-o", "out.csv").stderr
    assert (
        f"answered by the endpoint {NOWHERE}/v2/models/linear/versions/1 or {server.uri}/" in said
    )


def test_compare_asks_who_is_available(cli: Cli, regions: Path) -> None:
    """The second endpoint has the same model, so nothing differs while the first is down."""
    assert json.loads(cli("compare", regions, "rows.csv", "--json").stdout)["same"] is True


def test_a_uri_replaces_the_list(cli: Cli, regions: Path, server: EmbeddedServer) -> None:
    """`--model-config uri=` leaves one endpoint, which is pinged as one is."""
    options = ("--model-config", f"uri={server.uri}", "--json", "-n", 1)
    assert json.loads(cli("ping", regions, *options).stdout)["ready"] is True


@pytest.mark.usefixtures("another_process")
def test_trust_grants_each_endpoint(cli: Cli, stored: Path) -> None:
    """What would be sent to each is said before one yes, and granted place by place."""
    said = cli("trust", stored, "--yes").stdout
    for host in ("west", "north"):
        assert f"endpoint  https://{host}.example/v2/models/m/versions/1\n" in said
        assert f"It wants to send to {host}.example\n  the rows of calls\n" in said
    granted = ["WEST_KEY@west.example", "NORTH_KEY@north.example"]
    assert sorted(map(str, trust_file.read())) == sorted(granted)
    assert "granted in" in cli("trust", stored).stdout
    assert cli("trust", stored, "--print-env").stdout == f"HYBRIDMODEL_ALLOW={','.join(granted)}\n"


def test_a_rehearsal_stands_for_one_host(cli: Cli, stored: Path) -> None:
    """A model with several endpoints does not say which of them is rehearsed."""
    said = cli("rehearse", ".", "--for", stored, status=2).stderr
    assert "has several endpoints; --for names each host" in said
    assert "west.example, north.example" in said
