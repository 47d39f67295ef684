"""A rehearsal from its start to its end: servers, gateway, controls, and files of its own."""

from __future__ import annotations

import atexit
import os
import shlex
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from hybridmodel.deploy.rehearsal.behaviours import Switches
from hybridmodel.deploy.rehearsal.certificates import bundle, make_context
from hybridmodel.deploy.rehearsal.control import Address, held, page_link, write_address
from hybridmodel.deploy.rehearsal.environment import CA_NAMES, variables
from hybridmodel.deploy.rehearsal.folder import read_endpoint
from hybridmodel.deploy.rehearsal.jobs.queue import Jobs
from hybridmodel.deploy.rehearsal.keys import Keys, Token
from hybridmodel.deploy.rehearsal.listening import Listening, listen
from hybridmodel.deploy.rehearsal.live import Server
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.deploy.rehearsal.servers import make_server, start_all, stop_all
from hybridmodel.deploy.rehearsal.settings import GatewayLimits
from hybridmodel.deploy.rehearsal.snapshot import Snapshot
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.remote.endpoint import TritonEndpoint

T = TypeVar("T")


class Rehearsal:
    """A managed online endpoint of Azure on this machine, for one exported folder.

    `rehearse` makes one. Every change that Azure would refuse raises `ConfigurationError`.

    Parameters
    ----------
    folder : str or path
        What ``hybridmodel export`` wrote.
    port : int, default=0
        Port of ``https://localhost``; 0 takes a free one.
    traffic, mirror : mapping of str to int, optional
        Percent for each deployment at the start; default is all for the first, and no mirror.
    without : iterable of str, default=()
        Names of behaviours to switch off (`hybridmodel.deploy.rehearsal.behaviours`).
    limits : GatewayLimits, optional
        Azure's numbers by default.
    server : str, default="auto"
        ``triton``, ``embedded``, or ``auto``: Triton where it runs.
    data : str or path, default="."
        Jobs of a batch endpoint read and write below this folder only.

    Raises
    ------
    ConfigurationError
        If the folder is no export, or something is named that there is not.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        port: int = 0,
        traffic: Mapping[str, int] | None = None,
        mirror: Mapping[str, int] | None = None,
        without: Iterable[str] = (),
        limits: GatewayLimits | None = None,
        server: str = "auto",
        data: str | os.PathLike[str] = ".",
    ) -> None:
        self.folder = Path(folder)
        self._port, self._data = port, Path(data).absolute()
        switches, self._limits = Switches(without), limits or GatewayLimits()
        self._settings = read_endpoint(self.folder, traffic=traffic, mirror=mirror)
        self._servers: dict[str, Server] = {
            one.name: make_server(one.models, server) for one in self._settings.deployments
        }
        self._keys = Keys(self._settings.auth_mode, switches, self._limits.token_s)
        self._live = LiveEndpoint(self._settings, self._servers, switches, self._limits)
        self._listening: Listening | None = None
        self._address: Address | None = None
        self._identity = ""
        self._files = Path()
        self._stack = ExitStack()

    @property
    def uri(self) -> str:
        """Address of the endpoint; empty before the start."""
        return self._live.uri

    @property
    def authority(self) -> Path:
        """File with the authority that vouches for the address, in PEM."""
        return self._files / "ca.pem"

    @property
    def deployments(self) -> tuple[str, ...]:
        """Names of the deployments."""
        return tuple(self._servers)

    @property
    def uses_tokens(self) -> bool:
        """Whether the endpoint takes tokens, and no key."""
        return self._keys.auth_mode != "key"

    def credential(self) -> str | Token:
        """Return the key, or a new token; to be given as ``credential=rehearsal.credential``."""
        return self._keys.token() if self.uses_tokens else self._keys.primary

    def endpoint(self, model_name: str, **options: Any) -> TritonEndpoint:
        """Describe the endpoint of one model, for use with `credential` in this process.

        Parameters
        ----------
        model_name : str
            Name of its folder in the repository.
        **options
            More arguments of `TritonEndpoint`, such as ``deployment="green"``.
        """
        given = {"auth_key_env": None, "ca_bundle": str(self.authority), **options}
        return TritonEndpoint(uri=self.uri, model_name=model_name, **given)

    def environment(self, hosts: Iterable[str] = ()) -> dict[str, str]:
        """Return the variables by which another program asks the rehearsal, and trusts it.

        Parameters
        ----------
        hosts : iterable of str
            The hosts that the program believes it asks, such as
            ``name.region.inference.ml.azure.com``.

        Raises
        ------
        ConfigurationError
            If no variable can redirect a host.
        """
        known = next(filter(None, map(os.environ.get, CA_NAMES)), None)
        trusted = self._files / "bundle.pem"
        trusted.write_bytes(bundle(self.authority, known))
        identity = None
        if self.uses_tokens and self._address is not None:
            identity = (f"{self._address.url}/identity", self._identity)
        given = self.credential()
        key = given if isinstance(given, str) else given.token
        return variables(hosts, uri=self.uri, key=key, bundle=trusted, identity=identity)

    def write_environment(self, hosts: Iterable[str] = ()) -> Path:
        """Write a shell script that sets `environment`, for this user only; return the file.

        It is removed at the end.
        """
        lines = [
            f"export {name}={shlex.quote(value)}\n"
            for name, value in self.environment(hosts).items()
        ]
        file = self._files / "environment.sh"
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.writelines(lines)
        return file

    def page(self) -> str:
        """Return a link to the page that shows it, which works once; keep it out of logs."""
        listening, address = self._listening, self._address
        if listening is None or address is None:
            raise ConfigurationError("this rehearsal is not running; start it first")

        async def link() -> str:
            return listening.admin.page.passes.link()

        return page_link(address.url, self._await(link()))

    def snapshot(self) -> Snapshot:
        """Return what can be seen of it now."""
        return self._do(lambda live: live.snapshot())

    def set_traffic(self, shares: Mapping[str, int]) -> None:
        """Share the requests anew, in percent; deployments left out get none."""
        self._do(lambda live: live.set_traffic(shares))

    def set_mirror(self, mirror: Mapping[str, int]) -> None:
        """Copy up to 50 percent of the requests to one deployment; an empty mapping ends it."""
        self._do(lambda live: live.set_mirror(mirror))

    def kill(self, name: str) -> None:
        """End a deployment's server at once, like a crash (SIGKILL)."""
        self._await(self._live.kill(name))

    def hang(self, name: str) -> None:
        """Let a deployment accept requests and answer none."""
        self._do(lambda live: live.hang(name))

    def slow(self, name: str, delay_s: float) -> None:
        """Let a deployment take so many seconds longer for each request; 0 ends it."""
        self._do(lambda live: live.slow(name, delay_s))

    def revive(self, name: str) -> None:
        """End what `hang` and `slow` began, and start the server if it is dead."""
        self._await(self._live.revive(name))

    def scale(self, name: str, instances: int) -> float:
        """Ask for another number of instances; return the seconds until they count."""
        return self._do(lambda live: live.scale(name, instances))

    def set_default(self, name: str) -> None:
        """Let jobs that name no deployment run on another one."""
        self._do(lambda live: live.batch_jobs().set_default(name))

    def evict(self, job: str) -> None:
        """Take the machine of a running job away, as Azure does with cheap ones."""
        self._do(lambda live: live.batch_jobs().evict(job))

    def cancel(self, job: str) -> None:
        """End a job; what is finished of its output stays."""
        self._do(lambda live: live.batch_jobs().cancel(job))

    def start(self) -> Rehearsal:
        """Start everything; it answers requests when this returns.

        Raises
        ------
        ConfigurationError
            If the port is taken, the folder is rehearsed already, or a server does not start.
        MissingDependency
            Without the library cryptography.
        """
        if self._listening is not None:
            raise ConfigurationError("this rehearsal is already running; stop it first")
        with ExitStack() as stack:
            self._files = stack.enter_context(held(self.folder))
            context = make_context(self.authority)
            socket = stack.enter_context(listen(self._port))
            stack.callback(stop_all, tuple(self._servers.values()))
            start_all(tuple(self._servers.values()))
            self._live.jobs = self._jobs()
            self._listening = Listening(self._live, self._keys, socket, context)
            stack.callback(self._close)
            self._listening.start()
            self._address = Address(self._listening.admin_port, self._listening.admin.token)
            self._identity = self._listening.admin.identity
            write_address(self._files, self._address)
            atexit.register(self.stop)
            self._stack = stack.pop_all()
        return self

    def stop(self) -> None:
        """End everything, and remove its files; do nothing if it is not running."""
        atexit.unregister(self.stop)
        self._stack.close()

    def wait(self) -> None:
        """Wait until it is stopped, or for Ctrl-C."""
        if self._listening is not None:
            self._listening.wait()

    def __enter__(self) -> Rehearsal:
        return self if self._listening is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = self.uri if self._listening is not None else "not running"
        return f"Rehearsal({str(self.folder)!r}, {state})"

    def _jobs(self) -> Jobs | None:
        """Make the jobs of a batch endpoint, and a folder for what nobody else keeps of them."""
        batch = self._settings.batch
        if batch is None:
            return None
        home = self._files / "jobs"
        home.mkdir(exist_ok=True, mode=0o700)
        return Jobs(batch, self._data, home)

    def _do(self, change: Callable[[LiveEndpoint], T]) -> T:
        async def in_loop() -> T:
            return change(self._live)

        return self._await(in_loop())

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        if self._listening is None:
            work.close()
            raise ConfigurationError("this rehearsal is not running; start it first")
        return self._listening.run(work)

    def _close(self) -> None:
        listening, self._listening, self._address = self._listening, None, None
        if listening is not None:
            listening.stop()


def rehearse(
    folder: str | os.PathLike[str],
    *,
    port: int = 0,
    traffic: Mapping[str, int] | None = None,
    mirror: Mapping[str, int] | None = None,
    without: Iterable[str] = (),
    limits: GatewayLimits | None = None,
    server: str = "auto",
    data: str | os.PathLike[str] = ".",
) -> Rehearsal:
    """Start a `Rehearsal`: what an exported folder becomes on Azure, on this machine.

    Takes and raises what `Rehearsal` and `Rehearsal.start` do.

    Returns
    -------
    Rehearsal
        It is running; end it with ``stop()``, or use it in a ``with`` statement.

    Examples
    --------
    >>> with rehearse("digits-endpoint") as rehearsal:  # doctest: +SKIP
    ...     endpoint = rehearsal.endpoint("digits", deployment="green")
    ...     model = HybridOnnxModel(
    ...         "digits_small.onnx", endpoint=endpoint, credential=rehearsal.credential
    ...     )
    ...     rehearsal.set_traffic({"blue": 90, "green": 10})
    """
    return Rehearsal(
        folder,
        port=port,
        traffic=traffic,
        mirror=mirror,
        without=without,
        limits=limits,
        server=server,
        data=data,
    ).start()
