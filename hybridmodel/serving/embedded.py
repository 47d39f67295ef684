"""An Open Inference Protocol endpoint in this process, for demos, tests and laptops."""

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
from hybridmodel.remote.endpoint_base import DEFAULT_KEY_ENV
from hybridmodel.remote.trust.key_sources import checked_key
from hybridmodel.serving.catalogue import Models, catalogue, endpoint_for
from hybridmodel.serving.limits import Limits

if TYPE_CHECKING:
    import uvicorn

    from hybridmodel.remote.endpoint import TritonEndpoint

_ANY_HOST = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names, not bound
_GRACE_S = 1
_KEEP_ALIVE_S = 300
_POLL_S = 0.005


class EmbeddedServer:
    """Serves ONNX models over the Open Inference Protocol v2, in a thread of this process.

    It answers as Triton does, and is meant for demos, tests and laptops: it has no batching, no
    queue and no encryption, and shares this process' Python with everything else. `serve` creates
    and starts one. Without a key it listens to this machine only, and refuses browser pages of
    other origins.

    Parameters
    ----------
    models : dict
        Names, each with a path, bytes, HybridOnnxModel, or a dict of versions to these. The first
        request for a model opens it, so hundreds are fine.
    host : str, default="127.0.0.1"
        Address to listen on.
    port : int, default=0
        Port to listen on; 0 takes a free one.
    auth_key : str, optional
        The bearer key that requests must carry; required if other machines can reach `host`.
    limits : Limits, optional
        What its clients may use.

    Raises
    ------
    ConfigurationError
        If a name, a version or the key is not valid.
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
        """Port that it listens on; 0 before the first start if none was chosen."""
        return self._port

    @property
    def uri(self) -> str:
        """Base address of the server, for a `TritonEndpoint` on this machine."""
        host = _ANY_HOST.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def endpoint(self, name: str, **options: Any) -> TritonEndpoint:
        """Describe the endpoint of one model.

        Parameters
        ----------
        name : str
            Name of a served model.
        **options
            More arguments of `TritonEndpoint`. `auth_key_env` is None by default if the server has
            no key.

        Raises
        ------
        ConfigurationError
            If there is no such model or option.
        """
        key_env = None if self._auth_key is None else DEFAULT_KEY_ENV
        return endpoint_for(self.uri, name, self._models, {"auth_key_env": key_env, **options})

    def start(self) -> EmbeddedServer:
        """Start the server; it accepts requests when this returns.

        Raises
        ------
        ConfigurationError
            If the address is not available, if other machines could reach it without a key, or if
            the server is already running.
        MissingDependency
            If starlette or uvicorn is not installed.
        """
        with self._lock:
            if self._running is not None:
                raise ConfigurationError("this EmbeddedServer is already running; stop it first")
            # At exit Python waits for the threads of an executor; a daemon thread that returned
            # from C++ at that time would abort the process.
            executor = ThreadPoolExecutor(thread_name_prefix="hybridmodel-infer")
            server = self._make_server(executor)
            listener = _listen(self._host, self._port, anywhere=self._auth_key is not None)
            self._port = listener.getsockname()[1]
            name = f"hybridmodel-serve-{self._port}"
            thread = threading.Thread(target=server.run, args=([listener],), name=name, daemon=True)
            self._running = (server, thread, executor)
            thread.start()
        atexit.register(self.stop)
        try:
            while not server.started and thread.is_alive():
                time.sleep(_POLL_S)
        except BaseException:
            self.stop()
            raise
        if not server.started:
            self.stop()
            raise ConfigurationError("the embedded server ended during its start")
        return self

    def stop(self) -> None:
        """Stop listening and end connections; do nothing if the server is not running.

        Requests in progress have a second to finish; models that still run then cannot be stopped,
        and nobody gets their answers.
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
        """Wait until the server is stopped, or for Ctrl-C."""
        running = self._running
        while running is not None and running[1].is_alive():
            running[1].join(timeout=0.5)

    def __enter__(self) -> EmbeddedServer:
        return self if self._running is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = self.uri if self._running is not None else "not running"
        return f"EmbeddedServer({len(self._models)} models, {state})"

    def _make_server(self, executor: ThreadPoolExecutor) -> uvicorn.Server:
        with needed_for("the embedded server"):
            import uvicorn

            from hybridmodel.serving.app import make_app
            from hybridmodel.serving.connections import BoundedProtocol
        config = uvicorn.Config(
            make_app(self._models, executor, self._auth_key, self._host, self._limits),
            http=type("Connection", (BoundedProtocol,), {"limits": self._limits}),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        return uvicorn.Server(config)


def serve(
    models: Models,
    host: str = "127.0.0.1",
    port: int = 0,
    auth_key: str | None = None,
    limits: Limits | None = None,
) -> EmbeddedServer:
    """Start an `EmbeddedServer`: an endpoint in this process, for demos, tests and laptops.

    Parameters
    ----------
    models : dict
        Names, each with a path, bytes, HybridOnnxModel, or a dict of versions to these.
    host : str, default="127.0.0.1"
        Address to listen on.
    port : int, default=0
        Port to listen on; 0 takes a free one.
    auth_key : str, optional
        The bearer key that requests must carry; required if other machines can reach `host`.
    limits : Limits, optional
        What its clients may use.

    Returns
    -------
    EmbeddedServer
        A running server; end it with ``stop()``, or use it in a ``with`` statement.

    Raises
    ------
    ConfigurationError
        If a name, a version or the key is not valid, if the address is not available, or if other
        machines could reach it without a key.
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
        passive = socket.AI_PASSIVE
        found = socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM, 0, passive)
        address = str(found[0][4][0])
        if not anywhere and not ipaddress.ip_address(address).is_loopback:
            raise ConfigurationError(
                f"other machines can reach {host!r}, and requests need no key: give an auth_key "
                "(hybridmodel serve: --auth-key-env), or listen on 127.0.0.1"
            )
        listening = socket.create_server((address, port), family=family)
        # asyncio disables Nagle's delay (40 ms here) only for sockets that name their protocol.
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, listening.detach())
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigurationError(f"cannot listen on {host!r}, port {port}: {error}") from error
