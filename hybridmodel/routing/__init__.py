"""Which route answers a call: the switch `use_azure`, and the policies for everything else."""

from __future__ import annotations

from hybridmodel.routing.budget import Budget
from hybridmodel.routing.policies import (
    Azure,
    AzureFirst,
    Cascade,
    Hedge,
    Local,
    LocalFirst,
    Shadow,
    Split,
)
from hybridmodel.routing.policy import Policy
from hybridmodel.switch import AZURE, LOCAL, USE_AZURE_ENV, parse_use_azure

__all__ = [
    "AZURE",
    "LOCAL",
    "USE_AZURE_ENV",
    "Azure",
    "AzureFirst",
    "Budget",
    "Cascade",
    "Hedge",
    "Local",
    "LocalFirst",
    "Policy",
    "Shadow",
    "Split",
    "parse_use_azure",
]
