"""Checks the files of a deployment: endpoints, deployments, Triton repositories."""

from __future__ import annotations

from hybridmodel.deploy.checking.checker import check
from hybridmodel.deploy.checking.findings import RULES, Finding, Rule

__all__ = ["RULES", "Finding", "Rule", "check"]
