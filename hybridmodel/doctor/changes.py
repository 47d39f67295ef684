"""What to change where code relies on the dead execution provider."""

from __future__ import annotations

from hybridmodel.remote.endpoint import DEFAULT_KEY_ENV

KEY = (
    "take the key out of the file and give it up, since it stays in the file's history; read the "
    f"new one from the environment, as os.environ[{DEFAULT_KEY_ENV!r}]"
)
THROUGH_MLFLOW = (
    "MLflow makes this session itself: save the model with hybridmodel.log_model, as "
    "HybridOnnxModel(file, endpoint=TritonEndpoint(...)), without these entries"
)
OPENAI = (
    "call OpenAI's service from the program, with a client of its own such as the openai package: "
    "this was a preview for speech, and asked no Triton server"
)


def of_entry(new_import: str) -> str:
    """Say how entries of sessions and runs work again."""
    return f"{new_import}; the entries stay as they are"


def of_provider(new_import: str) -> str:
    """Say what to do about a dead provider's name."""
    return f"delete the name; or, where an endpoint is to answer: {new_import}"
