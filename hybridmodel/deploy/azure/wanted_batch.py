"""What the caller wants of a batch endpoint, checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

from hybridmodel.checks import check_count, shown
from hybridmodel.exceptions import ConfigurationError

LOW_PRIORITY, DEDICATED = "low_priority", "dedicated"
TIERS = (LOW_PRIORITY, DEDICATED)
"""Whether Azure may take machines back, which makes them cheap, or not."""

_MOST_NODES = 1000
_LONGEST_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedBatch:
    """The machines of a batch endpoint as the caller wants them.

    Attributes
    ----------
    tier : str, default="low_priority"
        Or ``"dedicated"``, where a machine is not taken away in a job.
    nodes : int, default=4
        Most machines of the cluster.
    nodes_per_job : int, optional
        Machines of one job; default is all, so that jobs run one after the other. With fewer,
        several jobs run at a time, and those beyond wait.
    min_nodes : int, default=0
        Machines that are kept between jobs; with none, the first job waits for one.
    idle_s : int, default=120
        Seconds after which a machine without a job is given back.
    patience_s : int, default=3600
        Seconds for one file; then it is tried again, and goes on where it was.
    retries : int, default=3
        How often a file is tried again.

    Raises
    ------
    ConfigurationError
        If Azure would refuse one of them, or they do not fit each other.
    """

    tier: str = LOW_PRIORITY
    nodes: int = 4
    nodes_per_job: int | None = None
    min_nodes: int = 0
    idle_s: int = 120
    patience_s: int = 3600
    retries: int = 3

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise ConfigurationError(f"tier is {' or '.join(TIERS)}, not {shown(self.tier)}")
        check_count("nodes", self.nodes, 1, _MOST_NODES)
        check_count("nodes_per_job", self.job_nodes, 1, self.nodes)
        check_count("min_nodes", self.min_nodes, 0, self.nodes)
        check_count("idle_s", self.idle_s, 1, _LONGEST_S)
        check_count("patience_s", self.patience_s, 1, _LONGEST_S)
        check_count("retries", self.retries, 0, 100)

    @property
    def job_nodes(self) -> int:
        """Machines of one job."""
        return self.nodes if self.nodes_per_job is None else self.nodes_per_job
