"""The parts of a gateway by themselves: shares, keys, bandwidth, places, certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel.deploy.rehearsal import behaviours
from hybridmodel.deploy.rehearsal.bandwidth import Bandwidth
from hybridmodel.deploy.rehearsal.behaviours import BEHAVIOURS, Switches
from hybridmodel.deploy.rehearsal.certificates import bundle, make_context
from hybridmodel.deploy.rehearsal.keys import Keys
from hybridmodel.deploy.rehearsal.live import LiveDeployment
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.deploy.rehearsal.settings import Deployment, Endpoint, GatewayLimits
from hybridmodel.deploy.rehearsal.snapshot import Tally
from hybridmodel.deploy.rehearsal.traffic import Traffic, parse_shares
from hybridmodel.exceptions import ConfigurationError

NAMES = ("blue", "green", "red")


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Idle:
    """A server that is always there and never asked."""

    kind, models, key, address, is_running = "none", ("digits",), None, "", True

    def answers(self) -> bool:
        """Tell that it is there."""
        return True

    def start(self) -> None:
        """Do nothing."""

    stop = kill = start


def live(clock: Clock, *, concurrency: int = 1, without: tuple[str, ...] = ()) -> LiveDeployment:
    """Make a deployment whose new instances take a minute."""
    settings = Deployment(name="blue", models=Path(), concurrency=concurrency)
    switches = Switches(without)
    return LiveDeployment(settings, Idle(), switches=switches, clock=clock, scale_out_s=60.0)


shares = st.integers(0, 100).flatmap(
    lambda blue: st.integers(0, 100 - blue).map(
        lambda green: {"blue": blue, "green": green, "red": 100 - blue - green}
    )
)


@given(shares)
def test_every_hundredth_goes_to_its_share(given_shares: dict[str, int]) -> None:
    """Draws that are spread evenly reach each deployment exactly as often as its percents."""
    traffic = Traffic(NAMES, given_shares, {})
    drawn = [traffic.choose(lambda at=at: (at + 0.5) / 100) for at in range(100)]
    assert Counter(drawn) == Counter({name: n for name, n in given_shares.items() if n})


@given(st.integers(0, 50))
def test_the_mirror_gets_its_share(percent: int) -> None:
    """As many of a hundred evenly spread draws are copied as the mirror has percents."""
    traffic = Traffic(NAMES, {"blue": 100}, {"green": percent})
    copies = [traffic.copied_to(lambda at=at: (at + 0.5) / 100) for at in range(100)]
    assert copies.count("green") == percent


@pytest.mark.parametrize(
    ("traffic", "mirror", "words"),
    [
        ({"blue": 90}, {}, "adds up to 90 percent"),
        ({"blue": 60, "green": 50}, {}, "adds up to 110 percent"),
        ({"blue": 110, "green": -10}, {}, "a whole number from 0 to 100"),
        ({"blue": "100"}, {}, "a whole number from 0 to 100"),
        ({"blue": True, "green": 99}, {}, "a whole number from 0 to 100"),
        ({"yellow": 100}, {}, "there is no deployment 'yellow'; there are blue, green, red"),
        ([("blue", 100)], {}, "is a mapping of deployment to percent"),
        ({"blue": 100}, {"green": 51}, "at most 50 percent"),
        ({"blue": 100}, {"green": 5, "red": 5}, "copies requests to one deployment"),
        ({"blue": 100}, {"blue": 5}, "either live or a mirror"),
    ],
    ids=lambda value: str(value)[:30].replace(" ", ""),
)
def test_refused_shares(traffic: Any, mirror: Any, words: str) -> None:
    """Shares that Azure would refuse are refused, in words that say why."""
    with pytest.raises(ConfigurationError, match=words):
        Traffic(NAMES, traffic, mirror)


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (("blue=90", "green=10"), {"blue": 90, "green": 10}),
        (("blue=90 green=10",), {"blue": 90, "green": 10}),
        ((), {}),
        (("blue",), None),
        (("blue=ten",), None),
        (("blue=1", "blue=2"), None),
        (("blue=1000000000000",), None),
    ],
    ids=["words", "one text", "nothing", "no number", "no digits", "twice", "too long"],
)
def test_shares_as_text(words: tuple[str, ...], read: dict[str, int] | None) -> None:
    """Shares are written as Azure's command line takes them."""
    if read is not None:
        assert parse_shares(words, "traffic") == read
        return
    with pytest.raises(ConfigurationError, match="traffic"):
        parse_shares(words, "traffic")


