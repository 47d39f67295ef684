"""Pages of the repository that the site shows as well, with their links leading within the site.

GitHub shows README.md and the others as they stand, so they are written for it; here a link to
``docs/routes.md`` becomes one to the page, and an anchor in HTML becomes a target.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

SHOWN = {
    "start": "README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "benchmarks/method": "benchmarks/README.md",
}
"""The names of pages, and the files that take their place."""

_PAGES = {file: f"docs/{page}.md" for page, file in SHOWN.items()}
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_ANCHOR = re.compile(r'^<a id="([\w-]+)"></a>$', re.MULTILINE)


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the file of a page in its place, and turn its links."""
    root = Path(app.srcdir).parent
    file = SHOWN.get(page)
    if file is not None:
        app.env.note_dependency(str(root / file))
        source[0] = (root / file).read_text(encoding="utf-8")
    written, read_as = posixpath.dirname(file or f"docs/{page}"), posixpath.dirname(f"docs/{page}")

    def turned(link: re.Match[str]) -> str:
        place, anchor = posixpath.normpath(posixpath.join(written, link[1])), link[2] or ""
        place = _PAGES.get(place, place)
        if place.startswith("docs/") and (root / place).is_file():
            return f"]({posixpath.relpath(place, read_as)}{anchor})"
        # A folder or a script is no page: its name is all that a reader here can use.
        return f"] (`{place}`)" if (root / place).exists() else link[0]

    if file is not None or page.startswith("benchmarks/"):
        source[0] = _LINK.sub(turned, _ANCHOR.sub(r"(\1)=", source[0]))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
