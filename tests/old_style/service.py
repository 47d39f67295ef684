"""A service of two models, written for the provider's first name, with its settings apart."""

from onnxruntime import InferenceSession, RunOptions, SessionOptions

PROVIDERS = ["CloudExecutionProvider", "CPUExecutionProvider"]
ENDPOINT = {
    "cloud.endpoint_type": "triton",
    "cloud.uri": "https://digits.westeurope.inference.ml.azure.com",
    "cloud.model_name": "digits",
}
USE = "use_cloud"


class Digits:
    """The small model, and the large one when it is asked for."""

    def __init__(self, path: str) -> None:
        options = SessionOptions()
        for name, value in ENDPOINT.items():
            options.add_session_config_entry(name, value)
        self.session = InferenceSession(path, options, providers=PROVIDERS)

    def __call__(self, rows, is_hard: bool):
        """Answer rows with one of the models."""
        options = RunOptions()
        options.add_run_config_entry(USE, "1" if is_hard else "0")
        options.add_run_config_entry("cloud.auth_key", "0f3c9a61d2")
        return self.session.run(None, {"X": rows}, options)
