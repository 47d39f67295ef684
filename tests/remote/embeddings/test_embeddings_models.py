"""Models with an embeddings endpoint: saved, loaded, granted, compared, reported, faked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from hybridmodel import (
    ConfigurationError,
    EmbeddingsEndpoint,
    HybridOnnxModel,
    RateLimited,
    load_model,
    save_model,
)
from hybridmodel.cli.program import program
from hybridmodel.flavor.artifact import config_of, read, write
from hybridmodel.testing import fake_endpoint
from tests.support import texts
from tests.support.embedding_server import EmbeddingServer

SENTENCES = np.array(["the cat", "a dog barks", "the cat sleeps", "rain"], object)
FRAME = pd.DataFrame({"text": SENTENCES})

AZURE = EmbeddingsEndpoint(
    uri="https://name.openai.azure.com/openai/v1",
    model="text-embedding-3-large",
    dimensions=8,
    auth_key_env="EMBEDDINGS_KEY",
)


def text_model(endpoint: EmbeddingsEndpoint | None, **options: Any) -> HybridOnnxModel:
    """Make a model of texts with an endpoint."""
    made = texts.text_model()
    return HybridOnnxModel(made, endpoint=endpoint, session_options=texts.SESSION, **options)


def test_the_saved_model_says_the_kind(tmp_path: Path) -> None:
    """It is schema 2, whose readers know the kind, holds no secret, and comes back as it was."""
    with text_model(AZURE) as model:
        write(model, tmp_path)
    stored = json.loads((tmp_path / "hybrid.json").read_text())
    assert stored["schema_version"] == 2
    assert stored["endpoint"] == [{"kind": "embeddings", **AZURE.to_dict()}]
    again = read(tmp_path)
    assert again.endpoint == AZURE
    assert config_of(again)["model"] == "text-embedding-3-large"
    assert "model_name" not in config_of(again)
    np.testing.assert_array_equal(again.predict(SENTENCES), model.predict(SENTENCES))


GOLDEN = Path(__file__).parent / "golden"


def test_a_stored_model_is_read_and_written_as_it_was(tmp_path: Path) -> None:
    """Every later version loads the file of this one, and writes it again byte for byte."""
    model = read(GOLDEN, look_only=True)
    assert model.endpoint == AZURE
    write(model, tmp_path)
    text = (GOLDEN / "hybrid.json").read_text()
    writer = json.loads((tmp_path / "hybrid.json").read_text())["written_by"]
    again = (tmp_path / "hybrid.json").read_text()
    assert again == text.replace(json.loads(text)["written_by"], writer)


def test_files_are_answered_by_the_endpoint(tmp_path: Path, server: EmbeddingServer) -> None:
    """Batches of a file go in full requests, and each place of the vectors is a column."""
    with text_model(server.endpoint(max_batch_size=3)) as model:
        save_model(model, tmp_path / "m")
    FRAME.to_csv(tmp_path / "in.csv", index=False)
    out = tmp_path / "out.parquet"
    asked = ["predict", str(tmp_path / "m"), str(tmp_path / "in.csv"), "-o", str(out)]
    found = CliRunner().invoke(program, [*asked, "--use-azure"])
    assert found.exit_code == 0, found.output
    written = pd.read_parquet(out)
    assert list(written.columns) == [f"vector_{place}" for place in range(8)]
    with text_model(None) as model:
        np.testing.assert_array_equal(written.to_numpy(), model.predict(SENTENCES))
    assert sorted(len(request.body["input"]) for request in server.requests) == [1, 3]


def test_a_load_may_change_the_fields_of_its_kind(tmp_path: Path, server: EmbeddingServer) -> None:
    """`model_config` moves the model to another endpoint, and names no field of another kind."""
    with text_model(AZURE) as model:
        save_model(model, tmp_path / "m")
    here = {"uri": server.uri, "model": "small", "dimensions": None, "auth_key_env": None}
    with load_model(tmp_path / "m", model_config=here) as loaded:
        assert loaded.predict(SENTENCES, use_azure=True).shape == (4, 8)
    assert server.requests[0].body["model"] == "small"
    with pytest.raises(ConfigurationError, match="the kind 'embeddings' has no 'model_name'"):
        load_model(tmp_path / "m", model_config={"model_name": "x"})


def test_a_model_without_an_endpoint_gets_one_at_load(
    tmp_path: Path, server: EmbeddingServer
) -> None:
    """The fields that are given say which kind of endpoint is meant."""
    with text_model(None) as model:
        save_model(model, tmp_path / "m")
    here = {"uri": server.uri, "model": "m", "auth_key_env": None}
    with load_model(tmp_path / "m", model_config=here) as loaded:
        assert isinstance(loaded.endpoint, EmbeddingsEndpoint)
        assert loaded.predict(SENTENCES, use_azure=True).shape == (4, 8)


STORED = EmbeddingsEndpoint(
    uri="https://stored.example/v1", model="m", auth_key_env="STORED_KEY", timeout_s=1.0
)


def test_a_stored_pair_of_host_and_key_needs_a_grant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a saved model suggests is not sent, and the refusal holds the line that grants it."""
    monkeypatch.setenv("STORED_KEY", "canary")
    with text_model(STORED.with_overrides(uri="https://other.example/v1")) as model:
        write(model, tmp_path)
    path = tmp_path / "hybrid.json"
    path.write_text(path.read_text().replace("other.example", "unknown-host.example"))
    with (
        read(tmp_path) as loaded,
        pytest.raises(ConfigurationError, match=r"STORED_KEY@unknown-host\.example"),
    ):
        loaded.predict(SENTENCES, use_azure=True)


