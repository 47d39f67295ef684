"""What a submission that failed says about its job. No I/O.

The rows are those of `hybridmodel.remote.faults`; the table in docs/batch_endpoints.md is this one,
and a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from hybridmodel.exceptions import EndpointError
from hybridmodel.remote import faults
from hybridmodel.remote.faults import fault_of


class Outcome(Enum):
    """What may have become of a job."""

    REFUSED = "there is none, and the same submission would be refused again"
    NEW_KEY = "there is none; it is submitted once more with a new token"
    NOT_MADE = "there is none; it is submitted again after a pause"
    UNKNOWN = "there may be one; it is looked for by its name before anything else"


_OUTCOMES: Mapping[str, Outcome] = {
    "3xx": Outcome.REFUSED,
    "401": Outcome.NEW_KEY,
    "403": Outcome.REFUSED,
    "404": Outcome.REFUSED,
    "413": Outcome.REFUSED,
    "422": Outcome.REFUSED,
    "429": Outcome.NOT_MADE,
    "4xx": Outcome.REFUSED,
    "501": Outcome.REFUSED,
    faults.NO_CONNECTION: Outcome.NOT_MADE,
    faults.CERTIFICATE: Outcome.REFUSED,
    faults.NOT_SECURE: Outcome.REFUSED,
    faults.NO_PERMIT: Outcome.NOT_MADE,
}
"""All other failures may come after the job was made."""

_TAKEN = 409
"""A job of that name exists: perhaps the one whose answer was lost."""

_HINTS: Mapping[str, str] = {
    "403": "the caller may not submit jobs: the role AzureML Data Scientist, or another with "
    "batchEndpoints/jobs/write, or a private network",
    "404": "no batch endpoint there, no default deployment, or no deployment of that name",
}


def outcome_of(error: EndpointError) -> Outcome:
    """Return what a failed submission says about the job."""
    if error.status == _TAKEN:
        return Outcome.UNKNOWN
    return _OUTCOMES.get(fault_of(error).name, Outcome.UNKNOWN)


def hinted(error: EndpointError) -> EndpointError:
    """Say in an error what helps where jobs are submitted, which may differ from scoring."""
    error.hint = _HINTS.get(str(error.status), error.hint)
    return error


def table() -> str:
    """Return the outcomes as a table in Markdown, for the documents."""
    lines = ["| what came instead of the job | so |", "|---|---|"]
    lines += [
        f"| {row.name} | {_OUTCOMES.get(row.name, Outcome.UNKNOWN).value} |"
        for row in faults.FAULTS
        if row.name != faults.CIRCUIT_OPEN
    ]
    lines.append(f"| {_TAKEN} | {Outcome.UNKNOWN.value} |")
    return "\n".join(lines)
