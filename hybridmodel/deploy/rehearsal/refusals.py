"""The gateway's own answers: whom it refuses before the model is asked, and in which words."""

from __future__ import annotations

import json
from dataclasses import dataclass

import h11

from hybridmodel.deploy.rehearsal.behaviours import Switches
from hybridmodel.deploy.rehearsal.keys import Keys
from hybridmodel.deploy.rehearsal.live import LiveDeployment
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.deploy.rehearsal.messages import Answer, header
from hybridmodel.deploy.rehearsal.traffic import Draw

PIN = b"azureml-model-deployment"
MODEL_STATUS = b"ms-azureml-model-error-statuscode"
MODEL_REASON = b"ms-azureml-model-error-reason"

_LATE = "upstream request timeout"
_UNREACHABLE = b"upstream connect error or disconnect/reset before headers"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request with a place at a deployment; `is_pinned` where it named the deployment."""

    deployment: LiveDeployment
    is_pinned: bool


class Refusals:
    """Decides whether a request gets a place, and makes the gateway's own answers."""

    def __init__(self, endpoint: LiveEndpoint, keys: Keys, draw: Draw) -> None:
        self._endpoint, self._keys, self._draw = endpoint, keys, draw
        self._switches: Switches = endpoint.switches

    def entry(self, request: h11.Request) -> Answer | None:
        """Return why a request is refused whatever it asks for; None where it is not."""
        if not self._endpoint.arrived():
            most = self._endpoint.limits.requests_per_s
            return self.text(429, f"more than {most} requests in a second")
        problem = self._keys.problem(header(request, b"authorization"))
        return None if problem is None else self.text(401, problem)

    def place(self, request: h11.Request) -> Admitted | Answer:
        """Choose a deployment and take a place there, or say why there is none."""
        live, pin = self._endpoint.deployments, header(request, PIN)
        is_pinned = pin is not None and "pin" in self._switches
        name = pin if is_pinned else self._chosen()
        if name is None:
            return self.text(404, "no valid deployment with positive weight to route to")
        deployment = live.get(name)
        if deployment is None and "wrong-pin-404" in self._switches:
            return self.text(404, f"there is no deployment {name[:64]!r}")
        deployment = deployment or next(iter(live.values()))
        if not deployment.enter():
            answer = self.text(429, f"{deployment.limit} requests are pending already")
            deployment.answers.add(429)
            return answer
        return Admitted(deployment, is_pinned)

    def late(self) -> Answer:
        """Return the answer for a model that takes longer than ``request_timeout_ms``."""
        return self.text(408, _LATE)

    def from_model(self, answer: Answer | None) -> Answer:
        """Return what the gateway makes of the model's answer; None is a server that is not there.

        Its headers are kept only where it is passed on as it is.
        """
        if answer is not None and answer.status == 200:
            return answer
        if answer is None:
            answer = Answer(503, [], _UNREACHABLE, b"Service Unavailable")
            if "dead-503" not in self._switches:
                return self.text(500, "the deployment cannot be reached")
        if "model-error-424" not in self._switches:
            return answer
        headers = [
            (b"content-type", b"text/plain"),
            (MODEL_STATUS, b"%d" % answer.status),
            (MODEL_REASON, answer.reason),
        ]
        body = answer.body if "model-error-body" in self._switches else b""
        return Answer(424, headers, body)

    def text(self, status: int, words: str) -> Answer:
        """Return an answer in the gateway's own words."""
        if "plain-text" in self._switches:
            return Answer(status, [(b"content-type", b"text/plain")], words.encode())
        said = json.dumps({"error": words}).encode()
        return Answer(status, [(b"content-type", b"application/json")], said)

    def _chosen(self) -> str | None:
        traffic = self._endpoint.traffic
        if "traffic" in self._switches:
            chosen = traffic.choose(self._draw)
        else:
            chosen = next((name for name, share in traffic.shares.items() if share), None)
        if chosen is None and "no-weight-404" not in self._switches:
            return next(iter(self._endpoint.deployments), None)
        return chosen
