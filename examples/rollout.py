"""A new version of a model gets the traffic of the old one, and no call is lost.

Logs two versions of a classifier of digits to MLflow, exports them as the deployments blue and
green of one endpoint, and rehearses it on this machine. Clients predict without a pause while
`promote` compares both and shifts the traffic: 0, 10, 50, 100 %. Green is killed in the middle of
it, so that all goes back to blue; then it is started again, and gets everything.

    python examples/rollout.py                      in a real Triton, where it runs
    python examples/rollout.py --server embedded    in hybridmodel's own server

What was logged and exported stays in the folder demo_rollout.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from hybridmodel import HybridOnnxModel, TritonEndpoint, load_model, log_model
from hybridmodel.cascade.bounds import interval
from hybridmodel.cli.program import program
from hybridmodel.deploy import Bounds, Plan, Promotion, Rehearsal, promote, rehearse
from hybridmodel.exceptions import HybridModelError

HOST = "digits-ep.westeurope.inference.ml.azure.com"
STORE = Path("demo_rollout")
BLUE, GREEN = "models:/digits/1", "models:/digits/2"
CLIENTS = 4
CONFIDENCE = 0.99999

for name in ("mlflow", "hybridmodel"):  # Both tell of each step they take.
    logging.getLogger(name).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Call:
    """What became of one call; times by `time.monotonic`, and no version if it was lost."""

    began_s: float
    ended_s: float
    version: str | None
    attempts: int


@dataclass(frozen=True)
class Count:
    """The calls that began and ended within one step."""

    step: str
    percent: int
    asked: int
    green: int
    retried: int
    lost: int
    is_fair: bool = True

    @property
    def bounds(self) -> tuple[float, float]:
        """Shares of the traffic that go with what green has answered, in percent."""
        low, high = interval(self.green, self.asked, CONFIDENCE) if self.asked else (0.0, 1.0)
        return 100 * low, 100 * high

    @property
    def fits(self) -> bool:
        """Whether green's share is what was set."""
        low, high = self.bounds
        return low <= self.percent <= high


class Client(threading.Thread):
    """Predicts one row after the other, as a program would that knows of no deployments."""

    def __init__(self, number: int, rows: pd.DataFrame) -> None:
        super().__init__()
        # Each stands for a program of its own. In one process, clients of the same endpoint would
        # share what they may spend on retries; another time makes it another endpoint. Six attempts
        # pause for some seconds together, which is longer than a dead deployment keeps its traffic.
        config = {"model_version": None, "max_attempts": 6, "timeout_s": 30.0 + number}
        self.model = load_model(BLUE, model_config=config)
        self.rows, self.calls = rows, []
        self.over = threading.Event()

    def run(self) -> None:
        """Predict until it is told to end."""
        turn = 0
        while not self.over.wait(0.01):
            began_s = time.monotonic()
            row = self.rows.iloc[[turn % len(self.rows)]]
            try:
                answer = self.model.infer(row, use_azure=True)
                version, attempts = answer.model_version, answer.attempts
            except HybridModelError as error:
                print(f"lost: {error}")
                version, attempts = None, 0
            self.calls.append(Call(began_s, time.monotonic(), version, attempts))
            turn += 1


@contextmanager
def clients(rows: pd.DataFrame) -> Iterator[list[Call]]:
    """Let clients predict; at the end the list has all their calls."""
    threads, calls = [Client(number, rows) for number in range(CLIENTS)], []
    for thread in threads:
        thread.start()
    try:
        yield calls
    finally:
        for thread in threads:
            thread.over.set()
        for thread in threads:
            thread.join()
            calls.extend(thread.calls)


def hybridmodel(*words: object) -> int:
    """Run a command of hybridmodel, as in a shell, and return its exit status."""
    print(f"\n$ hybridmodel {' '.join(map(str, words))}")
    try:
        program.main(list(map(str, words)), prog_name="hybridmodel")
    except SystemExit as end:
        return int(end.code or 0)


def log_versions(X: pd.DataFrame, y: pd.Series) -> None:
    """Log and register two versions; each knows the endpoint, and its own version there."""
    for version, shrinkage in ((1, 0.2), (2, 0.1)):
        classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
        pipeline = make_pipeline(MinMaxScaler(), classifier).fit(X.to_numpy(), y)
        onnx = to_onnx(pipeline, X.head(1).to_numpy(np.float32), options={"zipmap": False})
        endpoint = TritonEndpoint(
            uri=f"https://{HOST}", model_name="digits", model_version=str(version)
        )
        model = HybridOnnxModel(onnx.SerializeToString(), endpoint=endpoint)
        with mlflow.start_run():
            log_model(model, name="digits", registered_model_name="digits", input_example=X.head(3))