@pytest.mark.parametrize(
    ("resource", "later_s", "problem"),
    [
        ("https://ml.azure.com", 0, None),
        ("https://ml.azure.com/.default", 3599, None),
        ("https://ml.azure.com", 3600, "expired"),
        ("https://management.azure.com/.default", 0, "another resource"),
    ],
    ids=["fresh", "as scope", "expired", "of the management"],
)
def test_tokens(resource: str, later_s: float, problem: str | None) -> None:
    """A token is good for endpoints, and for an hour."""
    clock = Clock()
    keys = Keys("aad_token", Switches(), 3600, clock)
    token = keys.token(resource)
    clock.now += later_s
    said = keys.problem(f"Bearer {token.token}")
    assert said is None if problem is None else problem in (said or "")
    assert token.token not in repr((token, keys))


@pytest.mark.parametrize("change", ["longer", "other", "cut", "empty", "odd"])
def test_tokens_cannot_be_made_up(change: str) -> None:
    """Another date, a signature of another rehearsal, or anything else is refused."""
    keys = Keys("aad_token", Switches(), 3600)
    token = keys.token().token
    word, date, rest = token.split(".", 2)
    forged = {
        "longer": f"{word}.{int(date) + 1}.{rest}",
        "other": Keys("aad_token", Switches(), 3600).token().token,
        "cut": token[:-1],
        "empty": "",
        "odd": "\xe9.\xe9",
    }[change]
    assert keys.problem(f"Bearer {forged}") == "the token is not valid"


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=30))
def test_bandwidth_is_never_exceeded(sizes: list[int]) -> None:
    """Bytes that wait as long as they are told pass at the given rate at most."""
    clock = Clock()
    bandwidth = Bandwidth(1_000_000, clock)
    for size in sizes:
        clock.now += bandwidth.delay_s(size)
    assert clock.now - 1000.0 >= sum(sizes) / 1_000_000 - 0.0101


def test_places_are_twice_the_turns() -> None:
    """A deployment gives out two places for each request that the model gets at a time."""

    async def story() -> None:
        one = live(Clock(), concurrency=2)
        assert [one.enter() for _ in range(5)] == [True] * 4 + [False]
        turns = [asyncio.create_task(one.take_turn()) for _ in range(4)]
        await asyncio.sleep(0)
        assert [turn.done() for turn in turns] == [True, True, False, False]
        turns[2].cancel()
        await asyncio.sleep(0)
        one.give_turn()
        await asyncio.sleep(0)
        assert turns[3].done(), "the one that was cancelled is passed over"
        one.leave()
        assert one.enter()

    asyncio.run(story())


def test_more_instances_take_their_time() -> None:
    """Instances that are asked for count after the time of a scale-out, fewer ones at once."""
    clock = Clock()
    one = live(clock)
    assert one.scale(3) == 60.0
    assert one.limit == 2
    assert one.snapshot(0, 0).instances_in_s == 60.0
    clock.now += 60
    assert one.limit == 6
    assert one.scale(1) == 0.0
    assert one.limit == 2
    assert live(clock, without=("slow-scale-out",)).scale(3) == 0.0


