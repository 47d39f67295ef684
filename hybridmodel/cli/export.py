"""``hybridmodel export``: the files of a deployment."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import export_templates, options
from hybridmodel.cli.export_templates import Templates

if TYPE_CHECKING:
    from hybridmodel.deploy import Exported
    from hybridmodel.model import HybridOnnxModel


@click.command()
@options.model_uri
@click.argument("folder", metavar="DIR", type=options.PATH)
@click.option(
    "--name",
    "model_name",
    metavar="NAME",
    help="Name of the model at the endpoint; default is the model_name of its endpoint, or the "
    "name of the ONNX file.",
)
@click.option(
    "--model-version",
    metavar="N",
    help="Version of the model at the endpoint, beside others in DIR; default is its endpoint's, "
    "or 1.",
)
@click.option(
    "--max-batch-size",
    metavar="ROWS",
    type=click.IntRange(min=0),
    help="Most rows of a request, and of several answered together; 0 is no limit, and each is "
    "answered alone. Default is to join rows that do not depend on each other.",
)
@click.option(
    "--cores",
    metavar="N",
    type=click.IntRange(min=1),
    help="Processor cores of the server's machine, which instances and threads then share.",
)
@click.option(
    "--instances",
    metavar="N",
    type=click.IntRange(min=1),
    help="Copies of the model on these cores; default is one for each, or one for a large model.",
)
@click.option(
    "--queue-size",
    metavar="N",
    type=click.IntRange(min=1),
    help="Requests that may wait; the next one is refused at once. Default is 64, and no bound for "
    "a single instance.",
)
@click.option(
    "--queue-delay",
    "queue_delay_us",
    metavar="MICROSECONDS",
    type=click.IntRange(min=0),
    default=0,
    help="How long a request waits for others to be answered with.",
)
@click.option(
    "--warm-up/--no-warm-up",
    default=None,
    help="Answer one request of zeros before the model is ready; default is unless it fails.",
)
@click.option("--copy", is_flag=True, help="Copy the model's files, and never link them.")
@click.option("--verify", is_flag=True, help="Compare the hash of a large model, too.")
@click.option("--overwrite", is_flag=True, help="Replace files that are in DIR already.")
@options.model_config
@options.as_json
@export_templates.options
def export(
    model_uri: str,
    folder: Path,
    config: dict[str, Any],
    as_json: bool,
    copy: bool,
    templates: Templates,
    **wishes: Any,
) -> None:
    """Write the Triton repository of a model into a folder.

    DIR appears complete or not at all. A model that Triton cannot serve is refused.

    Exit status: 0 written, 2 error.
    """
    from hybridmodel import deploy

    if templates.are_hybrid:
        templates.write_hybrid(model_uri, folder, wishes["model_name"])
        return

    notes: list[str] = []

    def beside(built: Exported) -> None:
        options_ = {**wishes, "model_name": built.model_name, "linked": not copy}

        def again(uri: str, other: Path) -> Exported:
            made = deploy.export(uri, other, **options_)
            notes.extend(f"{other.name}: {note}" for note in made.notes)
            return made

        templates.write(built, again, folder)

    with _opened(model_uri, config) as model:
        exported = deploy.export(model, folder, linked=not copy, beside=beside, **wishes)
    exported = replace(exported, notes=(*exported.notes, *notes))
    if as_json:
        options.echo_json(_described(exported))
        return
    options.echo_pairs(_pairs(exported))
    for note in exported.notes:
        click.echo(f"note: {note}", err=True)


def _opened(uri: str, config: dict[str, Any]) -> HybridOnnxModel:
    """Open a model, but a large ONNX file without its weights."""
    from hybridmodel.cli.plain_onnx import open_onnx
    from hybridmodel.deploy.skeleton import described
    from hybridmodel.local.onnx_file import is_onnx_file

    if not is_onnx_file(uri):
        return options.open_model(uri, config)
    return open_onnx(Path(uri), config, described(Path(uri)))


def _described(exported: Exported) -> dict[str, Any]:
    """Describe an export in JSON's types."""
    found = {field.name: getattr(exported, field.name) for field in fields(exported)}
    tensors = {name: [item.to_dict() for item in found[name]] for name in ("inputs", "outputs")}
    paths = {name: str(found[name]) for name in ("folder", "repository")}
    return {**found, **paths, **tensors, "notes": list(exported.notes)}


def _pairs(exported: Exported) -> list[tuple[str, str]]:
    return [
        ("repository", str(exported.repository)),
        ("model", f"{exported.model_name}, version {exported.model_version}"),
        ("inputs", "\n".join(map(str, exported.inputs))),
        ("outputs", "\n".join(map(str, exported.outputs))),
        ("batches", f"up to {exported.max_batch_size} rows" if exported.max_batch_size else "none"),
        ("queue", f"{exported.queue_size} requests" if exported.queue_size else "no bound"),
    ]
