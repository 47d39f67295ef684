"""HTML and SVG from Python calls; whatever is not made here is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

_VOID = frozenset({"meta", "br", "col"})

_NOT_ALLOWED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
"""What HTML cannot hold, even as a reference, and halves of surrogate pairs."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: Any) -> Html:
    """Return a value as text with nothing in it that a browser could take for markup."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(_NOT_ALLOWED.sub("\ufffd", str(value)), quote=True))


def join(parts: Iterable[Any]) -> Html:
    """Put markup and text together; None is nothing."""
    return Html("".join(text(part) for part in parts if part is not None))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """Make an element.

    Parameters
    ----------
    name : str
        Of the element.
    *children : Any
        Markup, text, or None for nothing.
    **attributes : Any
        By name, with ``_`` for ``-`` and one at the end where Python needs it (``class_``). None is
        left out, True stands alone.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def table(
    caption: str,
    header: Iterable[Any],
    rows: Iterable[Iterable[Any]],
    *,
    numbers: Iterable[int] = (),
    class_: str | None = None,
) -> Html:
    """Make a table whose first column names the rows, which scrolls where it is too wide.

    Parameters
    ----------
    caption : str
        What it shows.
    header, rows : iterable
        Cells; a cell that is an element of its own (``td``) is taken as it is.
    numbers : iterable of int
        Columns that hold numbers.
    class_ : str, optional
        Of the table.
    """
    right = frozenset(numbers)

    def align(column: int) -> str | None:
        return "number" if column in right else None

    head = (tag("th", cell, scope="col", class_=align(c)) for c, cell in enumerate(header))
    body = (
        tag(
            "tr",
            *(
                cell
                if isinstance(cell, Html) and cell.startswith("<td")
                else tag("th", cell, scope="row", class_=align(0))
                if column == 0
                else tag("td", cell, class_=align(column))
                for column, cell in enumerate(row)
            ),
        )
        for row in rows
    )
    made = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
        class_=class_,
    )
    return tag("div", made, class_="scroll", role="group", aria_label=caption, tabindex="0")
