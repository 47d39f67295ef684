"""Shifting traffic: steps, what ends one, and the way back; without servers and without time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from hybridmodel.deploy.shifting import Plan, Shift
from hybridmodel.exceptions import ConfigurationError

NAMES = ("blue", "green")


class Endpoint:
    """An endpoint's controls, and its clock: each look takes a second, in which ten answer."""

    def __init__(self, traffic: Mapping[str, int] | None = None, requests: int = 10) -> None:
        self.now_s = 0.0
        self.told: list[str] = []
        self.said: list[tuple[str, dict[str, int]]] = []
        self.requests = requests
        self.at: dict[float, Callable[[], None]] = {}
        self.seen: dict[str, Any] = {
            "traffic": {"blue": 100, "green": 0, **(traffic or {})},
            "mirror": {},
            "deployments": [
                {"name": name, "codes": {}, "model_codes": {}} for name in (*NAMES, "red")
            ],
        }

    def snapshot(self) -> Mapping[str, Any]:
        """Return a copy, as what is sent is one."""
        return copy.deepcopy(self.seen)

    def set_traffic(self, shares: Mapping[str, int]) -> None:
        """Share the requests anew."""
        self.said.append(("traffic", dict(shares)))
        self.seen["traffic"] = {**dict.fromkeys(self.seen["traffic"], 0), **shares}

    def set_mirror(self, mirror: Mapping[str, int]) -> None:
        """Copy requests."""
        self.said.append(("mirror", dict(mirror)))
        self.seen["mirror"] = dict(mirror)

    def add(self, name: str, code: str, count: int = 1, *, model: str | None = None) -> None:
        """Count answers of a deployment; `model` is what the model itself said."""
        one = next(one for one in self.seen["deployments"] if one["name"] == name)
        one["codes"][code] = one["codes"].get(code, 0) + count
        if model is not None:
            one["model_codes"][model] = one["model_codes"].get(model, 0) + count

    def sleep(self, _: float) -> None:
        """Let a second pass."""
        self.now_s += 1.0
        for name in NAMES:
            if count := self.requests * self.seen["traffic"][name] // 100:
                self.add(name, "200", count, model="200")
        self.at.get(self.now_s, lambda: None)()

    def shift(self, **plan: Any) -> Shift:
        """Make what is tested; steps take two seconds."""
        plan = {"hold_s": 2.0, **plan}
        return Shift(
            self,
            *NAMES,
            Plan(**plan),
            tell=self.told.append,
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )


def test_all_goes_well() -> None:
    """The mirror comes first and ends before live traffic; then come the steps."""
    endpoint = Endpoint()
    steps = endpoint.shift().run()
    assert endpoint.said == [
        ("mirror", {"green": 10}),
        ("mirror", {}),
        ("traffic", {"blue": 90, "green": 10}),
        ("traffic", {"blue": 50, "green": 50}),
        ("traffic", {"blue": 0, "green": 100}),
    ]
    assert [(step.kind, step.percent) for step in steps] == [
        ("mirror", 10),
        ("traffic", 10),
        ("traffic", 50),
        ("traffic", 100),
    ]
    assert not any(step.problem for step in steps)
    assert all(step.ended_s - step.began_s == 2 for step in steps)
    assert steps[2].codes == {"blue": {"200": 10}, "green": {"200": 10}}
    assert endpoint.told[-1] == "traffic blue=0 green=100"


@pytest.mark.parametrize(
    ("code", "model", "is_error"),
    [
        ("424", "503", True),
        ("424", "dead", True),
        ("424", "404", True),
        ("424", "400", False),
        ("408", None, True),
        ("429", None, True),
        ("413", None, False),
    ],
    ids=["503", "dead", "404", "400 of a caller", "408", "429", "413 of a caller"],
)
def test_errors_shift_back(code: str, model: str | None, is_error: bool) -> None:
    """Whatever the new deployment fails with takes its traffic away; a bad request does not."""
    endpoint = Endpoint()
    # The mirror takes two seconds, ten percent two, and this is in the midst of fifty.
    endpoint.at[5.0] = lambda: endpoint.add("green", code, model=model)
    steps = endpoint.shift().run()
    if not is_error:
        assert steps[-1].percent == 100
        return
    last = steps[-1]
    assert (last.percent, last.ended_s - last.began_s) == (50, 1)
    assert last.failed == {model or code: 1}
    assert last.problem == f"green answered with errors: 1 x {model or code}"
    assert endpoint.said[-1] == ("traffic", {"blue": 100})
    assert "shifted back" in endpoint.told[-1]


