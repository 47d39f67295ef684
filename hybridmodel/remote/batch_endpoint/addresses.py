"""Addresses of storage: what a job is given, and where its results are.

They go into the records of jobs, which others read, so that none may hold a secret.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hybridmodel.checks import printable, shown
from hybridmodel.exceptions import ConfigurationError

FILE = "file"
_CLOUD = ("https", "azureml", "abfs", "abfss", "wasbs", "adl")
_OF_RESULTS = ("azureml", "abfs", "abfss", "wasbs")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,15}")
_DATASTORE = re.compile(r"azureml:(?:/{1,2}.*)?/?datastores/(?P<name>[\w.-]+)/paths/(?P<path>.+)")
_BLOB = re.compile(
    r"(?:https|wasbs)://(?:(?P<first>[a-z0-9$-]+)@)?(?P<account>[a-z0-9]{3,24})"
    r"[.]blob[.]core[.]windows[.]net/(?P<path>.*)"
)
_LONGEST = 2000


class Datastore(NamedTuple):
    """A place in a datastore of a workspace."""

    name: str
    path: str


def checked_address(what: str, given: Any, *, is_near: bool) -> str:
    """Return the address of a job's input or output; a local path becomes a ``file://`` one.

    Only an endpoint on this machine (`is_near`) can read what is here. Raises `ConfigurationError`
    for anything else, and does not show what might be a secret.
    """
    if not isinstance(given, (str, os.PathLike)) or not os.fspath(given):
        raise ConfigurationError(f"{what} is an address or a path, not {shown(given)}")
    text = os.fspath(given)
    if "://" not in text and not text.startswith("azureml:"):
        text = Path(text).absolute().as_uri()
    scheme = text.partition(":")[0].lower()
    if scheme == FILE:
        _check_near(what, text, is_near=is_near)
    elif scheme not in _CLOUD:
        named = f"an address of {scheme}:" if _SCHEME.fullmatch(scheme) else "no address"
        raise ConfigurationError(
            f"{what} is {named}; expected is one of {', '.join(_CLOUD)} such as "
            "azureml://datastores/NAME/paths/FOLDER/, or a path for an endpoint on this machine"
        )
    _check_plain(what, text)
    return text


def _check_near(what: str, text: str, *, is_near: bool) -> None:
    if not is_near:
        raise ConfigurationError(
            f"{what} is a file or folder of this machine, which the endpoint cannot read; copy it "
            "to the workspace's storage, and give its azureml:// address"
        )
    if what.startswith("input") and not path_of(text).exists():
        raise ConfigurationError(f"{what}: there is no {printable(str(path_of(text)))}")


def _check_plain(what: str, text: str) -> None:
    """Refuse what would put a secret into the records of a job, or would confuse its readers."""
    before, _, _ = text.partition("://")[2].partition("/")
    if "?" in text or "#" in text or ":" in before.rpartition("@")[0]:
        raise ConfigurationError(
            f"{what} has a query, a fragment or a password, which everyone could read who sees "
            "the job; let the endpoint read the storage by its identity or a datastore"
        )
    if not text.isprintable() or " " in text or len(text) > _LONGEST or "::" in text:
        raise ConfigurationError(
            f"{what} is an address of at most {_LONGEST} characters, without blanks and '::'"
        )


def path_of(address: str) -> Path:
    """Return the path of a ``file://`` address."""
    from urllib.parse import unquote, urlsplit
    from urllib.request import url2pathname

    return Path(url2pathname(unquote(urlsplit(address).path)))


def is_file(address: str) -> bool:
    """Tell whether an address is that of a file: its last part has a suffix, or it is there."""
    if address.startswith(f"{FILE}:") and path_of(address).exists():
        return path_of(address).is_file()
    return not address.endswith("/") and bool(PurePosixPath(address).suffix)


def datastore_of(address: str) -> Datastore | None:
    """Return the datastore of an ``azureml://`` address, and the path in it."""
    found = _DATASTORE.fullmatch(address)
    return None if found is None else Datastore(found["name"], found["path"])


def for_reading(address: str) -> str:
    """Return an address as fsspec takes it: blobs become ``abfs://``."""
    found = _BLOB.fullmatch(address)
    if found is None:
        return address
    path = found["path"] if found["first"] is None else f"{found['first']}/{found['path']}"
    container, _, rest = path.partition("/")
    return f"abfs://{container}@{found['account']}.dfs.core.windows.net/{rest}"


def checked_told(address: Any, *, is_near: bool) -> str:
    """Return where an endpoint says that results are, if reading there can do no harm.

    Raises `ConfigurationError` for files of this machine, unless the endpoint is on it, and for
    other hosts than Azure's storage: what a server says must not make anyone read elsewhere.
    """
    text = for_reading(address) if isinstance(address, str) else ""
    scheme = text.partition(":")[0]
    if scheme in _OF_RESULTS or (scheme == FILE and is_near):
        _check_plain("the address of the results", text)
        return text
    raise ConfigurationError(
        f"the endpoint says that the results are at {printable(shown(address, 200))}, which is not "
        "read unasked; give results() the address if it is right"
    )
