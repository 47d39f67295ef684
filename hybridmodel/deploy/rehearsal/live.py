"""A deployment while it is rehearsed: its places, its condition, and what it has answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hybridmodel.deploy.rehearsal.behaviours import Switches
from hybridmodel.deploy.rehearsal.settings import Deployment
from hybridmodel.deploy.rehearsal.snapshot import DeploymentSnapshot, Tally

Clock = Callable[[], float]


class Server(Protocol):
    """What runs the models of one deployment; what it is asked with `key` is for the gateway only.

    Of what can be called, only `address` and `is_running` are quick.
    """

    kind: str
    models: tuple[str, ...]
    key: str | None

    @property
    def address(self) -> str | tuple[str, int]:
        """The path of its Unix socket, or its host and port."""

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""

    def answers(self) -> bool:
        """Ask it whether its models are ready; what has just crashed may still be running."""

    def start(self) -> object:
        """Start it, and return when its models are ready; raises `ConfigurationError`."""

    def stop(self) -> None:
        """End it, and remove its files."""

    def kill(self) -> None:
        """End it at once, like a crash."""


class LiveDeployment:
    """One deployment behind a gateway; everything happens in the thread of the gateway's loop.

    A request first has a place (`enter`, `leave`), then waits for its turn (`take_turn`,
    `give_turn`): Azure gives out twice as many places as the model gets requests at a time.
    """

    def __init__(
        self,
        settings: Deployment,
        server: Server,
        *,
        switches: Switches,
        clock: Clock,
        scale_out_s: float = 0.0,
    ) -> None:
        self.settings = settings
        self.server = server
        self.answers, self.model_answers = Tally(), Tally()
        self.in_flight = self.mirrored = self.mirror_dropped = 0
        self.delay_s = 0.0
        self._switches, self._clock = switches, clock
        self._scale_out_s = scale_out_s if "slow-scale-out" in switches else 0.0
        self._instances = self._wanted = settings.instances
        self._ready_at = 0.0
        self._working = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._hung: asyncio.Event | None = None
        self._starting = False

    @property
    def name(self) -> str:
        """Its name, such as ``blue``."""
        return self.settings.name

    @property
    def condition(self) -> str:
        """One of ``starting``, ``running``, ``slow``, ``hung`` and ``dead``."""
        if self._starting:
            return "starting"
        if not self.server.is_running:
            return "dead"
        if self._hung is not None:
            return "hung"
        return "slow" if self.delay_s else "running"

    @property
    def instances(self) -> int:
        """How many instances count now."""
        if self._instances != self._wanted and self._clock() >= self._ready_at:
            self._instances = self._wanted
        return self._instances

    @property
    def limit(self) -> int:
        """How many requests have a place at a time."""
        return 2 * self.settings.concurrency * self.instances

    def scale(self, instances: int) -> float:
        """Ask for so many instances; return the seconds until they count."""
        known = self.instances
        self._wanted = instances
        wait_s = self._scale_out_s if instances > known else 0.0
        self._ready_at = self._clock() + wait_s
        return wait_s

    def enter(self) -> bool:
        """Take a place; return whether there was one."""
        if "pending-429" in self._switches and self.in_flight >= self.limit:
            return False
        self.in_flight += 1
        return True

    def leave(self) -> None:
        """Give the place back."""
        self.in_flight -= 1

    async def take_turn(self) -> None:
        """Wait until the model takes another request."""
        if self._has_room():
            self._working += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_turn()
            raise

    def give_turn(self) -> None:
        """Let the next requests have their turn."""
        self._working -= 1
        self.wake()

    def wake(self) -> None:
        """Let as many requests have their turn as there is room for."""
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.done():
                self._working += 1
                turn.set_result(None)

    def hang(self) -> None:
        """Answer nothing from now on; requests that come keep their places."""
        self._hung = self._hung or asyncio.Event()

    def slow(self, delay_s: float) -> None:
        """Add so many seconds to every request."""
        self.delay_s = delay_s

    async def obstacles(self) -> None:
        """Wait as long as the deployment hangs, or is slow."""
        if self._hung is not None:
            await self._hung.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)

    def recover(self) -> None:
        """Neither hang nor be slow any longer."""
        self.delay_s = 0.0
        if self._hung is not None:
            self._hung.set()
        self._hung = None

    async def start(self) -> None:
        """Start the server unless it answers, after what has crashed is cleared away."""
        if self._starting:
            return
        self._starting = True
        loop = asyncio.get_running_loop()
        try:
            if not await loop.run_in_executor(None, self.server.answers):
                await loop.run_in_executor(None, self.server.stop)
                await loop.run_in_executor(None, self.server.start)
        finally:
            self._starting = False

    def snapshot(self, traffic: int, mirror: int) -> DeploymentSnapshot:
        """Return what can be seen of it now."""
        instances = self.instances
        pending = self._wanted != instances
        return DeploymentSnapshot(
            name=self.name,
            condition=self.condition,
            delay_s=self.delay_s,
            models=self.server.models,
            traffic=traffic,
            mirror=mirror,
            instances=instances,
            wanted_instances=self._wanted,
            instances_in_s=max(0.0, self._ready_at - self._clock()) if pending else 0.0,
            limit=self.limit,
            in_flight=self.in_flight,
            waiting=len(self._waiting),
            codes=self.answers.codes(),
            model_codes=self.model_answers.codes(),
            mirrored=self.mirrored,
            mirror_dropped=self.mirror_dropped,
            latency=self.answers.latency(),
            model_latency=self.model_answers.latency(),
        )

    def _has_room(self) -> bool:
        most = self.settings.concurrency * self.instances
        return "queue" not in self._switches or self._working < most
