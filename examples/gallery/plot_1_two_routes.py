"""
Two routes, one model
=====================

A small classifier runs here, a big one behind an endpoint, and one MLflow model holds both.
"""

# %%
# Two models, one endpoint
# ------------------------
# Both are ONNX files with the same input. ``serve`` is an endpoint in this process that speaks the
# protocol of Triton; an endpoint of Azure Machine Learning takes its place without another change.
from digits_pair import pair, rows

from hybridmodel import HybridOnnxModel
from hybridmodel.serving import serve

small, big = pair()
_, X, _, y = rows()

server = serve({"digits": big})
model = HybridOnnxModel(
    small, endpoint=server.endpoint("digits"), feature_names=list(X), output="label"
)
model

# %%
# The switch
# ----------
# The container, the names and the index are the same from either side.
local, remote = model.predict(X), model.predict(X, use_azure=True)
print(f"right: local {(local == y).mean():.3f}, remote {(remote == y).mean():.3f}")
print(f"they differ on {(local != remote).sum()} of {len(X)} rows")
remote.head(3)

# %%
# ``infer`` gives all outputs, and says who answered.
answer = model.infer(X.head(3), use_azure=True)
print(answer.route, answer.model_version, answer.outputs)

# %%
# Where the two differ
# --------------------
# The first eight pictures that the two models read differently.
import matplotlib.pyplot as plt

pictures = X[local != remote].head(8)
figure, axes = plt.subplots(1, len(pictures), figsize=(9, 1.8))
for axis, (index, pixels) in zip(axes, pictures.iterrows(), strict=True):
    axis.imshow(pixels.to_numpy().reshape(8, 8), cmap="gray_r")
    axis.set_title(f"{local[index]} / {remote[index]}")
    axis.set_axis_off()
figure.suptitle("local / remote")
figure.tight_layout()

# %%
# Logged, registered, loaded
# --------------------------
# Any MLflow store does; this one is a file in a temporary folder.
import logging
import tempfile
from pathlib import Path

import mlflow

from hybridmodel import log_model

for library in ("mlflow", "hybridmodel"):  # Both tell of each step that they take.
    logging.getLogger(library).setLevel(logging.ERROR)
folder = tempfile.TemporaryDirectory()
mlflow.set_tracking_uri(f"sqlite:///{Path(folder.name, 'mlflow.db')}")
mlflow.create_experiment("gallery", artifact_location=Path(folder.name, "runs").as_uri())
mlflow.set_experiment("gallery")

log_model(model, name="digits", registered_model_name="digits", input_example=X.head(2))
loaded = mlflow.pyfunc.load_model("models:/digits/1")
print((loaded.predict(X, params={"use_azure": True}) == remote).all())

# %%
# The end of the story closes what it opened.
model.close()
server.stop()
folder.cleanup()
