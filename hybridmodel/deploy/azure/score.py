"""Answers the requests of an online endpoint of Azure Machine Learning with a hybrid model.

For Azure's inference server (azureml-inference-server-http), which calls `init` once in each of
its processes and `run` for each request. Errors of the model keep their HTTP status, and
``params`` such as ``{"use_azure": true}`` are passed on. A body of more than 256 MiB is refused;
the variable HYBRIDMODEL_MAX_BODY_BYTES sets another bound.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse

if TYPE_CHECKING:
    from hybridmodel.deploy.azure.scoring import Scoring

_DEFAULT_BYTES = 1 << 28

scoring: Scoring


def init() -> None:
    """Load the model."""
    global scoring  # noqa: PLW0603 - Azure's scripts are modules with a state
    # The export puts hybridmodel beside this file where pip does not find it.
    sys.path.append(str(Path(__file__).parent))
    from hybridmodel.deploy.azure.scoring import Scoring

    scoring = Scoring.below(os.environ["AZUREML_MODEL_DIR"])


@rawhttp  # type: ignore[untyped-decorator]
def run(request: Any) -> Any:
    """Answer a request of Flask."""
    most_bytes = int(os.environ.get("HYBRIDMODEL_MAX_BODY_BYTES", _DEFAULT_BYTES))
    # A body without a stated size ends at the limit without an error, so one byte more is read.
    request.max_content_length = most_bytes + 1
    is_larger = (request.content_length or 0) > most_bytes
    body = b"" if is_larger else request.get_data()
    if is_larger or len(body) > most_bytes:
        reply = scoring.too_large(most_bytes)
    else:
        reply = scoring.reply(body, request.content_type)
    headers = {"Content-Type": "application/json", **reply.headers}
    return AMLResponse(reply.body, reply.status, headers)
