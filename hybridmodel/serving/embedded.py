"""An Open Inference Protocol endpoint within this process, for demos, tests and laptops."""

from __future__ import annotations

import atexit
import ipaddress
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from hybridmodel.checks import needed_for
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint import DEFAULT_KEY_ENV
from hybridmodel.remote.trust.key_sources import checked_key
from hybridmodel.serving.catalogue import Models, catalogue, endpoint_for
from hybridmodel.serving.limits import Limits

if TYPE_CHECKING:
    from types import TracebackType

    import uvicorn

    from hybridmodel.remote.endpoint import TritonEndpoint

_ANY_HOST = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a name, no bind
_PASSIVE = socket.AI_PASSIVE
_GRACE_S = 1
_KEEP_ALIVE_S = 300
_POLL_S = 0.005


class EmbeddedServer:
    """Serves ONNX models over the Open Inference Protocol v2, in a thread of this process.

    It answers as Triton does, and is meant for demos, tests and laptops: there is no batching, no
    queue, no encryption, and it shares this process' Python with everything else. `serve` makes
    and starts one. Without a key it listens to this machine only, and answers no pages of other
    origins in a browser on it.

    Parameters
    ----------
    models : dict
        Names, each with a path, bytes, HybridOnnxModel, or a dict of versions to these. A model
        is opened when it is first asked, so that hundreds are fine.
    host : str, default="127.0.0.1"
        Where to listen.
    port : int, default=0
        0 takes a free port.
    auth_key : str, optional
        The bearer key that requests must carry; needed where other machines can reach `host`.
    limits : Limits, optional
        How much it takes from its clients.

    Raises
    ------
    ConfigurationError
        If a name, version or the key cannot work.
    """

    def __init__(
        self,
        models: Models,
        host: str = "127.0.0.1",
        port: int = 0,
        auth_key: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        if auth_key is not None:
            checked_key(auth_key, "auth_key")
        self._models = catalogue(models)
        self._host = host
        self._port = port
        self._auth_key = auth_key
        self._limits = limits or Limits()
        self._running: tuple[uvicorn.Server, threading.Thread, ThreadPoolExecutor] | None = None
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Port it listens to; 0 before the first start, when none was chosen."""
        return self._port

    @property
    def uri(self) -> str:
        """Address of the server, as an endpoint on this machine takes it."""
        host = _ANY_HOST.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def endpoint(self, name: str, **options: Any) -> TritonEndpoint:
        """Describe the endpoint of one model.

        Parameters
        ----------
        name : str
            One of the models.
        **options
            Further arguments of `TritonEndpoint`. `auth_key_env` is None unless the server has a
            key.

        Raises
        ------
        ConfigurationError
            If there is no such model or option.
        """
        key_env = None if self._auth_key is None else DEFAULT_KEY_ENV
        return endpoint_for(self.uri, name, self._models, {"auth_key_env": key_env, **options})

    def start(self) -> EmbeddedServer:
        """Start to listen; requests can be sent when this returns.

        Raises
        ------
        ConfigurationError
            If the address cannot be had, can be reached from other machines without a key, or it
            runs already.
        MissingDependency
            If starlette or uvicorn is not installed.
        """
        with self._lock:
            if self._running is not None:
                raise ConfigurationError("this EmbeddedServer runs already")
            # Python waits at its exit for what such an executor still computes; a daemon thread
            # that returns from C++ then would abort the process.
            executor = ThreadPoolExecutor(thread_name_prefix="hybridmodel-infer")
            server = self._make_server(executor)
            listener = _listen(self._host, self._port, anywhere=self._auth_key is not None)
            self._port = listener.getsockname()[1]
            thread = threading.Thread(
                target=server.run,
                args=([listener],),
                name=f"hybridmodel-serve-{self._port}",
                daemon=True,
            )
            self._running = (server, thread, executor)
            thread.start()
        atexit.register(self.stop)
        try:
            self._wait_until_started(server, thread)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop listening and end connections; does nothing when it does not run.

        Requests in progress have a second to finish; computations cannot be ended, only ignored.
        """
        with self._lock:
            if self._running is None:
                return
            server, thread, executor = self._running
            server.should_exit = True
            thread.join()
            executor.shutdown(wait=False, cancel_futures=True)
            self._running = None
        atexit.unregister(self.stop)

    def wait(self) -> None:
        """Block until the server is stopped, or Ctrl-C."""
        running = self._running
        while running is not None and running[1].is_alive():
            running[1].join(timeout=0.5)

    def __enter__(self) -> EmbeddedServer:
        return self if self._running is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = self.uri if self._running is not None else "not running"
        return f"EmbeddedServer({len(self._models)} models, {state})"

    def _make_server(self, executor: ThreadPoolExecutor) -> uvicorn.Server:
        with needed_for("the embedded server"):
            import uvicorn

            from hybridmodel.serving.app import make_app
            from hybridmodel.serving.connections import protocol_within
        config = uvicorn.Config(
            make_app(self._models, executor, self._auth_key, self._host, self._limits),
            http=protocol_within(self._limits),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        return uvicorn.Server(config)

    def _wait_until_started(self, server: uvicorn.Server, thread: threading.Thread) -> None:
        while not server.started:
            if not thread.is_alive():
                raise ConfigurationError("the embedded server ended while it started")
            time.sleep(_POLL_S)


def serve(
    models: Models,
    host: str = "127.0.0.1",
    port: int = 0,
    auth_key: str | None = None,
    limits: Limits | None = None,
) -> EmbeddedServer:
    """Start an `EmbeddedServer`: an endpoint within this process, for demos, tests and laptops.

    Parameters
    ----------
    models : dict
        Names, each with a path, bytes, HybridOnnxModel, or a dict of versions to these.
    host : str, default="127.0.0.1"
        Where to listen.
    port : int, default=0
        0 takes a free port.
    auth_key : str, optional
        The bearer key that requests must carry; needed where other machines can reach `host`.
    limits : Limits, optional
        How much it takes from its clients.

    Returns
    -------
    EmbeddedServer
        Already listening; stop it with ``stop()``, or use it in a ``with`` statement.

    Raises
    ------
    ConfigurationError
        If a name, version or the key cannot work, or the address cannot be had, or can be
        reached from other machines without a key.
    MissingDependency
        If starlette or uvicorn is not installed.

    Examples
    --------
    >>> with serve({"digits": "digits.onnx"}) as server:  # doctest: +SKIP
    ...     model = HybridOnnxModel("digits_small.onnx", endpoint=server.endpoint("digits"))
    """
    return EmbeddedServer(models, host, port, auth_key, limits).start()


def _listen(host: str, port: int, anywhere: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM, 0, _PASSIVE)
        address = found[0][4]
        if not anywhere and not ipaddress.ip_address(str(address[0])).is_loopback:
            raise ConfigurationError(
                f"other machines can reach {host!r}, and requests need no key: give an auth_key "
                "(hybridmodel serve: --auth-key-env), or listen on 127.0.0.1"
            )
        listening = socket.create_server((str(address[0]), port), family=family)
        # asyncio turns off Nagle's delay (40 ms here) only for sockets that name their protocol.
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, listening.detach())
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigurationError(f"cannot listen on {host!r}, port {port}: {error}") from error
