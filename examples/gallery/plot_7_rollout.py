"""
A new version gets the traffic
==============================

Two versions of a model become the deployments of one endpoint, which is rehearsed on this machine.
``promote`` compares both over rows, shifts the traffic in steps, and would shift it back on errors.
"""

# %%
# Two versions of one model
# -------------------------
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from digits_pair import pair, rows

from hybridmodel import HybridOnnxModel, TritonEndpoint, save_model

logging.getLogger("hybridmodel").setLevel(logging.ERROR)
HOST = "digits-ep.westeurope.inference.ml.azure.com"
_, X, _, _ = rows()
folder = tempfile.TemporaryDirectory()
blue, green, export = (Path(folder.name, name) for name in ("blue", "green", "digits-ep"))
for path, onnx, version in zip((blue, green), pair(), ("1", "2"), strict=True):
    endpoint = TritonEndpoint(uri=f"https://{HOST}", model_name="digits", model_version=version)
    save_model(HybridOnnxModel(onnx, endpoint=endpoint, feature_names=list(X)), path)

# %%
# What Azure wants
# ----------------
# The command writes a Triton repository, ``endpoint.yml`` and a file for each deployment.
command = ["export", blue, export, "--azure", "digits-ep", "--green", green]
done = subprocess.run(
    [sys.executable, "-m", "hybridmodel", *command], capture_output=True, text=True, check=True
)
print(done.stdout)
sorted(str(path.relative_to(export)) for path in export.rglob("*") if path.is_file())

# %%
# A rehearsal, and the shift
# --------------------------
# The saved models name Azure's host; for this process it is the rehearsal. The two versions are
# different classifiers, so they may differ on a twentieth of the rows.
from hybridmodel.deploy import Bounds, Plan, promote, rehearse

before = dict(os.environ)
with rehearse(export, server="embedded") as rehearsal:
    os.environ.update(rehearsal.environment([HOST]))
    found = promote(
        export,
        X,
        model_uri=str(blue),
        bounds=Bounds(differing=0.05, slower=50),
        plan=Plan(mirror=0, hold_s=0.5),
        batch_rows=40,
        tell=print,
    )
os.environ.clear()
os.environ.update(before)
print(found.outcome)
print("\n".join(found.refusals))

# %%
# ``examples/rollout.py`` tells the longer story: clients that predict all the time, a crash of the
# new version in the middle of the shift, and no call lost.
folder.cleanup()