def test_mlflow_serves_vectors_of_either_route(tmp_path: Path, server: EmbeddingServer) -> None:
    """Through pyfunc the switch is a parameter, and a column of texts gives columns of numbers."""
    with text_model(server.endpoint()) as model:
        save_model(model, tmp_path / "m", input_example=FRAME)
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    local = loaded.predict(FRAME)
    remote = loaded.predict(FRAME, params={"use_azure": True})
    pd.testing.assert_frame_equal(local, remote)
    assert local.shape == (4, 8)
    assert len(server.requests) == 1


def test_shadow_mode_compares_directions(server: EmbeddingServer) -> None:
    """An endpoint that gives the same directions in another length agrees on every row."""
    server.spoil = _doubled
    with text_model(server.endpoint(encoding_format="float")) as model:
        model.predict(SENTENCES, mode="shadow")
        _wait_until_compared(model)
        summary = model.comparison.summary()
    assert (summary.rows, summary.agreed) == (4, 4)
    assert summary.outputs[0].max_cosine_distance == pytest.approx(0, abs=1e-6)
    assert summary.agree_by == "'vector' within a cosine distance of 0.01"


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("--cosine", "0"), 1)])
def test_compare_knows_cosine_distances(
    tmp_path: Path, server: EmbeddingServer, arguments: tuple[str, ...], status: int
) -> None:
    """Vectors that nearly point the same way are the same, unless nothing is allowed for."""
    server.spoil = _turned
    with text_model(server.endpoint(encoding_format="float")) as model:
        save_model(model, tmp_path / "m")
    FRAME.to_csv(tmp_path / "in.csv", index=False)
    asked = ["compare", str(tmp_path / "m"), str(tmp_path / "in.csv"), *arguments]
    found = CliRunner().invoke(program, asked)
    assert found.exit_code == status, found.output
    assert "max cosine distance" in found.output
    (output,) = json.loads(CliRunner().invoke(program, [*asked, "--json"]).stdout)["outputs"]
    assert 0 < output["mean_cosine_distance"] <= output["max_cosine_distance"] < 0.01
    assert output["differing_rows"] == (4 if status else 0)


def test_a_report_shows_cosine_distances(tmp_path: Path, server: EmbeddingServer) -> None:
    """The page says how vectors agree, and judges none of them as probabilities of classes."""
    with text_model(server.endpoint()) as model:
        save_model(model, tmp_path / "m")
    FRAME.to_csv(tmp_path / "in.csv", index=False)
    page = tmp_path / "page.html"
    asked = ["report", str(tmp_path / "m"), str(tmp_path / "in.csv"), "-o", str(page)]
    found = CliRunner().invoke(program, [*asked, "--calls", "2"])
    assert found.exit_code == 0, found.output
    text = page.read_text()
    assert "within a cosine distance of 0.01" in text
    assert "mean cosine distance" in text
    assert "nothing says how sure the model is" in text


def test_inspect_and_ping_know_the_endpoint(tmp_path: Path, server: EmbeddingServer) -> None:
    """Commands read such a model as any other, and an ONNX file with an endpoint as well."""
    with text_model(server.endpoint()) as model:
        save_model(model, tmp_path / "m")
    shown = CliRunner().invoke(program, ["inspect", str(tmp_path / "m"), "--json"])
    described = json.loads(shown.stdout)["endpoint"]
    assert (described["model"], described["max_batch_size"]) == ("m", 2048)
    pinged = CliRunner().invoke(program, ["ping", str(tmp_path / "m")])
    assert pinged.exit_code == 0, pinged.output


def test_a_plain_file_is_given_an_endpoint(tmp_path: Path, server: EmbeddingServer) -> None:
    """The command line takes an ONNX file and the fields of an embeddings endpoint."""
    (tmp_path / "numbers.onnx").write_bytes(texts.numbers_model())
    (tmp_path / "in.csv").write_text("text\n1.5\n2\n")
    given = [f"uri={server.uri}", "model=small", "auth_key_env="]
    config = [word for one in given for word in ("--model-config", one)]
    asked = ["predict", str(tmp_path / "numbers.onnx"), str(tmp_path / "in.csv"), *config]
    found = CliRunner().invoke(program, [*asked, "--use-azure"])
    assert found.exit_code == 0, found.output
    assert server.requests[0].body["input"] == ["1.5", "2"]
    missing = CliRunner().invoke(program, [*asked[:3], "--model-config", "model=small"])
    assert "an endpoint needs its address" in missing.output


def test_the_fake_endpoint_answers_texts() -> None:
    """Tests of programs need no server: vectors come from a function, and a 429 when it is said."""
    with (
        text_model(AZURE.with_overrides(max_attempts=1)) as model,
        fake_endpoint(model, lambda feeds: np.ones((len(feeds["text"]), 8), np.float32)) as fake,
    ):
        assert model.predict(SENTENCES, use_azure=True).tolist() == np.ones((4, 8)).tolist()
        assert fake.requests[0].inputs["text"].tolist() == SENTENCES.tolist()
        fake.fail(429, times=1, headers={"Retry-After": "3"})
        with pytest.raises(RateLimited):
            model.predict(SENTENCES, use_azure=True)
        assert model.check_endpoint().outputs[0].shape == (-1, 8)


def _wait_until_compared(model: HybridOnnxModel) -> None:
    end = time.monotonic() + 10
    while model.stats().get("shadow.pending", 1) and time.monotonic() < end:
        time.sleep(0.005)


def _doubled(said: dict[str, Any]) -> dict[str, Any]:
    for item in said["data"]:
        item["embedding"] = [2 * number for number in item["embedding"]]
    return said


def _turned(said: dict[str, Any]) -> dict[str, Any]:
    for item in said["data"]:
        item["embedding"][0] += 0.05
    return said
