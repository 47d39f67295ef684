"""Tries what the installed onnxruntime does with each finding."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hybridmodel.checks import printable
from hybridmodel.doctor.dead_names import PREFIXES, PROVIDERS
from hybridmodel.doctor.records import Finding

_COMMAND = (sys.executable, "-W", "default")
# Unlike a script, this can import only from the current folder.
_START = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
_PROGRAM = Path(__file__).resolve().with_name("probe_program.py")
_NO_EXTENSIONS = "; onnxruntime-extensions is not installed, and has no such operator since 0.15"


@dataclass(frozen=True, slots=True)
class Trial:
    """The error of a trial, if any, and its output to stdout and stderr."""

    error: str | None
    said: str


@dataclass(frozen=True, slots=True)
class Probe:
    """An installation of onnxruntime, and what it does with the old names.

    Attributes
    ----------
    failure : str or None
        Why the trials failed; None if they did not.
    version : str or None
        Version of onnxruntime.
    providers : tuple of str
        Execution providers that it lists.
    extensions : str or None
        Version of onnxruntime-extensions; None if it is not installed.
    trials : mapping of str to Trial
        One for each prefix of entries, each provider's name, and each operator.
    """

    failure: str | None = None
    version: str | None = None
    providers: tuple[str, ...] = ()
    extensions: str | None = None
    trials: Mapping[str, Trial] = field(default_factory=dict)


def probe(command: Sequence[str] = _COMMAND, deadline_s: float = 60.0) -> Probe:
    """Try the old names in a child process, which imports nothing from the current folder."""
    try:
        # An empty folder, so that code beside the examined files is not imported.
        with tempfile.TemporaryDirectory(prefix="hybridmodel-doctor-") as empty:
            done = subprocess.run(  # noqa: S603 - the command is ours
                [*command, "-c", _START, str(_PROGRAM)],
                cwd=empty,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=deadline_s,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return Probe(f"trying onnxruntime did not end within {deadline_s:g} s")
    except OSError as error:
        return Probe(f"trying onnxruntime did not start: {error.strerror}")
    return _read(done)


def today(finding: Finding, probe: Probe) -> str:
    """Say what the onnxruntime that was tried does with a finding."""
    if finding.kind == "auth-key":
        return "whoever reads the file has the key"
    if probe.failure is not None:
        return f"not known: {probe.failure}"
    if finding.kind in ("node", "builder"):
        said = _of_operator(finding.name, probe)
    elif finding.kind == "provider":
        said = _of_provider(finding.name, probe)
    else:
        prefix = next((p for p in PREFIXES if p in finding.name.lower()), PREFIXES[0])
        said = _of_entries(probe.trials[prefix], prefix)
    return f"onnxruntime {probe.version} {said}"


def _read(done: subprocess.CompletedProcess[bytes]) -> Probe:
    lines = done.stdout.decode(errors="replace").splitlines()
    try:
        told = json.loads(lines[-1] if lines else "")
        trials = {name: Trial(**trial) for name, trial in told["trials"].items()}
        return Probe(None, told["version"], tuple(told["providers"]), told["extensions"], trials)
    except (ValueError, TypeError, KeyError):
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        ended = f"it ended with status {done.returncode}"
        return Probe(f"trying onnxruntime failed: {printable(''.join(last)) or ended}")


def _of_entries(trial: Trial, prefix: str) -> str:
    if trial.error is not None:
        return (
            f"may still have the provider: with use_{prefix}=1 and an address without a server it "
            f"did not compute locally, but raised {_line(trial.error)}"
        )
    aside = f"and says: {_line(trial.said)}" if trial.said else "without a warning"
    return f"takes these entries and computes locally, {aside} (tried with use_{prefix}=1)"


def _of_provider(provider: str, probe: Probe) -> str:
    trial = probe.trials[provider if provider in PROVIDERS else PROVIDERS[1]]
    listed = "lists" if provider in probe.providers else "does not list"
    if trial.error is not None:
        return f"{listed} it, and fails: {_line(trial.error)}"
    aside = "after a warning" if trial.said else "without a warning"
    return f"{listed} it, and computes locally, {aside}"


def _of_operator(operator: str, probe: Probe) -> str:
    trial, version = probe.trials[operator], probe.extensions
    start = "" if version is None else f"with onnxruntime-extensions {version} "
    end = _NO_EXTENSIONS if version is None else ""
    if trial.error is None:
        return f"{start}loads a graph with it"
    return f"{start}does not load a graph with it: {_line(trial.error)}{end}"


def _line(text: str) -> str:
    return printable(" ".join(text.split()))
