"""Reads what notebooks show, and checks what all of it has to be."""

from __future__ import annotations

import re
from html.parser import HTMLParser

TAGS = {"div", "style", "details", "summary", "b", "table", "tr", "th", "td"}
PICTURE = {"svg", "title", "path", "circle", "text"}
ATTRIBUTES = {"class", "open", "scope", "viewbox", "role", "aria-label"}
PLACES = {"d", "x", "y", "cx", "cy", "r", "text-anchor"}


class Card(HTMLParser):
    """Collects the tags, their attributes and the texts of a card."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.heads: list[str] = []
        self.style = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag and the names of its attributes."""
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep a text that is shown."""
        if self.open and self.open[-1] == "style":
            self.style += data
        elif data.strip():
            self.texts.append(data.strip())
            self.heads += [data.strip()] * (self.open[-1:] == ["th"])


def card(html: str | None) -> Card:
    """Read a card: elements that are closed in order, nothing that runs, nothing to load."""
    assert html is not None
    read = Card(html)
    assert read.open == []
    assert read.tags <= TAGS | PICTURE
    assert read.attributes <= ATTRIBUTES | PLACES
    assert not re.search(r"url\(|@import|expression|http", read.style)
    return read
