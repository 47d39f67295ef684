"""The names of other projects that the documentation links to.

The inventories are written from this table, so that a build needs no network and is always the
same; Sphinx would fetch 3 MB for forty links.
"""

from __future__ import annotations

import zlib
from pathlib import Path

_PYTHON = "https://docs.python.org/3/"
_NUMPY = "https://numpy.org/doc/stable/"
_PANDAS = "https://pandas.pydata.org/docs/"
_SKLEARN = "https://scikit-learn.org/stable/"
_MLFLOW = "https://mlflow.org/docs/latest/api_reference/"

_CITED = {
    _PYTHON: {
        "concurrent.futures.Future": "library/concurrent.futures.html#$",
        "collections.abc.Callable": "library/collections.abc.html#$",
        "collections.abc.Iterable": "library/collections.abc.html#$",
        "collections.abc.Iterator": "library/collections.abc.html#$",
        "collections.abc.Mapping": "library/collections.abc.html#$",
        "collections.abc.Sequence": "library/collections.abc.html#$",
        "pathlib.Path": "library/pathlib.html#$",
        "TypeError": "library/exceptions.html#$",
        "ValueError": "library/exceptions.html#$",
    },
    _NUMPY: {
        "numpy.ndarray": "reference/generated/numpy.ndarray.html#$",
        "numpy.dtype": "reference/generated/numpy.dtype.html#$",
    },
    _PANDAS: {
        "pandas.DataFrame": "reference/api/pandas.DataFrame.html#$",
        "pandas.Series": "reference/api/pandas.Series.html#$",
    },
    _SKLEARN: {
        "sklearn.base.BaseEstimator": "modules/generated/sklearn.base.BaseEstimator.html#$",
        "sklearn.frozen.FrozenEstimator": "modules/generated/sklearn.frozen.FrozenEstimator.html#$",
    },
    _MLFLOW: {
        "mlflow.pyfunc.PyFuncModel": "python_api/mlflow.pyfunc.html#$",
    },
}


def mapping(folder: Path) -> dict[str, tuple[str, str]]:
    """Write the inventories under build/ beside `folder`; return what intersphinx is to read."""
    kept = folder.parent / "build" / "inventories"
    kept.mkdir(parents=True, exist_ok=True)
    found = {}
    for address, names in _CITED.items():
        name = address.removeprefix("https://").split("/")[0].split(".")[-2]
        path = kept / f"{name}.inv"
        path.write_bytes(_inventory(name, names))
        found[name] = (address, str(path))
    return found


def _inventory(project: str, names: dict[str, str]) -> bytes:
    """Return an inventory of version 2, whose table is compressed."""
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    rows = (f"{name} py:class 1 {place} -\n" for name, place in names.items())
    return head.encode() + zlib.compress("".join(rows).encode())