@pytest.mark.parametrize("name", ["pending-429", "queue"])
def test_limits_can_be_switched_off(name: str) -> None:
    """Without its name, neither places nor turns are counted."""

    async def story() -> None:
        one = live(Clock(), without=(name,))
        places = [one.enter() for _ in range(9)]
        assert all(places) == (name == "pending-429")
        turns = [asyncio.create_task(one.take_turn()) for _ in range(9)]
        await asyncio.sleep(0)
        assert all(turn.done() for turn in turns) == (name == "queue")
        for turn in turns:
            turn.cancel()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.hang("pink"), "no deployment 'pink'; there are blue"),
        (lambda one: one.slow("blue", -1), "delay_s is a positive number"),
        (lambda one: one.scale("blue", 51), "instances is a whole number from 1 to 50"),
        (lambda one: one.scale("blue", "2"), "instances is a whole number from 1 to 50"),
        (lambda one: one.set_traffic({"blue": 1}), "adds up to 1 percent"),
        (lambda one: one.set_mirror({"blue": 1}), "either live or a mirror"),
    ],
    ids=["name", "delay", "instances", "text", "traffic", "mirror"],
)
def test_refused_changes(change: Any, words: str) -> None:
    """A change that cannot be is refused, and changes nothing."""
    settings = Endpoint(
        name="e", deployments=(Deployment(name="blue", models=Path()),), traffic={"blue": 100}
    )
    endpoint = LiveEndpoint(settings, {"blue": Idle()}, Switches(), GatewayLimits(), Clock())
    before = endpoint.snapshot()
    with pytest.raises(ConfigurationError, match=words):
        change(endpoint)
    assert endpoint.snapshot() == before


def test_rate_is_of_one_second() -> None:
    """The limit counts what was taken in the last second, and neither older nor refused."""
    clock = Clock()
    settings = Endpoint(name="e", deployments=(Deployment(name="blue", models=Path()),))
    limits = GatewayLimits(requests_per_s=2, connections_per_s=2, connections=9)
    endpoint = LiveEndpoint(settings, {"blue": Idle()}, Switches(), limits, clock)
    assert [endpoint.arrived() for _ in range(9)] == [True] * 2 + [False] * 7
    assert [endpoint.connected() for _ in range(9)] == [True] * 2 + [False] * 7
    clock.now += 1.01
    assert [endpoint.arrived() for _ in range(3)] == [True, True, False]
    assert [endpoint.connected() for _ in range(3)] == [True, True, False]


def test_latencies() -> None:
    """The latest thousand times are told by their quantiles."""
    tally = Tally()
    assert tally.latency().median_s is None
    for number in range(2000):
        tally.add(200, number / 1000)
    seen = tally.latency()
    assert (seen.count, seen.median_s, seen.p99_s, seen.max_s) == (1000, 1.5, 1.99, 1.999)
    assert tally.codes() == {"200": 2000}


def test_authority_vouches_for_this_machine_alone(tmp_path: Path) -> None:
    """The authority is constrained to loopback, its key is nowhere, and the file has no secret."""
    from cryptography import x509

    file = tmp_path / "ca.pem"
    assert make_context(file).minimum_version == ssl.TLSVersion.TLSv1_2
    assert b"PRIVATE" not in file.read_bytes()
    found = x509.load_pem_x509_certificate(file.read_bytes())
    constraints = found.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    permitted = {str(name.value) for name in constraints.value.permitted_subtrees or ()}
    assert permitted == {"localhost", "127.0.0.0/8", "::1/128"}
    assert list(tmp_path.iterdir()) == [file]
    known = tmp_path / "known"
    known.mkdir()
    (known / "other.pem").write_bytes(b"OTHER")
    assert bundle(file, str(known)) == b"OTHER\n" + file.read_bytes()
    assert bundle(file, None).endswith(file.read_bytes())


def test_without_cryptography(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, the error names the extra that brings it."""
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(ImportError, match=r"hybridmodel\[deploy\]"):
        make_context(tmp_path / "ca.pem")


def test_the_table_of_behaviours() -> None:
    """Each behaviour has a name of its own and a ground, and unknown names are refused."""
    assert len(set(behaviours.NAMES)) == len(BEHAVIOURS)
    assert all(one.ground and one.what for one in BEHAVIOURS)
    assert behaviours.table().count("\n") == len(BEHAVIOURS) + 1
    with pytest.raises(ConfigurationError, match="there is no behaviour 'x'"):
        Switches(["x"])
