"""What a cascade costs in time, and what becomes of calls whose endpoint dies: a real Triton.

Both studies use scikit-learn's digits, 64 features and 10 classes, each row with a little noise of
its own. The big model, behind the endpoint, is a multilayer perceptron of two layers of 256.
"""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from _measure import Times, difference_us, median_us, take_turns

from hybridmodel import HybridOnnxModel
from hybridmodel.exceptions import EndpointUnavailable
from hybridmodel.routing import Azure, AzureFirst, Cascade, Policy
from hybridmodel.serving import TritonServer

Array = np.ndarray[Any, Any]

SHARE, SCORE = 0.2, "margin:probabilities"


def digits() -> tuple[Array, Array]:
    """Return what the models are trained on."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), labels


def rows(number: int) -> Array:
    """Return so many rows, no two of them alike."""
    repeated = np.resize(digits()[0], (number, 64))
    noise = np.random.default_rng(0).normal(0, 0.02, repeated.shape)
    return (repeated + noise).astype(np.float32)


def big_model() -> bytes:
    """Train the model that the endpoint serves."""
    from sklearn.neural_network import MLPClassifier

    return _converted(MLPClassifier((256, 256), max_iter=8, random_state=0))


def small_models() -> dict[str, Callable[[], bytes]]:
    """Return how the local models are trained, the fastest first."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    made = {
        "logistic regression": LogisticRegression(C=0.1, max_iter=1000),
        "perceptron of 64": MLPClassifier((64,), max_iter=15, random_state=0),
        "forest of 50 trees": RandomForestClassifier(50, random_state=0),
    }
    return {name: partial(_converted, model) for name, model in made.items()}


def _converted(model: Any) -> bytes:
    from skl2onnx import to_onnx

    X, y = digits()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It could learn longer, and need not.
        model.fit(X, y)
    return bytes(to_onnx(model, X[:1], options={"zipmap": False}).SerializeToString())


def threshold_for(scores: Array, share: float) -> float:
    """Return a threshold that this share of the rows lies under."""
    ordered, place = np.sort(scores), round(share * len(scores))
    return float(ordered[place - 1] + ordered[place]) / 2


def _scores(model: HybridOnnxModel, X: Array) -> Array:
    scores = model.infer(X, mode=Cascade(threshold=-np.inf, score=SCORE)).scores
    assert scores is not None
    return scores


# Study 3: what it costs ----------------------------------------------------------------------

RATIOS = {"kept": 1.15, "escalated": 1.15}
"""What is aimed at: of the time of a local call, and of that of both calls one after the other."""


@dataclass(frozen=True)
class Cost:
    """Times with one small model.

    Attributes
    ----------
    kept : Times
        ``local``, and a ``cascade`` that escalates nothing.
    escalated : Times
        ``apart``: all rows locally, then the doubtful ones by the endpoint. ``cascade``: both.
    """

    small: str
    kept: Times
    escalated: Times

    @property
    def added_us(self) -> float:
        """What is added where nothing is escalated."""
        return difference_us(self.kept, "cascade", "local")

    def ratios(self) -> dict[str, tuple[float, float, float]]:
        """Return quartiles of both ratios within a turn, the median first."""
        pairs = {"kept": (self.kept, "local"), "escalated": (self.escalated, "apart")}
        found = {}
        for name, (times, base) in pairs.items():
            low, middle, high = np.percentile(times["cascade"] / times[base], [25, 50, 75])
            found[name] = (float(middle), float(low), float(high))
        return found

    def medians_ms(self) -> dict[str, float]:
        """Return the median of each contestant."""
        return {
            "local": median_us(self.kept, "local") / 1e3,
            "kept": median_us(self.kept, "cascade") / 1e3,
            "apart": median_us(self.escalated, "apart") / 1e3,
            "escalated": median_us(self.escalated, "cascade") / 1e3,
        }


NO_SPINNING = {"extra_session_config": {"session.intra_op.allow_spinning": "0"}}
"""Keeps threads that wait for the next local run from taking the processor from the server."""


def costs(number: int, seconds: float) -> list[Cost]:
    """Measure every small model on so many rows, about so long each."""
    X = rows(number)
    with TritonServer({"digits": big_model()}) as server:
        endpoint = server.endpoint("digits", timeout_s=60)
        made = {name: make() for name, make in small_models().items()}
        return [
            Cost(
                name,
                _keeping(HybridOnnxModel(onnx, endpoint=endpoint), X, seconds / 3),
                _sending(
                    HybridOnnxModel(onnx, endpoint=endpoint, session_options=NO_SPINNING),
                    X,
                    seconds * 2 / 3,
                ),
            )
            for name, onnx in made.items()
        ]


def _keeping(model: HybridOnnxModel, X: Array, seconds: float) -> Times:
    policy = Cascade(threshold=0.0, score=SCORE)
    with model, _cascade(model, policy) as cascade:
        assert cascade.infer(X).route == "local"
        local = partial(model.predict, X)
        return take_turns({"local": local, "cascade": partial(cascade.predict, X)}, total_s=seconds)


