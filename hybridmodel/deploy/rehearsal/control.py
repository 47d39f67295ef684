"""The rehearsal of a folder as another process sees and changes it: over a port of this machine.

Whoever starts a rehearsal writes its address and a token into a file that only the same user can
read; the command line, and whatever else runs on this machine for that user, finds it by the
folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hybridmodel.deploy.rehearsal.keys import Token
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.process.file_lock import is_there, take
from hybridmodel.serving.environments import cache_folder

_TIMEOUT_S = 150.0
"""Longer than the start of a Triton."""

_MOST_BYTES = 1 << 16

_ADDRESS = "control.json"


@dataclass(frozen=True, slots=True)
class Address:
    """Port of a rehearsal's controls on 127.0.0.1, and the token that they want."""

    port: int
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        """Base of the controls' addresses."""
        return f"http://127.0.0.1:{self.port}"


def page_link(url: str, fragment: str) -> str:
    """Return the address of a page with the token that lets its reader in."""
    return f"{url}/#{fragment}"


def files_of(folder: Path) -> Path:
    """Return where the files of a folder's rehearsal are while it runs."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]
    return cache_folder() / "rehearsals" / name


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Make the place for a rehearsal's files, for one rehearsal of a folder at a time.

    The files are removed at the end; those of a rehearsal that was killed, by the next one.
    Raises `ConfigurationError` if the folder is rehearsed already.
    """
    files = files_of(folder)
    files.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(files.with_suffix(".lock"), folder):
        files.mkdir(exist_ok=True, mode=0o700)
        try:
            yield files
        finally:
            shutil.rmtree(files, ignore_errors=True)


def write_address(files: Path, address: Address) -> None:
    """Write where a rehearsal is controlled, for the same user only."""
    file = files / _ADDRESS
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        json.dump({"port": address.port, "token": address.token}, opened)


def read_address(folder: Path) -> Address:
    """Read where a folder's rehearsal is controlled; `ConfigurationError` if none runs."""
    file = files_of(folder) / _ADDRESS
    try:
        with file.open("rb") as opened:
            _check_owner(os.fstat(opened.fileno()), file)
            text = opened.read(_MOST_BYTES)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{folder} is not rehearsed at the moment; start: hybridmodel rehearse {folder}"
        ) from None
    try:
        said = json.loads(text)
        return Address(int(said["port"]), str(said["token"]))
    except (ValueError, TypeError, KeyError):
        raise ConfigurationError(f"{file}: is damaged; end the rehearsal and remove it") from None


def is_rehearsed(folder: Path) -> bool:
    """Tell whether a folder is rehearsed, or was by one that was killed."""
    return (files_of(folder) / _ADDRESS).is_file()


class Control:
    """Watches and changes a rehearsal that runs in any process of this user.

    It has the methods of `hybridmodel.deploy.rehearsal.running.Rehearsal` that do so; `snapshot`
    returns the dict of `Snapshot.as_json`.

    Parameters
    ----------
    folder : Path or str
        The exported folder that is rehearsed.

    Raises
    ------
    ConfigurationError
        If the folder is not rehearsed at the moment.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        self._address = read_address(self._folder)

    @property
    def authority(self) -> Path:
        """File with the authority that vouches for the address, in PEM."""
        return files_of(self._folder) / "ca.pem"

    def credential(self) -> str | Token:
        """Return the key, or a new token; to be given as ``credential=control.credential``."""
        if self.snapshot()["auth_mode"] == "key":
            return str(self._ask("POST", "/keys")["primaryKey"])
        said = self._ask("POST", "/token")
        return Token(str(said["accessToken"]), int(said["expiryTimeUtc"]))

    def snapshot(self) -> dict[str, Any]:
        """Return what can be seen of it now."""
        return self._ask("GET", "/snapshot")

    def page(self) -> str:
        """Return a link to the page that shows it, which works once."""
        return page_link(self._address.url, str(self._ask("POST", "/page")["fragment"]))

    def set_traffic(self, shares: Mapping[str, int]) -> dict[str, Any]:
        """Share the requests anew, in percent; return the snapshot after it."""
        return self._ask("POST", "/traffic", shares)

    def set_mirror(self, mirror: Mapping[str, int]) -> dict[str, Any]:
        """Copy requests to one deployment, in percent; return the snapshot after it."""
        return self._ask("POST", "/mirror", mirror)

    def kill(self, name: str) -> dict[str, Any]:
        """End a deployment's server at once; return the snapshot after it."""
        return self._ask("POST", "/kill", {"deployment": name})

    def hang(self, name: str) -> dict[str, Any]:
        """Let a deployment answer nothing; return the snapshot after it."""
        return self._ask("POST", "/hang", {"deployment": name})

    def slow(self, name: str, delay_s: float) -> dict[str, Any]:
        """Let a deployment take longer, in seconds; return the snapshot after it."""
        return self._ask("POST", "/slow", {"deployment": name, "delay_s": delay_s})

    def revive(self, name: str) -> dict[str, Any]:
        """Let a deployment work again; return the snapshot after it."""
        return self._ask("POST", "/revive", {"deployment": name})

    def scale(self, name: str, instances: int) -> dict[str, Any]:
        """Ask for another number of instances; return the snapshot after it."""
        return self._ask("POST", "/scale", {"deployment": name, "instances": instances})

    def set_default(self, name: str) -> dict[str, Any]:
        """Let jobs that name no deployment run on another one; return the snapshot after it."""
        return self._ask("POST", "/default", {"deployment": name})

    def evict(self, job: str) -> dict[str, Any]:
        """Take a job's machine away; return the snapshot after it."""
        return self._ask("POST", "/evict", {"job": job})

    def cancel(self, job: str) -> dict[str, Any]:
        """End a job; return the snapshot after it."""
        return self._ask("POST", "/cancel", {"job": job})

    def _ask(self, method: str, path: str, said: Mapping[str, Any] | None = None) -> dict[str, Any]:
        import urllib3

        try:
            with urllib3.PoolManager(retries=False) as pool:
                answer = pool.request(
                    method,
                    self._address.url + path,
                    body=None if said is None else json.dumps(said),
                    headers={"Authorization": f"Bearer {self._address.token}"},
                    timeout=_TIMEOUT_S,
                )
        except urllib3.exceptions.HTTPError as error:
            raise ConfigurationError(
                f"the rehearsal of {self._folder} does not answer, it may have been killed: {error}"
            ) from error
        if answer.status != 200:
            raise ConfigurationError(_reason(answer.data) or f"the rehearsal said {answer.status}")
        return cast("dict[str, Any]", answer.json())


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])[:2000]
    except (ValueError, TypeError, KeyError):
        return ""


def _check_owner(found: os.stat_result, file: Path) -> None:
    if os.name == "nt":
        return
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(
            f"{file}: others may read or write this file, so nothing is sent by it; remove it"
        )


@contextmanager
def _locked(path: Path, folder: Path) -> Iterator[None]:
    """Hold a lock, which the system releases with the process, and remove its file at the end."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            if not take(descriptor):
                raise ConfigurationError(
                    f"{folder} is rehearsed already, by another process; `hybridmodel rehearse "
                    f"status {folder}` shows it"
                )
            if not is_there(descriptor, path):
                continue  # Whoever held it has removed it since.
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps what is open.
                    path.unlink()
            return
        finally:
            os.close(descriptor)
