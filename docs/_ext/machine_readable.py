"""What the site has beside its pages: `llms.txt`, and each page as Markdown.

`make docs` builds twice from one reading, as HTML and as Markdown; this joins them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_ABOUT = "One MLflow model that answers from a local ONNX file or from a Triton endpoint."


def write_index(app: Sphinx, error: Exception | None) -> None:
    """Write `llms.txt`: every page's title with the address of its Markdown."""
    if error is not None or app.builder.name != "markdown":
        return
    lines = [f"# {app.config.project}", "", f"> {_ABOUT}", ""]
    for name in sorted(app.env.titles):
        lines.append(f"- [{app.env.titles[name].astext()}]({name}.md)")
    Path(app.outdir, "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
