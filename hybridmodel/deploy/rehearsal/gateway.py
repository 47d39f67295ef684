"""The gateway: one request after the other on each connection, each to one deployment.

What is decided about a request stands in `refusals`; this module carries it out.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, cast

import h11

from hybridmodel.deploy.rehearsal.bandwidth import Bandwidth
from hybridmodel.deploy.rehearsal.jobs.requests import MOST_BYTES as MOST_JOB_BYTES
from hybridmodel.deploy.rehearsal.jobs.requests import JobRequests
from hybridmodel.deploy.rehearsal.keys import Keys
from hybridmodel.deploy.rehearsal.live import LiveDeployment, Server
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.deploy.rehearsal.memory import NoRoom, Share
from hybridmodel.deploy.rehearsal.messages import (
    Answer,
    Connection,
    TooLarge,
    header,
    passed_on,
    respond,
)
from hybridmodel.deploy.rehearsal.refusals import PIN, Admitted, Refusals
from hybridmodel.deploy.rehearsal.swagger import PATH, describe
from hybridmodel.deploy.rehearsal.traffic import Draw
from hybridmodel.deploy.rehearsal.upstream import Forwarded, Place, Upstream

Sleep = Callable[[float], Awaitable[Any]]

_REQUEST_DELAY = b"ms-azureml-bandwidth-request-delay-ms"
_RESPONSE_DELAY = b"ms-azureml-bandwidth-response-delay-ms"
_CLIENTS_ID = b"x-ms-client-request-id"

_GRACE_S = 2.0

_ENDS = (OSError, TimeoutError, h11.RemoteProtocolError, h11.LocalProtocolError)
"""What ends a connection, and nothing else: the client's doing."""


