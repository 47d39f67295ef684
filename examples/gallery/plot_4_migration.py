"""
Moving on from the Azure execution provider
===========================================

onnxruntime still lists its Azure provider and takes every setting of it; then it computes on this
machine, without a word. With another import the same code asks the endpoint again.
"""

# %%
# What onnxruntime does with it today
# -----------------------------------
# There is no such host, and nobody notices.
import onnxruntime
from digits_pair import pair, rows

small, big = pair()
_, X, _, _ = rows()
feed = {"X": X.head(2).to_numpy()}

URI = "https://nobody.invalid"


def ask(ort, uri, settings=()):
    """Run the model as code for the provider did."""
    options = ort.SessionOptions()
    entries = {"endpoint_type": "triton", "uri": uri, "model_name": "digits", **dict(settings)}
    for name, value in entries.items():
        options.add_session_config_entry(f"azure.{name}", value)
    session = ort.InferenceSession(small, options, providers=["CPUExecutionProvider"])
    there = ort.RunOptions()
    there.add_run_config_entry("use_azure", "1")
    there.add_run_config_entry("azure.auth_key", "not-a-key")
    return session.run(["label"], feed, there)[0]


print(ask(onnxruntime, URI), "came from this machine")

# %%
# The other import
# ----------------
# What cannot be asked is an error.
import hybridmodel.azure_ep as ort
from hybridmodel import EndpointError

try:
    ask(ort, URI)
except EndpointError as error:
    print(type(error).__name__, "-", str(error)[:120])

# %%
# What can be asked answers.
from hybridmodel.serving import serve

with serve({"digits": big}) as server:
    print(ask(ort, server.endpoint("digits").uri), "came from the endpoint")

# %%
# ``hybridmodel doctor`` finds such code in files and notebooks, and says what to write.
