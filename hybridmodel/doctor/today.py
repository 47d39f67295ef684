"""What each finding means today, by what was seen when the old names were tried."""

from __future__ import annotations

from hybridmodel.doctor.dead_names import PREFIXES, PROVIDERS
from hybridmodel.doctor.findings import Finding, shown
from hybridmodel.doctor.probe import Probe, Trial


def today(finding: Finding, probe: Probe) -> str:
    """Say what happens with a finding, in the onnxruntime that was tried.

    Parameters
    ----------
    finding : Finding
        Of any kind.
    probe : Probe
        What was seen.
    """
    if finding.kind == "auth-key":
        return "whoever reads the file has the key"
    if probe.failure is not None:
        return f"not known here: {probe.failure}"
    name = f"onnxruntime {probe.version}"
    if finding.kind in ("node", "builder"):
        return _of_operator(finding.name, name, probe)
    if finding.kind == "provider":
        return _of_provider(finding.name, name, probe)
    prefix = next((p for p in PREFIXES if p in finding.name.lower()), PREFIXES[0])
    return _of_entries(probe.trials[prefix], prefix, name)


def _of_entries(trial: Trial, prefix: str, name: str) -> str:
    if trial.is_unknown:
        return f"{name} is too old to know such entries: {_line(trial.error or '')}"
    if trial.error is not None:
        return (
            f"{name} may still have the provider: with use_{prefix}=1 and an address where nobody "
            f"listens it did not compute locally, but raised {_line(trial.error)}"
        )
    aside = f"and says: {_line(trial.said)}" if trial.said else "without a word"
    return f"{name} takes these entries and computes locally, {aside} (tried with use_{prefix}=1)"


def _of_provider(provider: str, name: str, probe: Probe) -> str:
    known = provider if provider in PROVIDERS else PROVIDERS[1]
    trial = probe.trials[known]
    listed = "lists" if provider in probe.providers else "does not list"
    if trial.error is not None:
        return f"{name} {listed} it, and fails: {_line(trial.error)}"
    aside = "after a warning" if trial.said else "without a word"
    return f"{name} {listed} it, and computes locally, {aside}"


def _of_operator(operator: str, name: str, probe: Probe) -> str:
    alone, extended = probe.trials[operator], probe.trials[f"{operator} with extensions"]
    if probe.extensions is None:
        extensions = "onnxruntime-extensions is not installed, and has no such operator since 0.15"
    else:
        does = "loads it" if extended.error is None else f"does not: {_line(extended.error)}"
        extensions = f"with onnxruntime-extensions {probe.extensions} it {does}"
    if alone.error is None:
        return f"{name} loads a graph with it"
    return f"{name} does not load a graph with it: {_line(alone.error)}; {extensions}"


def _line(text: str) -> str:
    return shown(" ".join(text.split()))