class Gateway:
    """Serves connections for one endpoint; runs in one event loop."""

    def __init__(
        self,
        endpoint: LiveEndpoint,
        keys: Keys,
        *,
        draw: Draw = random.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        limits, clock = endpoint.limits, endpoint.clock
        self._endpoint, self._switches, self._limits = endpoint, endpoint.switches, limits
        self._refusals = Refusals(endpoint, keys, draw)
        self._draw, self._sleep, self._clock = draw, sleep, clock
        has_jobs = endpoint.jobs is not None and "jobs" in endpoint.switches
        self._jobs = JobRequests(endpoint.batch_jobs(), endpoint.switches) if has_jobs else None
        self._upstreams = {
            name: Upstream(partial(_place, one.server), limits.max_body_bytes, one.server.key)
            for name, one in endpoint.deployments.items()
        }
        rate = limits.bandwidth_bytes_per_s
        self._inwards, self._outwards = Bandwidth(rate, clock), Bandwidth(rate, clock)
        self._serving: dict[asyncio.Task[None], Connection] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it ends."""
        idle_s = self._limits.idle_s if "idle-close" in self._switches else None
        connection = Connection(h11.SERVER, reader, writer, idle_s)
        if not self._endpoint.connected():
            connection.close()
            return
        serving = cast("asyncio.Task[None]", asyncio.current_task())
        self._serving[serving] = connection
        try:
            while await self._one(connection):
                pass
        except (*_ENDS, asyncio.CancelledError):
            connection.abort()  # Cancelled is the work, by `close`; asyncio would complain of it.
        finally:
            del self._serving[serving]
            self._endpoint.connections -= 1
            connection.close()

    async def close(self) -> None:
        """End the connections, and the work that still goes on."""
        for connection in self._serving.values():
            connection.abort()
        for task in self._tasks:
            task.cancel()
        left = (*self._serving, *self._tasks)
        if left:
            await asyncio.wait(left, timeout=_GRACE_S)
        for upstream in self._upstreams.values():
            upstream.close()

    async def _one(self, connection: Connection) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            request = await connection.event()
        except h11.RemoteProtocolError as wrong:
            await self._send(connection, None, self._refusals.text(400, str(wrong)), close=True)
            return False
        if type(request) is not h11.Request:
            return False
        started = self._clock()
        answer, deployment = await self._answered(connection, request)
        if deployment is not None:
            deployment.answers.add(answer.status, self._clock() - started)
        close = not await self._is_read(connection)
        await self._send(connection, request, answer, close=close, by=deployment)
        if close or connection.http.our_state is not h11.DONE:
            return False
        connection.http.start_next_cycle()
        return True

    async def _answered(
        self, connection: Connection, request: h11.Request
    ) -> tuple[Answer, LiveDeployment | None]:
        refusal = self._refusals.entry(request)
        if refusal is not None:
            return refusal, None
        if request.target.partition(b"?")[0] == PATH and "swagger" in self._switches:
            return self._swagger(), None
        if self._jobs is not None and self._jobs.are_for(request.target):
            return await self._about_jobs(connection, request, self._jobs), None
        admitted = self._refusals.place(request)
        if isinstance(admitted, Answer):
            return admitted, None
        return await self._by_deployment(connection, request, admitted), admitted.deployment

    async def _about_jobs(
        self, connection: Connection, request: h11.Request, jobs: JobRequests
    ) -> Answer:
        share = Share(self._endpoint.memory)
        try:
            body = await self._body(connection, request, share, MOST_JOB_BYTES)
        finally:
            share.release()
        if isinstance(body, Answer):
            return body
        pin = header(request, PIN)
        uri = self._endpoint.uri
        return jobs.answer(request.method, request.target, body, pin=pin, uri=uri)

    async def _by_deployment(
        self, connection: Connection, request: h11.Request, admitted: Admitted
    ) -> Answer:
        deployment, handed_on = admitted.deployment, False
        share = Share(self._endpoint.memory)
        try:
            body = await self._body(connection, request, share)
            if isinstance(body, Answer):
                return body
            headers = [item for item in passed_on(request.headers) if item[0] != PIN]
            forwarded = Forwarded(request.method, request.target, headers, body)
            delay_s = await self._delayed(self._inwards, len(body))
            if not admitted.is_pinned:
                self._mirror(forwarded)
            handed_on = True
            answer = await self._in_time(deployment, forwarded, share)
        finally:
            if not handed_on:
                share.release()
                deployment.leave()
        return await self._slowed(answer, delay_s)

    async def _in_time(
        self, deployment: LiveDeployment, forwarded: Forwarded, share: Share
    ) -> Answer:
        """Have the deployment work, and return its answer, or 408 when that takes too long."""
        work = self._begin(self._work(deployment, forwarded, share))
        limit_s = deployment.settings.timeout_s if "timeout-408" in self._switches else None
        try:
            await asyncio.wait((work,), timeout=limit_s)
        finally:
            if not work.done() and "work-goes-on" not in self._switches:
                work.cancel()
        if not work.done():
            return self._refusals.late()
        return self._refusals.from_model(work.result())

    async def _work(
        self, deployment: LiveDeployment, forwarded: Forwarded, share: Share
    ) -> Answer | None:
        """Ask the model when it is this request's turn; None where its server is not there."""
        try:
            await deployment.take_turn()
            try:
                await deployment.obstacles()
                return await self._ask(deployment, forwarded, share)
            finally:
                deployment.give_turn()
        finally:
            share.release()
            deployment.leave()

    async def _ask(
        self, deployment: LiveDeployment, forwarded: Forwarded, share: Share
    ) -> Answer | None:
        started = self._clock()
        try:
            answer = await self._upstreams[deployment.name].exchange(forwarded, share)
        except OSError:
            deployment.model_answers.add("dead")
            return None
        except (TooLarge, NoRoom):
            return self._refusals.text(500, "the answer has more bytes than a rehearsal keeps")
        deployment.model_answers.add(answer.status, self._clock() - started)
        return answer

    def _mirror(self, forwarded: Forwarded) -> None:
        """Copy some requests to another deployment, and drop its answers."""
        name = None
        if "mirror" in self._switches:
            name = self._endpoint.traffic.copied_to(self._draw)
        if name is None:
            return
        deployment = self._endpoint.deployments[name]
        if not deployment.enter():
            deployment.mirror_dropped += 1
            return
        deployment.mirrored += 1
        self._begin(self._copy(deployment, forwarded))

    async def _copy(self, deployment: LiveDeployment, forwarded: Forwarded) -> None:
        share = Share(self._endpoint.memory)
        try:
            share.take(len(forwarded.body))
        except NoRoom:
            deployment.leave()
            return
        await self._delayed(self._inwards, len(forwarded.body))
        await self._work(deployment, forwarded, share)

    async def _body(
        self,
        connection: Connection,
        request: h11.Request,
        share: Share,
        most_bytes: int | None = None,
    ) -> bytes | Answer:
        most = most_bytes or self._limits.max_body_bytes
        announced = int(header(request, b"content-length") or 0)
        try:
            if announced <= most:
                return await connection.body(most, share)
        except NoRoom:
            return self._refusals.text(503, "the rehearsal holds as many bytes as it may")
        except h11.RemoteProtocolError as wrong:
            if connection.has_ended:
                raise
            return self._refusals.text(400, str(wrong))
        except TooLarge:
            pass
        return self._refusals.text(413, f"a rehearsal takes {most} bytes at most")

    async def _delayed(self, direction: Bandwidth, size_bytes: int) -> float:
        if "bandwidth" not in self._switches:
            return 0.0
        delay_s = direction.delay_s(size_bytes)
        if delay_s:
            self._endpoint.delayed_s += delay_s
            await self._sleep(delay_s)
        return delay_s

    async def _slowed(self, answer: Answer, request_delay_s: float) -> Answer:
        """Let an answer wait for its bandwidth, and tell of both delays in trailers."""
        delay_s = await self._delayed(self._outwards, len(answer.body))
        delays = ((_REQUEST_DELAY, request_delay_s), (_RESPONSE_DELAY, delay_s))
        trailers = [(name, b"%d" % round(1000 * waited_s)) for name, waited_s in delays if waited_s]
        if not trailers:
            return answer
        return Answer(answer.status, answer.headers, answer.body, answer.reason, trailers)

    async def _is_read(self, connection: Connection) -> bool:
        """Tell whether all of a request has been read, which a refusal may not wait for."""
        if connection.http.their_state in (h11.DONE, h11.MUST_CLOSE):
            return True
        if connection.http.their_state is not h11.SEND_BODY:
            return False
        if connection.is_whole():
            return True
        if "early-refusal" in self._switches:
            return False
        while type(event := await connection.event()) is h11.Data:
            pass
        return type(event) is h11.EndOfMessage

    async def _send(
        self,
        connection: Connection,
        request: h11.Request | None,
        answer: Answer,
        *,
        close: bool,
        by: LiveDeployment | None = None,
    ) -> None:
        self._endpoint.answers.add(answer.status)
        if request is not None and "request-ids" in self._switches:
            answer = _with_ids(answer, header(request, _CLIENTS_ID), by)
        is_head = request is not None and request.method == b"HEAD"
        memory, size = self._endpoint.memory, len(answer.body)
        memory.held_bytes += size
        try:
            await respond(connection, answer, close=close, is_head=is_head)
        finally:
            memory.held_bytes -= size
        if close:
            await connection.linger()

    def _swagger(self) -> Answer:
        live = self._endpoint.deployments.values()
        models = sorted({model for one in live for model in one.server.models})
        said = describe(self._endpoint.settings.name, models)
        return Answer(200, [(b"content-type", b"application/json")], said)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _with_ids(answer: Answer, clients: str | None, by: LiveDeployment | None) -> Answer:
    headers = [*answer.headers, (b"x-request-id", secrets.token_hex(16).encode())]
    if clients is not None:
        headers.append((_CLIENTS_ID, clients.encode("latin-1")))
    if by is not None:
        headers.append((PIN, by.name.encode()))
    return Answer(answer.status, headers, answer.body, answer.reason, answer.trailers)


def _place(server: Server) -> Place:
    return server.address