def test_errors_of_the_old_one_do_not_shift_back() -> None:
    """The new deployment is not blamed for the other."""
    endpoint = Endpoint()
    endpoint.at[3.0] = lambda: endpoint.add("blue", "424", 9, model="503")
    assert endpoint.shift().run()[-1].percent == 100


def test_errors_that_do_not_matter() -> None:
    """So many as the plan says are not enough."""
    endpoint = Endpoint()
    endpoint.at[3.0] = lambda: endpoint.add("green", "424", 2, model="503")
    assert endpoint.shift(errors=2).run()[-1].percent == 100
    strict = Endpoint()
    strict.at[3.0] = lambda: strict.add("green", "424", 2, model="503")
    assert strict.shift(errors=1).run()[-1].percent == 10


def test_errors_of_mirrored_copies() -> None:
    """A deployment that fails on copies never gets live traffic."""
    endpoint = Endpoint()
    endpoint.at[1.0] = lambda: endpoint.seen["deployments"][1]["model_codes"].update({"500": 3})
    (step,) = endpoint.shift().run()
    assert (step.kind, step.failed) == ("mirror", {"500": 3})
    assert step.codes["green"] == {"500": 3}
    assert endpoint.seen["mirror"] == {}
    assert endpoint.seen["traffic"]["green"] == 0


def test_too_few_answers() -> None:
    """A step waits for the answers that it must have, but not for ever."""
    endpoint = Endpoint(requests=10)
    steps = endpoint.shift(mirror=0, answers=5, patience_s=20.0).run()
    assert [step.ended_s - step.began_s for step in steps] == [5, 2, 2]
    silent = Endpoint(requests=0)
    (step,) = silent.shift(mirror=0, answers=5, patience_s=20.0).run()
    assert step.problem == "green gave 0 answers in 20 s, not 5"
    assert silent.seen["traffic"]["green"] == 0


def test_a_rollout_that_has_begun() -> None:
    """A deployment with traffic is not mirrored to, and steps behind it are passed by."""
    endpoint = Endpoint({"blue": 80, "green": 20})
    steps = endpoint.shift().run()
    assert [(step.kind, step.percent) for step in steps] == [("traffic", 50), ("traffic", 100)]


def test_the_mirror_of_another_one_stays() -> None:
    """Only the mirror of the new deployment is ended."""
    endpoint = Endpoint()
    endpoint.seen["mirror"] = {"red": 5}
    endpoint.shift(mirror=0).run()
    assert endpoint.seen["mirror"] == {"red": 5}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigurationError, RuntimeError])
def test_an_interrupt_leaves_the_traffic_as_it_was(error: type[BaseException]) -> None:
    """Whatever ends it from outside undoes what was begun."""
    endpoint = Endpoint({"blue": 95, "green": 5})

    def interrupt() -> None:
        raise error

    endpoint.at[1.0] = interrupt
    with pytest.raises(error):
        endpoint.shift().run()
    assert endpoint.seen["traffic"] == {"blue": 95, "green": 5}


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        ({"blue": 0, "green": 100}, "green has 100 percent of the traffic already"),
        ({"blue": 50, "red": 50}, "the traffic is blue=50 green=0 red=50"),
        ({"blue": 0}, "shifted where blue and green have all"),
    ],
    ids=["there already", "a third one", "none"],
)
def test_traffic_that_cannot_be_shifted(traffic: dict[str, int], words: str) -> None:
    """What is not between the two is refused before anything is asked."""
    with pytest.raises(ConfigurationError, match=words):
        Endpoint(traffic).shift().check()


def test_names_that_cannot_be() -> None:
    """A deployment that is not there is named, and one does not replace itself."""
    endpoint = Endpoint()
    with pytest.raises(ConfigurationError, match="no deployment pink; there are blue, green"):
        Shift(endpoint, "blue", "pink", Plan()).check()
    with pytest.raises(ConfigurationError, match="over itself"):
        Shift(endpoint, "blue", "blue", Plan()).check()


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": ()},
        {"steps": (50, 10)},
        {"steps": (10, 10)},
        {"steps": (0, 100)},
        {"steps": (10, 101)},
        {"steps": (10.5,)},
        {"mirror": 51},
        {"hold_s": -1},
        {"answers": -1},
        {"patience_s": 0},
        {"look_s": "1"},
    ],
    ids=str,
)
def test_plans_that_cannot_be(wrong: dict[str, Any]) -> None:
    """They are refused by name."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Plan(**wrong)
