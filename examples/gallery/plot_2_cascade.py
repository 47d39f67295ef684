"""
A cascade with a promise
========================

The small model answers; the big one gets the rows of which the small one is not sure. How sure is
sure enough follows from a promise, and not from somebody's taste.
"""

# %%
# A sample with labels
# --------------------
# Neither model was trained on these rows.
from digits_pair import pair, rows

from hybridmodel import HybridOnnxModel, calibrate
from hybridmodel.routing import Cascade
from hybridmodel.serving import serve

small, big = pair()
_, X, _, y = rows()
sample, later = slice(0, 800), slice(800, None)

server = serve({"digits": big})
model = HybridOnnxModel(
    small, endpoint=server.endpoint("digits"), feature_names=list(X), output="label"
)

# %%
# What can be promised
# --------------------
# At most 2 % of all rows are kept here at a loss: the big model right, the small one wrong. That
# holds with 90 % confidence, for rows like those of the sample.
found = calibrate(model, X[sample], y[sample], epsilon=0.02, progress=False)
print(found)

# %%
# What every other threshold would have done.
figure = found.plot(cost_remote=0.2)

# %%
# The rows that came later
# ------------------------
# The policy is saved with the model. Each row says who answered it, and why.
cascade = Cascade(calibration=found)
told = model.predict(X[later], mode=cascade, provenance=True)
told.head()

# %%
labels = y[later]
lost = (model.predict(X[later], use_azure=True) == labels) & (told["label"] != labels)
print(f"sent: {(told['route'] == 'azure').mean():.1%}, kept at a loss: {lost.mean():.2%}")

# %%
# The end of the story closes what it opened.
model.close()
server.stop()
