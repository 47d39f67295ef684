"""The table of docs/conversion.md: what became of each estimator of the zoo.

``python -m tests.support.zoo_page`` writes it anew.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from hybridmodel.exceptions import ConfigurationError
from hybridmodel.sklearn import ConversionDiffers, from_sklearn
from hybridmodel.sklearn.converting.agreement import expected, measured
from hybridmodel.sklearn.converting.entry import DIFFERENCE
from hybridmodel.sklearn.converting.refusals import told
from tests.support.paths import ROOT
from tests.support.zoo import ZOO, fitted

PAGE = ROOT / "docs" / "conversion.md"
BEGIN, END = "<!-- zoo: made by python -m tests.support.zoo_page -->", "<!-- zoo: end -->"

_LEAST = -16


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one estimator.

    `dtype` is empty where it is refused, and `said` is why and what to do. `silent` are fresh rows
    that a converted model answers otherwise, and `largest` is the largest difference of a number.
    `shapes` are those of its outputs, as text.
    """

    estimator: str
    dtype: str = ""
    largest: float | None = None
    silent: int = 0
    said: str = ""
    shapes: tuple[str, ...] = ()


@lru_cache
def verdict(name: str) -> Verdict:
    """Convert an estimator with float32, then with float64, and ask it for fresh rows."""
    estimator, rows, fresh = fitted(name)
    known = told(estimator)
    refusal = None
    for dtype in ("float32", "float64"):
        try:
            model = from_sklearn(estimator, rows, dtype=dtype)
        except ConversionDiffers as error:
            refusal = refusal or error
        except ConfigurationError as error:
            refusal = refusal or error
            break
        else:
            found = measured(expected(estimator, fresh), model, fresh, DIFFERENCE)
            numbers = [*found.largest.values(), *model.small.agreement.largest.values()]
            largest = max(numbers, default=None)
            shapes = tuple(f"{item} {'by row' * item.batched}" for item in model.outputs)
            return Verdict(
                estimator=known,
                dtype=dtype,
                largest=largest,
                silent=found.differing,
                shapes=shapes,
            )
    return Verdict(estimator=known, said=_short(str(refusal), known))


def bound(largest: float | None) -> str:
    """Return a power of ten that a difference does not reach by far, on other machines either."""
    if largest is None:
        return ""
    return (
        f"1e{math.ceil(math.log10(3 * largest))}" if largest > 10.0**_LEAST else f"1e{_LEAST + 1}"
    )


def lines() -> dict[str, str]:
    """Return the line of each estimator by its name."""
    return {name: _line(name, verdict(name)) for name in ZOO}


def read_lines() -> dict[str, list[str]]:
    """Return the cells of each line that the page has, by the name of the estimator."""
    text = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    cells = [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if " | " in line]
    return {row[0]: row[1:] for row in cells if row[0] in ZOO}


def _line(name: str, found: Verdict) -> str:
    animal = ZOO[name]
    target = f"{animal.target} from {animal.table}"
    outcome = (
        f"{found.dtype} | {bound(found.largest) or '-'}"
        if found.dtype
        else f"refused | {found.said}"
    )
    return f"| {name} | {found.estimator} | {target} | {outcome} |"


def _short(message: str, known: str) -> str:
    """Return of a refusal what does not depend on numbers: what is wrong, and what to do."""
    said = message.removeprefix(f"{known}: ").split("; ")
    if said[0].startswith("the converted model answers otherwise"):
        return f"answers otherwise; {re.sub(r'=0[.][0-9]+', '=…', said[-1])}"
    return f"{said[0].partition(': ')[0]}; {said[-1]}"


def write() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    heads = "| name | estimator | learns | converted as | largest difference, or why not |"
    made = lines()
    converted = sum(bool(verdict(name).dtype) for name in ZOO)
    summary = (
        f"{len(ZOO)} estimators and pipelines: {converted} are converted and answer fresh rows as "
        f"before, {len(ZOO) - converted} are refused, none answers otherwise in silence."
    )
    table = "\n".join([heads, "|---|---|---|---|---|", *made.values()])
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{summary}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write()
