"""What a load costs at the three kinds of endpoint: by the instance hour, the job and the token.

Arithmetic only: prices and speeds are the caller's. Costs have the unit of the prices.

>>> load = Load(rows_per_day=1_000_000, tokens_per_row=100)
>>> machine = Machine(price_per_hour=0.3, rows_per_s=50)
>>> costs = [online(load, machine), batch(load, machine), serverless(load, per_million_tokens=0.1)]
>>> [f"{cost.kind} {cost.per_day:.2f}" for cost in costs]
['online 7.20', 'batch 1.72', 'serverless 10.00']
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hybridmodel.checks import as_float, check_count, check_rate, check_tolerance, shown
from hybridmodel.exceptions import ConfigurationError

_DAY_S = 86_400.0
_DAY_HOURS = 24.0
_DAY_MINUTES = 1_440.0
_MILLION = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The rows of a day.

    Parameters
    ----------
    rows_per_day : float
    peak : float, default=3.0
        The busiest second, as a multiple of the average one.
    jobs_per_day : float, default=1.0
        In how many jobs they come, where they come in jobs.
    tokens_per_row : float, default=0.0

    Raises
    ------
    ConfigurationError
        If a number cannot be.
    """

    rows_per_day: float
    peak: float = 3.0
    jobs_per_day: float = 1.0
    tokens_per_row: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rows_per_day", "tokens_per_row"):
            check_tolerance(name, getattr(self, name))
        _check_positive("jobs_per_day", self.jobs_per_day)
        if not 1 <= as_float(self.peak) < math.inf:
            raise ConfigurationError(f"peak is a number from 1 up, not {shown(self.peak)}")

    def sent(self, share: float) -> Load:
        """Return what is left where a cascade or a budget sends a share of the rows."""
        return replace(self, rows_per_day=self.rows_per_day * check_rate("share", share))


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that answers rows.

    Parameters
    ----------
    price_per_hour : float
    rows_per_s : float
        As many as it answers when it has enough to do: `hybridmodel rehearse` and a benchmark tell.

    Raises
    ------
    ConfigurationError
        If a number cannot be.
    """

    price_per_hour: float
    rows_per_s: float

    def __post_init__(self) -> None:
        check_tolerance("price_per_hour", self.price_per_hour)
        _check_positive("rows_per_s", self.rows_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a load costs at one kind of endpoint.

    Attributes
    ----------
    kind : str
        ``"online"``, ``"batch"`` or ``"serverless"``.
    per_day : float
    per_million_rows : float
        Infinite for no rows, where something is paid all the same.
    machines : int
        That run at a time; 0 where none is the caller's.
    job_s : float
        How long a job takes, in seconds; 0 where there is none.
    """

    kind: str
    per_day: float
    per_million_rows: float
    machines: int = 0
    job_s: float = 0.0


def online(load: Load, machine: Machine, *, least: int = 1, most_busy: float = 0.7) -> Cost:
    """Return what an online endpoint costs, whose machines run all day.

    Parameters
    ----------
    load : Load
    machine : Machine
    least : int, default=1
        Machines that run whatever the load is; an online endpoint does not scale to zero.
    most_busy : float, default=0.7
        Share of the machines' speed that the busiest second may need.
    """
    capacity = _capacity(machine, least, most_busy)
    needed = load.rows_per_day / _DAY_S * load.peak / capacity
    if not needed < math.inf:
        raise ConfigurationError("the load is too large, or the machine too slow, for a number")
    machines = max(least, math.ceil(needed))
    return _cost("online", load, machines * _DAY_HOURS * machine.price_per_hour, machines)


def batch(
    load: Load,
    machine: Machine,
    *,
    machines: int = 1,
    besides_s: float = 600.0,
    repeated: float = 0.0,
) -> Cost:
    """Return what a batch endpoint costs, whose cluster scales to zero between jobs.

    Parameters
    ----------
    load : Load
    machine : Machine
        Its price is that of low priority, where that is used.
    machines : int, default=1
        That a job runs on.
    besides_s : float, default=600.0
        For how long each is paid before and after its work: preparing, and waiting to be released.
    repeated : float, default=0.0
        Share of the work that is done again, where low priority takes machines away.
    """
    check_count("machines", machines, 1, 10_000)
    work_s = load.rows_per_day / load.jobs_per_day / machine.rows_per_s
    work_s *= 1 + check_tolerance("repeated", repeated)
    besides_s = check_tolerance("besides_s", besides_s)
    paid_s = load.jobs_per_day * (work_s + machines * besides_s)
    job_s = work_s / machines + besides_s
    cost = _cost("batch", load, paid_s / 3600 * machine.price_per_hour, machines)
    return replace(cost, job_s=job_s)


def serverless(load: Load, *, per_million_tokens: float, per_minute: float = 0.0) -> Cost:
    """Return what a serverless endpoint costs, which is paid by the token.

    Parameters
    ----------
    load : Load
    per_million_tokens : float
        Price of a million tokens.
    per_minute : float, default=0.0
        What the endpoint itself costs.
    """
    tokens = load.rows_per_day * load.tokens_per_row
    used = tokens / _MILLION * check_tolerance("per_million_tokens", per_million_tokens)
    return _cost(
        "serverless", load, used + _DAY_MINUTES * check_tolerance("per_minute", per_minute)
    )


def rows_to_break_even(
    load: Load,
    machine: Machine,
    *,
    per_million_tokens: float,
    least: int = 1,
    most_busy: float = 0.7,
) -> float | None:
    """Return the fewest rows a day for which machines that run all day cost no more than tokens.

    With more rows than these machines take, the next one has to be filled first. None where they
    never do, because a busy machine costs more than the tokens that it saves.
    """
    price = load.tokens_per_row / _MILLION
    price *= check_tolerance("per_million_tokens", per_million_tokens)
    capacity = _capacity(machine, least, most_busy) * _DAY_S / load.peak
    if not price:
        return None
    rows = _DAY_HOURS * machine.price_per_hour / price
    # By a hair less, since `online` rounds up.
    return least * rows if rows <= capacity * (1 - 1e-9) else None


def _capacity(machine: Machine, least: int, most_busy: float) -> float:
    """Return the rows a second for which one of at least so many machines is meant."""
    check_count("least", least, 1, 10_000)
    return machine.rows_per_s * check_rate("most_busy", most_busy, zero=False)


def _cost(kind: str, load: Load, per_day: float, machines: int = 0) -> Cost:
    rows = load.rows_per_day
    each = per_day / rows * _MILLION if rows else math.inf if per_day else 0.0
    return Cost(kind=kind, per_day=per_day, per_million_rows=each, machines=machines)


def _check_positive(name: str, value: float) -> None:
    if not 0 < as_float(value) < math.inf:
        raise ConfigurationError(f"{name} is a number above 0, not {shown(value)}")