def _sending(model: HybridOnnxModel, X: Array, seconds: float) -> Times:
    scores = _scores(model, X)
    limit = threshold_for(scores, SHARE)
    doubtful = np.ascontiguousarray(X[scores < limit])

    def apart() -> None:
        model.predict(X, mode="local")
        model.predict(doubtful, use_azure=True)

    with model, _cascade(model, Cascade(threshold=limit, score=SCORE)) as cascade:
        assert (cascade.infer(X).routes == "azure").sum() == len(doubtful)
        return take_turns({"apart": apart, "cascade": partial(cascade.predict, X)}, total_s=seconds)


def _cascade(model: HybridOnnxModel, policy: Policy) -> HybridOnnxModel:
    """Return a model with the same local session that is a cascade by itself."""
    return HybridOnnxModel(model.local, endpoint=model.endpoint, routing=policy)


# Study 4: an outage --------------------------------------------------------------------------

CALLS, ROWS_EACH, THREADS, TIMEOUT_S = 200, 50, 4, 1.5
FAILURES = {"killed": signal.SIGKILL, "hung": signal.SIGSTOP}

POLICIES: dict[str, Callable[[float], Policy]] = {
    "azure": lambda _: Azure(),
    "azure_first": lambda _: AzureFirst(),
    "cascade, keep": lambda at: Cascade(threshold=at, score=SCORE),
    "cascade, raise": lambda at: Cascade(threshold=at, score=SCORE, on_unavailable="raise"),
}
"""The policies, each made with the threshold of its cascade."""


class Call(NamedTuple):
    """One call of the stream.

    Attributes
    ----------
    begun_s : float
        When, in seconds from the outage on.
    here, there : int
        Rows that the local model and the endpoint answered; of none when it raised.
    wrong : int
        Rows whose answer is not that of the side that is said to have given it.
    error : Exception or None
        What it raised.
    """

    begun_s: float
    took_s: float
    here: int = 0
    there: int = 0
    wrong: int = 0
    error: Exception | None = None


@dataclass(frozen=True)
class Outage:
    """What became of a stream of calls whose server was killed, or hung, in the middle."""

    mode: str
    how: str
    calls: list[Call]

    @property
    def lost(self) -> int:
        """Rows without an answer."""
        return len(self.calls) * ROWS_EACH - self.here - self.there

    @property
    def here(self) -> int:
        """Rows that the local model answered."""
        return sum(call.here for call in self.calls)

    @property
    def there(self) -> int:
        """Rows that the endpoint answered."""
        return sum(call.there for call in self.calls)

    @property
    def wrong(self) -> int:
        """Rows whose answer is not that of the side that is said to have given it."""
        return sum(call.wrong for call in self.calls)

    @property
    def longest_s(self) -> float:
        """Time of the longest call."""
        return max(call.took_s for call in self.calls)

    @property
    def errors(self) -> Counter[str]:
        """Calls that raised, by the kind of error."""
        return Counter(type(call.error).__name__ for call in self.calls if call.error)

    @property
    def says_so(self) -> bool:
        """Whether every error was one of an endpoint that cannot be reached."""
        raised = [call.error for call in self.calls if call.error]
        return all(isinstance(error, EndpointUnavailable) for error in raised)


def outages(ways: Iterable[str] = tuple(FAILURES)) -> Iterator[Outage]:
    """Let a server die, or hang, in the middle of a stream of calls of each mode."""
    small, big = next(iter(small_models().values()))(), big_model()
    for how, mode in product(ways, POLICIES):
        # A server of its own: what is known of an endpoint outlives the model that found it out.
        with TritonServer({"digits": big}) as server:
            yield _outage(server, small, mode, how)


def _outage(server: TritonServer, small: bytes, mode: str, how: str) -> Outage:
    X = rows(CALLS * ROWS_EACH)
    parts, failed_at = np.split(X, CALLS), []
    with HybridOnnxModel(small, endpoint=server.endpoint("digits", timeout_s=TIMEOUT_S)) as model:
        policy = POLICIES[mode](threshold_for(_scores(model, X), SHARE))
        here, there = (
            np.split(model.predict(X, mode=side, output="label", timeout=60), CALLS)
            for side in ("local", "azure")
        )

        def call(number: int) -> Call:
            if number == CALLS // 2:
                failed_at.append(time.perf_counter())
                os.kill(server.pid or 0, FAILURES[how])
            return _call(model, policy, parts[number], here[number], there[number])

        with ThreadPoolExecutor(THREADS) as pool:
            calls = list(pool.map(call, range(CALLS)))
    return Outage(mode, how, [item._replace(begun_s=item.begun_s - failed_at[0]) for item in calls])


def _call(model: HybridOnnxModel, policy: Policy, X: Array, here: Array, there: Array) -> Call:
    begun_s = time.perf_counter()
    try:
        answer = model.infer(X, mode=policy)
    except Exception as error:  # noqa: BLE001 - whatever it is, the table shall show it
        return Call(begun_s, time.perf_counter() - begun_s, error=error)
    took_s = time.perf_counter() - begun_s
    sent = answer.routes == "azure"
    wrong = answer.outputs["label"] != np.where(sent, there, here)
    count = int(sent.sum())
    return Call(begun_s, took_s, len(X) - count, count, int(wrong.sum()))
