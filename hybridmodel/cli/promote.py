"""``hybridmodel promote``: compares two deployments, and shifts traffic if all bounds hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options, tables
from hybridmodel.cli.errors import NO
from hybridmodel.cli.source import Source

if TYPE_CHECKING:
    from hybridmodel.deploy.promotion import Promotion
    from hybridmodel.deploy.shifting import Step
    from hybridmodel.model import HybridOnnxModel

_BOUNDS = ("differing", "confidence", "difference", "errors", "slower")
_PLAN = ("mirror", "steps", "hold_s", "answers")


def _steps(_context: Any, _option: Any, given: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in given.replace(",", " ").split())
    except ValueError:
        raise click.BadParameter("whole percent are expected, as in 10,50,100") from None


_OPTIONS = (
    click.option("--from", "old", metavar="NAME", default="blue", help="Has the traffic."),
    click.option("--to", "new", metavar="NAME", default="green", help="Is to have it."),
    options.table_option(
        "--rows",
        metavar="ROWS",
        help="What both are asked: a .csv, .tsv, .jsonl or .parquet file, or - for stdin.",
    ),
    click.option(
        "--model",
        "model_uri",
        metavar="MODEL_URI",
        help="A saved model that names the columns, and without a rehearsal the endpoint; default "
        "is the exported ONNX file.",
    ),
    click.option(
        "--bound",
        "differing",
        metavar="SHARE",
        type=click.FloatRange(0, 1, min_open=True),
        default=0.02,
        help="Share of all rows that may be answered otherwise, with a confidence: few rows show "
        "little.",
    ),
    click.option(
        "--confidence",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.95,
        help="Chance of being right about that share.",
    ),
    click.option(
        "--bound-difference",
        "difference",
        metavar="NUMBER",
        type=click.FloatRange(min=0),
        help="Largest difference of two floats; default is any.",
    ),
    click.option(
        "--bound-errors",
        "errors",
        metavar="N",
        type=click.IntRange(min=0),
        default=0,
        help="Calls that may fail in the comparison, and again in each step of the traffic.",
    ),
    click.option(
        "--bound-slower",
        "slower",
        metavar="TIMES",
        type=click.FloatRange(min=0),
        help="How many times as long 95 % of the calls may take; default is any.",
    ),
    click.option(
        "--mirror",
        metavar="PERCENT",
        type=click.IntRange(0, 50),
        default=10,
        help="Share of the requests that is copied to the new deployment first; 0 for none.",
    ),
    click.option(
        "--steps",
        metavar="PERCENT,...",
        callback=_steps,
        default="10,50,100",
        help="Shares of the traffic, one after the other.",
    ),
    click.option(
        "--hold",
        "hold_s",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        default=10.0,
        help="How long each step is watched.",
    ),
    click.option(
        "--answers",
        metavar="N",
        type=click.IntRange(min=0),
        default=0,
        help="Requests that the new deployment must have answered in each step.",
    ),
)


def _given(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("folder", metavar="DIR", type=options.PATH)
@_given
@options.answer
@options.tolerance
@click.option("--batch-rows", type=click.IntRange(min=1), default=100, help="Rows of a call.")
@options.timeout
@options.model_config
@options.as_json
def promote(
    folder: Path,
    source: Source,
    config: dict[str, Any],
    timeout: float | None,
    batch_rows: int,
    as_json: bool,
    **given: Any,
) -> int:
    """Compare two deployments of an exported folder, and promote the second if it holds its bounds.

    Both are asked for the same rows, each by its name. In a rehearsal of DIR traffic is then
    shifted step by step, and shifted back when the second answers with errors. A real endpoint
    (--model-config uri=https://..., or that of --model where no rehearsal runs) is measured only;
    the commands that shift its traffic are printed.

    Exit status: 0 promoted, or all bounds hold; 1 refused, or shifted back; 2 error.
    """
    from hybridmodel.deploy.gate import Bounds
    from hybridmodel.deploy.promotion import promote as begin
    from hybridmodel.deploy.shifting import Plan

    own = {name: given.pop(name) for name in _PLAN}
    bounds = Bounds(**{name: given.pop(name) for name in _BOUNDS})

    def rows(model: HybridOnnxModel) -> Iterator[Any]:
        return tables.read(source, model, batch_rows)

    found = begin(
        folder,
        rows,
        model_config=config,
        bounds=bounds,
        plan=Plan(errors=bounds.errors, **own),
        timeout_s=timeout,
        tell=lambda said: click.echo(said, err=True),
        **given,
    )
    if as_json:
        options.echo_json(_described(found))
    else:
        _echo(found)
    return 0 if found.is_good else NO


def _described(found: Promotion) -> dict[str, Any]:
    measured = found.measured
    return {
        "outcome": found.outcome,
        "refusals": found.refusals,
        "rows": measured.rows,
        "differing": measured.differing,
        "at_most": measured.at_most(found.bounds.confidence),
        # JSON has no infinity.
        "largest": {name: str(value) for name, value in measured.largest.items()},
        "versions": measured.versions,
        "failures": {name: asdict(one) for name, one in measured.failures.items()},
        "latency": {name: asdict(one) for name, one in measured.latency().items()},
        "bounds": asdict(found.bounds),
        "steps": [asdict(step) for step in found.steps],
        "commands": found.commands,
        "back": found.back,
    }


def _echo(found: Promotion) -> None:
    from hybridmodel.deploy.gate import percent

    measured, confidence = found.measured, found.bounds.confidence
    most = f"at most {percent(measured.at_most(confidence))} with {percent(confidence)} confidence"
    largest = [f"{name}: {value:.4g}" for name, value in measured.largest.items()]
    options.echo_pairs(
        [
            ("deployments", "\n".join(_deployments(found))),
            ("compared by", measured.comparison.agree_by),
            ("differ", f"{measured.differing} of {measured.rows} rows, {most}"),
            ("largest difference", "\n".join(largest) or "no floats"),
            *((_titled(step), _seen(step)) for step in found.steps),
            (found.outcome, "\n".join(found.refusals) or _end(found)),
        ]
    )
    if found.commands:
        click.echo("\n".join(["", *found.commands, f"# back: {found.back}"]))


def _deployments(found: Promotion) -> Iterator[str]:
    measured = found.measured
    times = measured.latency()
    for name, failures in measured.failures.items():
        taken = ""
        if name in times:
            taken = (
                f", median {1000 * times[name].p50_s:.1f} ms, p95 {1000 * times[name].p95_s:.1f} ms"
            )
        version = ", ".join(measured.versions[name]) or "none"
        yield f"{name}: version {version}, {failures.count} calls failed{taken}"


def _titled(step: Step) -> str:
    return f"{step.kind} {step.percent} %"


def _seen(step: Step) -> str:
    seconds = f"{step.ended_s - step.began_s:.1f} s"
    counts = "; ".join(
        f"{name}: {', '.join(f'{count} x {code}' for code, count in codes.items()) or 'none'}"
        for name, codes in step.codes.items()
    )
    return f"{seconds}, answers of {counts}"


def _end(found: Promotion) -> str:
    if found.commands:
        return "the commands shift the traffic; look at what it answers after each"
    problem = next((step.problem for step in found.steps if step.problem), "")
    new = found.measured.new
    unseen = [_titled(step) for step in found.steps if not problem and not step.codes[new]]
    said = [problem or f"{new} has {found.share} % of the traffic"]
    if unseen:
        said.append(f"nobody asked it, so nothing was seen: {', '.join(unseen)}")
    return "\n".join(said)
