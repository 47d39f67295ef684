"""An endpoint while it is rehearsed: its deployments, its traffic, and how they are changed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from hybridmodel.checks import as_float, check_count, check_seconds, shown
from hybridmodel.deploy.azure.limits import MOST_INSTANCES
from hybridmodel.deploy.rehearsal.bandwidth import Rate
from hybridmodel.deploy.rehearsal.behaviours import Switches
from hybridmodel.deploy.rehearsal.jobs.queue import Jobs
from hybridmodel.deploy.rehearsal.live import Clock, LiveDeployment, Server
from hybridmodel.deploy.rehearsal.memory import Memory
from hybridmodel.deploy.rehearsal.settings import Deployment, Endpoint, GatewayLimits
from hybridmodel.deploy.rehearsal.snapshot import Snapshot, Tally
from hybridmodel.deploy.rehearsal.traffic import Traffic
from hybridmodel.exceptions import ConfigurationError

_DRIVER = "the batch driver, a process for each job"
_RATE_S = 5.0
_MOST_ARRIVALS = 10_000


class LiveEndpoint:
    """What the gateway decides by, and what people watch and change; in the loop's thread only.

    Every change that Azure would refuse raises `ConfigurationError` and changes nothing.
    """

    def __init__(
        self,
        settings: Endpoint,
        servers: Mapping[str, Server],
        switches: Switches,
        limits: GatewayLimits,
        clock: Clock = time.monotonic,
    ) -> None:
        self.settings, self.switches, self.limits, self.clock = settings, switches, limits, clock
        self.uri = ""
        self.jobs: Jobs | None = None

        def live(deployment: Deployment) -> LiveDeployment:
            server = servers[deployment.name]
            wait_s = limits.scale_out_s
            return LiveDeployment(
                deployment, server, switches=switches, clock=clock, scale_out_s=wait_s
            )

        self.deployments = {one.name: live(one) for one in settings.deployments}
        self.traffic = Traffic(tuple(self.deployments), settings.traffic, settings.mirror)
        self.answers = Tally()
        self.connections = 0
        self.memory = Memory(limits.max_held_bytes)
        self.delayed_s = 0.0
        self._arrivals: deque[float] = deque(maxlen=_MOST_ARRIVALS)
        self._requests = Rate(limits.requests_per_s, clock)
        self._connections = Rate(limits.connections_per_s, clock)
        self._since = clock()

    def set_traffic(self, shares: Mapping[str, int]) -> None:
        """Share the requests anew, in percent; deployments left out get none."""
        self.traffic = self.traffic.with_shares(shares)

    def set_mirror(self, mirror: Mapping[str, int]) -> None:
        """Copy up to 50 percent of the requests to one deployment; an empty mapping ends it."""
        self.traffic = self.traffic.with_mirror(mirror)

    def hang(self, name: str) -> None:
        """Let a deployment accept requests and answer none."""
        self._find(name).hang()

    def slow(self, name: str, delay_s: float) -> None:
        """Let a deployment take so many seconds longer for each request; 0 ends it."""
        deployment = self._find(name)
        if as_float(delay_s) != 0:
            delay_s = check_seconds("delay_s", delay_s)
        deployment.slow(float(delay_s))

    async def kill(self, name: str) -> None:
        """End a deployment's server at once, like a crash (SIGKILL)."""
        server = self._find(name).server
        await asyncio.get_running_loop().run_in_executor(None, server.kill)

    async def revive(self, name: str) -> None:
        """End what `hang` and `slow` began, and start the server if it is dead."""
        deployment = self._find(name)
        deployment.recover()
        await deployment.start()

    def scale(self, name: str, instances: int) -> float:
        """Ask for another number of instances; return the seconds until they count."""
        deployment = self._find(name)
        wait_s = deployment.scale(check_count("instances", instances, 1, MOST_INSTANCES))
        asyncio.get_running_loop().call_later(wait_s, deployment.wake)
        return wait_s

    def batch_jobs(self) -> Jobs:
        """Return the jobs; raises `ConfigurationError` if this is no batch endpoint."""
        if self.jobs is None:
            raise ConfigurationError(f"{self.settings.name} is no batch endpoint: it has no jobs")
        return self.jobs

    def arrived(self) -> bool:
        """Note a request; return whether the endpoint takes so many in a second."""
        self._arrivals.append(self.clock())
        return "rate-429" not in self.switches or self._requests.takes()

    def connected(self) -> bool:
        """Count a connection, unless there are too many at a time or in a second."""
        if "connections" in self.switches and (
            self.connections >= self.limits.connections or not self._connections.takes()
        ):
            return False
        self.connections += 1
        return True

    def snapshot(self) -> Snapshot:
        """Return what can be seen of it now."""
        shares, mirror, now = self.traffic.shares, self.traffic.mirror, self.clock()
        deployments = tuple(
            one.snapshot(shares[name], mirror.get(name, 0))
            for name, one in self.deployments.items()
        )
        over_s = min(_RATE_S, now - self._since) or 1.0
        recent = sum(1 for at in self._arrivals if now - at <= over_s)
        return Snapshot(
            endpoint=self.settings.name,
            uri=self.uri,
            auth_mode=self.settings.auth_mode,
            server=next((one.server.kind for one in self.deployments.values()), _DRIVER),
            elapsed_s=now - self._since,
            traffic=dict(shares),
            mirror=dict(mirror),
            deployments=deployments,
            codes=self.answers.codes(),
            connections=self.connections,
            held_bytes=self.memory.held_bytes,
            requests_per_s=recent / over_s,
            delayed_s=self.delayed_s,
            off=tuple(sorted(self.switches.off)),
            notes=self.settings.notes,
            jobs=() if self.jobs is None else self.jobs.seen(),
        )

    def _find(self, name: Any) -> LiveDeployment:
        if isinstance(name, str) and name in self.deployments:
            return self.deployments[name]
        raise ConfigurationError(
            f"there is no deployment {shown(name)}; there are {', '.join(self.deployments)}"
        )
