"""How requests are shared among deployments, and which are copied to another one. No I/O."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError

Draw = Callable[[], float]
"""Gives a number from 0, below 1."""

MOST_MIRRORED = 50
"""Percent."""


class Traffic:
    """Shares of the traffic and of the mirror, in percent; never changes.

    Parameters
    ----------
    names : collection of str
        The deployments.
    shares : mapping
        Deployment to percent; they add up to 100, or to 0. Those left out have none.
    mirror : mapping
        One deployment without traffic of its own to at most 50 percent, or nothing.

    Raises
    ------
    ConfigurationError
        If Azure would not take them.
    """

    def __init__(
        self, names: Collection[str], shares: Mapping[str, Any], mirror: Mapping[str, Any]
    ) -> None:
        self._names = tuple(names)
        given = _checked(self._names, shares, "traffic")
        self.shares = {name: given.get(name, 0) for name in self._names}
        self.mirror = {
            name: percent
            for name, percent in _checked(self._names, mirror, "mirror").items()
            if percent
        }
        self._check_sum()
        self._check_mirror()
        self._live = tuple(name for name, percent in self.shares.items() if percent)

    def with_shares(self, shares: Mapping[str, Any]) -> Traffic:
        """Return other shares with the same mirror."""
        return Traffic(self._names, shares, self.mirror)

    def with_mirror(self, mirror: Mapping[str, Any]) -> Traffic:
        """Return another mirror with the same shares."""
        return Traffic(self._names, self.shares, mirror)

    def choose(self, draw: Draw = random.random) -> str | None:
        """Return a deployment, None where none has a share."""
        if len(self._live) < 2:
            return self._live[0] if self._live else None
        drawn = 100 * draw()
        for name in self._live:
            drawn -= self.shares[name]
            if drawn < 0:
                return name
        return self._live[-1]

    def copied_to(self, draw: Draw = random.random) -> str | None:
        """Return the deployment that a request is copied to, None for most requests."""
        for name, percent in self.mirror.items():
            if 100 * draw() < percent:
                return name
        return None

    def _check_sum(self) -> None:
        total = sum(self.shares.values())
        if total not in (0, 100):
            said = " ".join(f"{name}={percent}" for name, percent in self.shares.items())
            raise ConfigurationError(
                f"traffic {said} adds up to {total} percent; Azure takes 100, or 0 for no traffic"
            )

    def _check_mirror(self) -> None:
        if len(self.mirror) > 1:
            raise ConfigurationError(
                f"mirror names {', '.join(self.mirror)}; Azure copies requests to one deployment"
            )
        for name, percent in self.mirror.items():
            if percent > MOST_MIRRORED:
                raise ConfigurationError(
                    f"mirror {name}={percent}: Azure copies at most {MOST_MIRRORED} percent"
                )
            if self.shares[name]:
                raise ConfigurationError(
                    f"{name} has {self.shares[name]} percent of the traffic, and a deployment is "
                    "either live or a mirror; set the other to 0 first"
                )


def parse_shares(words: Collection[str], what: str) -> dict[str, int]:
    """Read ``blue=90 green=10``, as ``az ml online-endpoint update`` takes it.

    Raises `ConfigurationError` for anything else.
    """
    shares: dict[str, int] = {}
    for word in " ".join(words).split():
        name, equals, percent = word.partition("=")
        if not equals or not percent.isascii() or not percent.isdigit() or len(percent) > 3:
            raise ConfigurationError(
                f"{what} is written as blue=90 green=10, in whole percent; {shown(word)} is not"
            )
        if name in shares:
            raise ConfigurationError(f"{what} names {name} twice")
        shares[name] = int(percent)
    return shares


def _checked(names: Collection[str], given: Mapping[str, Any], what: str) -> dict[str, int]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{what} is a mapping of deployment to percent, not {shown(given)}"
        )
    for name, percent in given.items():
        if name not in names:
            raise ConfigurationError(
                f"{what}: there is no deployment {shown(name)}; there are {', '.join(names)}"
            )
        if type(percent) is not int or not 0 <= percent <= 100:
            raise ConfigurationError(
                f"{what} {name}={shown(percent)}: a whole number from 0 to 100 is expected"
            )
    return dict(given)
