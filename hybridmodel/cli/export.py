"""``hybridmodel export``: the files of a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hybridmodel.cli import export_templates, options
from hybridmodel.cli.export_templates import Templates


@click.command()
@options.model_uri
@click.argument("folder", metavar="DIR", type=options.PATH)
@click.option("--name", metavar="NAME", help="Name of the model at the endpoint.")
@click.option("--model-version", metavar="N", help="Version of the model at the endpoint.")
@options.model_config
@export_templates.options
def export(
    model_uri: str,
    folder: Path,
    name: str | None,
    model_version: str | None,
    config: dict[str, Any],
    templates: Templates,
) -> None:
    """Write the Triton repository of a model into a folder.

    Exit status: 0 written, 2 error.
    """
    from hybridmodel import deploy

    if templates.are_hybrid:
        for note in templates.write_hybrid(model_uri, folder, name):
            click.echo(f"note: {note}", err=True)
        return
    with options.open_model(model_uri, config) as model:
        exported = deploy.export(model, folder, model_name=name, model_version=model_version)
    templates.write(
        exported, lambda uri, other: deploy.export(uri, other, model_name=exported.model_name)
    )
    click.echo(f"wrote {exported.repository}")
    for note in exported.notes:
        click.echo(f"note: {note}", err=True)
