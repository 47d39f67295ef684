"""Reads estimators from files of skops, which name every type in them; never from pickles."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.checks import needed_for, printable
from hybridmodel.data.names import listed
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.sklearn.converting.boosters import EXTRA
from hybridmodel.sklearn.converting.steps import fitted_parts

MOST_BYTES = 1 << 31
"""A file that unpacks to more is refused."""

MOST_DESCRIBED_BYTES = 1 << 25
"""So long may the description in a file be: Python's objects take twenty times as much memory."""

_DESCRIPTION = "schema.json"
_LEAF = -1
_LONGEST = 300
_COMPRESSED = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")  # As joblib may write one.


def read_skops(path: Path, trusted: Collection[str] = ()) -> Any:
    """Return the object in a file that ``skops.io.dump`` wrote.

    Nothing of the file is run before all of its types are known to be trusted.

    Parameters
    ----------
    path : Path
    trusted : collection of str
        Names of types that the caller trusts besides those that skops does.

    Raises
    ------
    ConfigurationError
        If it has other types, which are named; is no file of skops, or too large.
    MissingDependency
        If skops is not installed.
    """
    with needed_for("a file of skops", EXTRA):
        from skops import io
    _check_size(path)
    try:
        found = io.get_untrusted_types(file=path)
    except Exception as error:
        raise _unreadable(path, error) from error
    others = [name for name in found if name not in set(trusted)]
    if others:
        raise ConfigurationError(
            f"{path}: has types that skops does not trust: "
            f"{printable(listed(others), _LONGEST)}; reading it may run their code. If you know "
            f"where it comes from, trust them by name: --trust-type {printable(others[0])}"
        )
    try:
        read = io.load(path, trusted=found)
    except Exception as error:
        raise _unreadable(path, error) from error
    if not all(_goes_down(*nodes) for nodes in _trees(read)):
        raise ConfigurationError(
            f"{path}: has a tree whose nodes lead back or to none, which no estimator has learned; "
            "get the file again from where the estimator was fitted"
        )
    return read


def _trees(read: Any) -> Iterator[tuple[Array, Array, Array]]:
    """Yield the left and right children of trees, and which nodes are leaves."""
    for part in fitted_parts(read):
        tree, nodes = getattr(part, "tree_", None), getattr(part, "nodes", None)
        if tree is not None and hasattr(tree, "children_left"):
            yield tree.children_left, tree.children_right, tree.children_left == _LEAF
        if isinstance(nodes, np.ndarray) and {"left", "right", "is_leaf"} <= set(
            nodes.dtype.names or ()
        ):
            yield nodes["left"], nodes["right"], nodes["is_leaf"] != 0


def _goes_down(left: Array, right: Array, is_leaf: Array) -> bool:
    """Tell whether children come after their parents; compiled code follows them unchecked."""
    inner = np.flatnonzero(~is_leaf)
    children = np.stack([left[inner], right[inner]]).astype(np.int64)
    return bool(((children > inner) & (children < len(left))).all())


def _check_size(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(2)
    if not zipfile.is_zipfile(path):
        is_pickle = begin[:1] == b"\x80" or begin in _COMPRESSED
        what = "a pickle, which runs code when it is read" if is_pickle else "no file of skops"
        raise ConfigurationError(
            f"{path}: is {what}; where the estimator is, write it with skops.io.dump(estimator, "
            "'model.skops')"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            items = archive.infolist()
    except zipfile.BadZipFile as error:
        raise _unreadable(path, error) from error
    described = [item for item in items if item.filename == _DESCRIPTION]
    _check_bytes(path, "", items, MOST_BYTES)
    _check_bytes(path, f"{_DESCRIPTION} ", described, MOST_DESCRIBED_BYTES)


def _check_bytes(path: Path, what: str, items: Collection[zipfile.ZipInfo], most: int) -> None:
    size = sum(item.file_size for item in items)
    if size > most:
        raise ConfigurationError(
            f"{path}: {what}unpacks to {size} bytes, and at most {most} are read; convert it in "
            "Python with hybridmodel.sklearn.from_sklearn"
        )


def _unreadable(path: Path, error: Exception) -> ConfigurationError:
    said = printable(" ".join(str(error).split()), _LONGEST)
    return ConfigurationError(
        f"{path}: skops cannot read it: {type(error).__name__}: {said}; write it again with the "
        "releases of skops and scikit-learn that are installed here"
    )
