"""What the gateway of a rehearsal does as Azure's does, and what each of these things rests on.

`BEHAVIOURS` is the one table of them: ``hybridmodel rehearse --list`` and docs/rehearsal.md print
it, and each can be switched off.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hybridmodel.exceptions import ConfigurationError


class Behaviour(NamedTuple):
    """One thing that the gateway does; `ground` is the document, or the report that it rests on."""

    name: str
    is_documented: bool
    what: str
    ground: str


_TROUBLE = "how-to-troubleshoot-online-endpoints"
_ROLLOUT = "how-to-safely-rollout-online-endpoints"
_QUOTAS = "how-to-manage-quotas"
_AUTH = "how-to-authenticate-online-endpoint"

BEHAVIOURS = (
    Behaviour("auth-401", True, "a request without a valid key or token gets 401", _AUTH),
    Behaviour("token-expiry", True, "tokens of aml_token and aad_token expire", _AUTH),
    Behaviour(
        "pin",
        True,
        "the header azureml-model-deployment picks a deployment, whatever its traffic, and such "
        "a request is not mirrored",
        _ROLLOUT,
    ),
    Behaviour("traffic", True, "percentages share the requests among deployments", _ROLLOUT),
    Behaviour(
        "no-weight-404", True, "404 where no deployment has a share of the traffic", _TROUBLE
    ),
    Behaviour("wrong-pin-404", False, "404 for a pin to a deployment that is not there", "nothing"),
    Behaviour(
        "mirror",
        True,
        "up to 50 % of the requests are copied to one deployment, and its answers are dropped",
        _ROLLOUT,
    ),
    Behaviour(
        "model-error-424",
        True,
        "424 for any status of the model but 200, which stands in headers",
        _TROUBLE,
    ),
    Behaviour(
        "model-error-body",
        False,
        "the body of a 424 is what the model said; switched off, it is empty",
        "the documents do not say",
    ),
    Behaviour(
        "dead-503",
        False,
        "a deployment whose server cannot be reached counts as a model that answered 503",
        "the documents do not say",
    ),
    Behaviour("timeout-408", True, "408 after request_timeout_ms", _TROUBLE),
    Behaviour(
        "work-goes-on",
        False,
        "after a 408, or when the client has gone, the work goes on and keeps its place",
        "reported: Azure/azure-sdk-for-python#36296",
    ),
    Behaviour(
        "pending-429",
        True,
        "429 beyond 2 x max_concurrent_requests_per_instance x instances requests of a deployment",
        _QUOTAS,
    ),
    Behaviour(
        "queue",
        False,
        "half of these reach the model at a time, the others wait before it",
        "follows from the factor 2; no document says where they wait",
    ),
    Behaviour("rate-429", True, "429 beyond 500 requests a second", _QUOTAS),
    Behaviour(
        "connections",
        False,
        "connections beyond 500 at a time, or beyond 500 new ones a second, are closed at once",
        f"{_QUOTAS} has the numbers, not what happens",
    ),
    Behaviour(
        "bandwidth",
        True,
        "beyond 5 MB/s requests and answers are delayed, and trailers say by how much",
        _QUOTAS,
    ),
    Behaviour(
        "plain-text",
        False,
        "the gateway's own errors are text; switched off, they are JSON with an error",
        "reported: triton-inference-server/server#8051, MicrosoftDocs/azure-docs#94105",
    ),
    Behaviour(
        "early-refusal",
        False,
        "a refusal comes before the body is read, and then the connection closes",
        "reported: triton-inference-server/client#866",
    ),
    Behaviour(
        "request-ids",
        False,
        "answers carry x-request-id, x-ms-client-request-id and azureml-model-deployment",
        "the logs of requests have such fields; the headers are not documented",
    ),
    Behaviour(
        "swagger",
        False,
        "/swagger.json describes the models",
        "documented for scoring scripts, not for Triton",
    ),
    Behaviour(
        "slow-scale-out",
        False,
        "more instances count after 15 minutes only",
        "reported: Azure/azureml-examples#3515 (12 to 18 minutes)",
    ),
    Behaviour(
        "idle-close",
        False,
        "a connection that is idle for 4 minutes closes",
        "the usual time of Azure's load balancers; none is documented for endpoints",
    ),
    Behaviour(
        "jobs",
        True,
        "POST /jobs makes a job of a batch endpoint, on the deployment that the header names or on "
        "the default one; GET /jobs/NAME tells its state",
        "how-to-access-data-batch-endpoints-jobs",
    ),
    Behaviour(
        "job-names",
        False,
        "a job has the name that the submission asks for, and a second one of it gets 409; "
        "switched off, the name is the endpoint's",
        "Azure's SDK sends such a name; what becomes of it is not documented",
    ),
    Behaviour(
        "job-list",
        False,
        "GET /jobs lists the jobs, 50 on a page; switched off, it gets 405",
        "documented for the management of a workspace, not for the endpoint's own address",
    ),
)

NAMES = tuple(behaviour.name for behaviour in BEHAVIOURS)


class Switches:
    """Which behaviours are on: all but those that are named."""

    def __init__(self, without: Iterable[str] = ()) -> None:
        self.off = frozenset(without)
        for name in sorted(self.off):
            if name not in NAMES:
                raise ConfigurationError(
                    f"there is no behaviour {name!r} to switch off; there are {', '.join(NAMES)}"
                )

    def __contains__(self, name: str) -> bool:
        return name not in self.off


def table() -> str:
    """Return the behaviours as a table in Markdown, for the documents and ``--list``."""
    lines = ["| name | | what the gateway does | ground |", "|---|---|---|---|"]
    for name, is_documented, what, ground in BEHAVIOURS:
        kind = "documented" if is_documented else "assumed"
        lines.append(f"| `{name}` | {kind} | {what} | {ground} |")
    return "\n".join(lines)