def prepare(folder: Path) -> tuple[Path, pd.DataFrame, Path]:
    """Log and export both versions; return the export, and rows with the file that has them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / ".gitignore").write_text("*\n")
    # A store of files is enough for this, and MLflow takes seconds to make a database.
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    mlflow.set_tracking_uri((folder / "mlruns").absolute().as_uri())
    X, y = load_digits(return_X_y=True, as_frame=True)
    X, rows, y, _ = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
    log_versions(X, y)
    rows.to_parquet(folder / "rows.parquet")
    export = folder / "digits-ep"
    assert hybridmodel("export", BLUE, export, "--azure", "digits-ep", "--green", GREEN) == 0
    return export, rows, folder / "rows.parquet"


def look(file: Path) -> None:
    """Ask each deployment by its name whether it is ready, and whether it answers as exported."""
    for uri, name in ((BLUE, "blue"), (GREEN, "green")):
        pin = ("--model-config", f"deployment={name}")
        assert hybridmodel("ping", uri, *pin) == 0
        assert hybridmodel("compare", uri, file, *pin) == 0


def roll_out(
    rehearsal: Rehearsal, rows: pd.DataFrame, hold_s: float
) -> tuple[list[Promotion], list[Count]]:
    """Promote green twice, the first time with a crash; return how, and what clients saw."""
    plan = Plan(mirror=10, steps=(10, 50, 100), hold_s=hold_s, answers=10)
    given = {"model_uri": BLUE, "bounds": Bounds(differing=0.05), "plan": plan}

    def crash(said: str) -> None:
        print(f"  {said}")
        if said == "traffic blue=50 green=50":
            threading.Timer(hold_s / 2, rehearsal.kill, ["green"]).start()

    with clients(rows) as calls:
        print("\nGreen is promoted, and crashes on the way:")
        first = promote(rehearsal.folder, rows, tell=crash, **given)
        back_s = time.monotonic()
        rehearsal.revive("green")
        revived_s = time.monotonic()
        print("\nGreen has been started again, and is promoted once more:")
        second = promote(rehearsal.folder, rows, tell=lambda said: print(f"  {said}"), **given)
    back = count(calls, "shifted back", 0, back_s, revived_s)
    return [first, second], [
        *by_step(calls, first),
        back,
        *by_step(calls, second),
        count(calls, "all together", -1, -np.inf, np.inf, is_fair=False),
    ]


def by_step(calls: Sequence[Call], promotion: Promotion) -> list[Count]:
    """Count the calls of each step of a promotion."""
    return [
        count(
            calls,
            f"{step.kind} {step.percent} %{', killed' if step.problem else ''}",
            step.percent if step.kind == "traffic" else 0,
            step.began_s,
            step.ended_s,
            # What green owed was answered by blue, and its share is smaller.
            is_fair=not step.problem,
        )
        for step in promotion.steps
    ]


def count(
    calls: Sequence[Call],
    step: str,
    percent: int,
    began_s: float,
    ended_s: float,
    *,
    is_fair: bool = True,
) -> Count:
    """Count the calls that began and ended between two times."""
    inside = [call for call in calls if began_s <= call.began_s and call.ended_s <= ended_s]
    return Count(
        step=step,
        percent=percent,
        asked=len(inside),
        green=sum(call.version == "2" for call in inside),
        retried=sum(call.attempts > 1 for call in inside),
        lost=sum(call.version is None for call in inside),
        is_fair=is_fair,
    )


def table(counts: Sequence[Count]) -> str:
    """Show who answered how many calls, and which share of the traffic that goes with."""
    shown = pd.DataFrame(
        {
            "step": one.step,
            "calls": one.asked,
            "version 1": one.asked - one.green - one.lost,
            "version 2": one.green,
            "goes with": "{:.1f} to {:.1f} %".format(*one.bounds) if one.is_fair else "-",
            "fits": ("yes" if one.fits else "NO") if one.is_fair else "-",
            "retried": one.retried,
            "lost": one.lost,
        }
        for one in counts
    )
    return shown.to_string(index=False)


@contextmanager
def redirected(rehearsal: Rehearsal) -> Iterator[None]:
    """Let the saved models, which name Azure's host, ask the rehearsal in this process."""
    before = dict(os.environ)
    os.environ.update(rehearsal.environment([HOST]))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def tell_story(folder: Path, server: str, hold_s: float) -> tuple[list[Promotion], list[Count]]:
    """Do all of it; return how both promotions went, and what clients saw."""
    export, rows, file = prepare(folder)
    with rehearse(export, server=server) as rehearsal, redirected(rehearsal):
        print(f"\nRehearsing at {rehearsal.uri}: {rehearsal.snapshot().server}")
        look(file)
        return roll_out(rehearsal, rows, hold_s)


def main() -> None:
    """Tell the story."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", choices=["auto", "triton", "embedded"], default="auto")
    parser.add_argument("--hold", type=float, default=2.0, help="seconds of each step")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    promotions, counts = tell_story(STORE, given.server, given.hold)
    print(f"\n{table(counts)}")
    print(f"\nThe two promotions: {' and '.join(one.outcome for one in promotions)}.")


if __name__ == "__main__":
    main()
