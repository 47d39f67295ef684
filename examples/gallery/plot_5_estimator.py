"""
In scikit-learn
===============

A hybrid model as an estimator: it goes into pipelines, searches and scorers, and its route is a
parameter like any other.
"""

# %%
# Two fitted classifiers
# ----------------------
# ``from_sklearn`` converts them, and hands them out only if they answer as the estimators do.
import pandas as pd
from digits_pair import rows
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from hybridmodel.routing import Cascade
from hybridmodel.serving import serve
from hybridmodel.sklearn import HybridClassifier, from_sklearn

X_train, X, y_train, y = rows()
small = LogisticRegression().fit(X_train, y_train)
big = CalibratedClassifierCV(SVC(C=10), ensemble=False).fit(X_train, y_train)

both = from_sklearn(small, X_train, big)
print("small:", both.small.agreement)
print("big:", both.big.agreement)

# %%
# An estimator
# ------------
server = serve({"digits": both.big.onnx})
model = from_sklearn(small, X_train, endpoint=server.endpoint("digits"))
estimator = HybridClassifier(model).fit(X, y)
estimator

# %%
print(f"local {estimator.score(X, y):.3f}")
estimator.set_params(use_azure=True)
print(f"remote {estimator.score(X, y):.3f}")

# %%
# The route as a parameter
# ------------------------
# A search over who answers. Nothing is trained; clones share the model and its connections.
modes = ["local", Cascade(0.2), Cascade(0.5), "azure"]
search = GridSearchCV(HybridClassifier(model), {"mode": modes}, cv=3, refit=False).fit(X, y)
pd.DataFrame(search.cv_results_)[["param_mode", "mean_test_score", "mean_score_time"]]

# %%
# Where they are wrong
# --------------------
import matplotlib.pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay

figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True)
for axis, mode in zip(axes, ("local", "azure"), strict=True):
    asked = HybridClassifier(model, mode=mode).fit(X, y)
    ConfusionMatrixDisplay.from_estimator(asked, X, y, ax=axis, colorbar=False)
    axis.set_title(mode)
figure.tight_layout()

# %%
# The end of the story closes what it opened.
model.close()
server.stop()
