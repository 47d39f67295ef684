"""``hybridmodel export``: the files of a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hybridmodel.cli import options


@click.command()
@options.model_uri
@click.argument("folder", metavar="DIR", type=options.PATH)
@click.option("--name", metavar="NAME", help="Name of the model at the endpoint.")
@click.option("--model-version", metavar="N", help="Version of the model at the endpoint.")
@options.model_config
def export(
    model_uri: str,
    folder: Path,
    name: str | None,
    model_version: str | None,
    config: dict[str, Any],
) -> None:
    """Write the Triton repository of a model into a folder.

    Exit status: 0 written, 2 error.
    """
    from hybridmodel import deploy

    with options.open_model(model_uri, config) as model:
        exported = deploy.export(model, folder, model_name=name, model_version=model_version)
    click.echo(f"wrote {exported.repository}")
    for note in exported.notes:
        click.echo(f"note: {note}", err=True)
