"""Score rows with the endpoint, as the documentation of onnxruntime 1.14 and 1.15 showed it."""

import os

import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.add_session_config_entry("azure.endpoint_type", "triton")
options.add_session_config_entry("azure.uri", "https://digits.westeurope.inference.ml.azure.com")
options.add_session_config_entry("azure.model_name", "digits")
options.add_session_config_entry("azure.model_version", "1")

session = ort.InferenceSession(
    "digits_small.onnx", options, providers=["CPUExecutionProvider", "azureExecutionProvider"]
)

run_options = ort.RunOptions()
run_options.add_run_config_entry("use_azure", "1")
run_options.add_run_config_entry("azure.auth_key", os.environ["DIGITS_KEY"])

answers = session.run(None, {"X": np.ones((1, 64), np.float32)}, run_options)[0]
