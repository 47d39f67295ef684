"""
Files of any size
=================

A job reads files that need not fit into memory, keeps their order, and writes each row exactly
once, even where it was killed in between.
"""

# %%
# Rows in files
# -------------
import logging
import tempfile
from pathlib import Path

import pandas as pd
from digits_pair import pair, rows

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.batch import predict_files
from hybridmodel.serving import serve

logging.getLogger("hybridmodel").setLevel(logging.ERROR)
small, big = pair()
_, X, _, y = rows()
folder = tempfile.TemporaryDirectory()
inputs, saved = Path(folder.name, "in"), Path(folder.name, "model")
inputs.mkdir()
for number in range(20):
    X.assign(row=range(len(X)), day=number).to_parquet(inputs / f"day-{number:02d}.parquet")

# %%
# Local, and with a budget
# ------------------------
# The endpoint may answer 5 % of the rows of the whole job: those of which the local model is
# least sure, wherever they stand.
from hybridmodel.routing import Budget

server = serve({"digits": big})
with HybridOnnxModel(
    small, endpoint=server.endpoint("digits"), feature_names=list(X), output="label"
) as model:
    save_model(model, saved)

done = predict_files(
    str(saved),
    [str(inputs)],
    str(Path(folder.name, "out.parquet")),
    keep=["day", "row"],
    mode=Budget(share=0.05),
)
done

# %%
# The order is that of the inputs, so that nothing has to be joined.
out = pd.read_parquet(Path(folder.name, "out.parquet"))
out.head()

# %%
right = (out["label"].to_numpy() == pd.concat([y] * 20).to_numpy()).mean()
print(f"{len(out):,} rows, {right:.3f} of them right; remote: {done.remote / done.rows:.1%}")

# %%
# The end of the story closes what it opened.
server.stop()
folder.cleanup()
