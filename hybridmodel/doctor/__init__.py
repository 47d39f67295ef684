"""Finds code and graphs that rely on ONNX Runtime's dead Azure (first: Cloud) execution provider.

It parses files and never runs them. `hybridmodel doctor` is the command for `examine`.
"""

from __future__ import annotations

from hybridmodel.doctor.examination import Report, examine
from hybridmodel.doctor.probe import Probe
from hybridmodel.doctor.records import Finding, Skipped

__all__ = ["Finding", "Probe", "Report", "Skipped", "examine"]
