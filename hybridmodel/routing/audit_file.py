"""The file that an audit keeps: when it is written, and what may be in it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Set
from pathlib import Path

from hybridmodel.cascade.audit_state import AuditState
from hybridmodel.cascade.stored_audit import StoredAudit, read_audit, write_audit
from hybridmodel.checks import check_seconds
from hybridmodel.exceptions import ConfigurationError

_log = logging.getLogger("hybridmodel")


class AuditFile:
    """A file with the state of one audit, which nobody else writes.

    Parameters
    ----------
    path : path
    writer : str
        Id of the audit.
    every_s : float
        `write_when_due` writes at most once in so many seconds.
    resume : bool
        Read the file, and go on from it.

    Raises
    ------
    ConfigurationError
        If `every_s` is no duration, or the file to be resumed is no audit's.
    OSError
        If it is there and cannot be read.
    """

    def __init__(
        self, path: str | Path, writer: str, every_s: float = 60.0, *, resume: bool = False
    ) -> None:
        self.path = Path(path).absolute()
        self._writer = writer
        self._every_s = check_seconds("every_s", every_s)
        self.known = frozenset({writer})  # Whose rows are in the state.
        self._written_s = 0.0
        self._given_up = False
        self._stored: AuditState | None = None
        if resume and (found := self._read()) is not None:
            self.known |= {found.writer}
            self._stored = found.state

    def resumed(self, fresh: AuditState) -> AuditState:
        """Return the state to go on with: that of the file, if it is of the same cascade.

        Only once: another cascade, and the same one afterwards, begin anew.
        """
        stored, self._stored = self._stored, None
        if stored is None:
            return fresh
        if not stored.is_like(fresh):
            _log.warning("%s is the audit of another cascade, and will be replaced", self.path)
            return fresh
        return stored

    def forget(self) -> None:
        """Do not go on from what the file held."""
        self._stored = None

    def write(self, state: AuditState, now_s: float) -> None:
        """Write the state.

        Raises
        ------
        ConfigurationError
            If something else is in the file: another audit's state, or no audit's at all.
        OSError
            If it cannot be written.
        """
        found = self._read()
        if found is not None and found.writer not in self.known:
            raise ConfigurationError(
                f"{self.path}: another audit writes this file, or wrote it before; give each "
                "process a file of its own, or go on from this one with audit.keep(path)"
            )
        write_audit(self.path, StoredAudit(writer=self._writer, state=state))
        self._written_s = now_s

    def write_when_due(self, state: AuditState, now_s: float) -> None:
        """Write the state if it is time; errors are logged."""
        if now_s - self._written_s >= self._every_s:
            self.try_write(state, now_s)

    def try_write(self, state: AuditState, now_s: float) -> None:
        """Write the state; log an error, and give up where another audit writes the file."""
        if self._given_up:
            return
        self._written_s = now_s
        try:
            self.write(state, now_s)
        except (ConfigurationError, OSError) as error:
            self._given_up = isinstance(error, ConfigurationError)
            _log.warning("the state of an audit is not written: %s", error)

    def _read(self) -> StoredAudit | None:
        try:
            return read_audit(self.path)
        except FileNotFoundError:
            return None


def added_up(state: AuditState, paths: Iterable[str | Path], own: Set[str]) -> AuditState:
    """Add the states of other processes; those of the writers `own` are in `state` already.

    Raises
    ------
    ConfigurationError
        If one is no audit's, or of another cascade, or comes twice.
    OSError
        If one cannot be read.
    """
    counted: set[str] = set()
    for path in paths:
        found = read_audit(path)
        if found.writer in own:
            continue
        if found.writer in counted:
            raise ConfigurationError(f"{path}: this audit was counted from another file already")
        counted.add(found.writer)
        try:
            state = state + found.state
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from error
    return state
