"""What a server says, made fit to be shown: without secrets, in one line, and of bounded length.

No I/O. For failures, and for the little of an answer that is shown; never for each good call.

A secret is found in parts as well, since a server may cut what it repeats, and in the forms that
text takes on its way: in other case, percent-encoded, escaped as in JSON, Python or HTML, wrapped,
in base64 at whatever place, and in hexadecimal digits.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from urllib.parse import unquote

HIDDEN = "***"
"""Stands for a secret."""

_RUN = 8
"""So many successive characters of a secret are hidden; a shorter secret is hidden as a whole."""

_BASE64_RUN = 4
_ROUNDS = 6
"""Text may have been escaped so often on its way."""

_MOST = 300
_READ = 8
"""So many times the length that is shown is examined, since escapes make text longer."""

_LINKS, _LONGEST_LINK = 16, 2000
"""The longest chain of causes, and the longest text of each, that is shown."""

_ESCAPE = re.compile(
    r"[%=][0-9a-fA-F]{2}"
    r"|\\u\{[0-9a-fA-F]{1,6}\}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\x[0-9a-fA-F]{2}|\\[0-7]{3}"
    r"|\\[nrtvfb]|\\[!-/:-@\[-`{-~]"
    r"|&#[xX][0-9a-fA-F]{1,6};?|&#[0-9]{1,7};?|&[a-zA-Z]{2,8};"
    r"|[^!-~]"
)

_FOLDED = {
    **{ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    # The two alphabets of base64.
    ord("-"): "+",
    ord("_"): "/",
}


class Redaction:
    """Makes text fit to be shown: without the secrets that it was made with."""

    # Not to be seen by `vars`.
    __slots__ = ("_runs",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._runs: dict[int, set[str]] = {}
        for meant in {meant for secret in secrets for meant in _meanings(secret) if meant}:
            for form, run in _forms(meant):
                runs = self._runs.setdefault(run, set())
                runs.update(form[at : at + run] for at in range(len(form) - run + 1))

    def __call__(self, text: str, most: int = _MOST) -> str:
        """Return text without secrets and control characters, and no longer than `most`."""
        text = text[: _READ * most]
        if not text.isprintable():
            # Escaped, what does not print would run together with a backslash of a secret.
            text = self.blotted(text)
        text = self.blotted(escaped(text))
        return text if len(text) <= most else f"{text[: most - 1]}…"

    def blotted(self, text: str) -> str:
        """Return text in which `HIDDEN` stands for secrets, whatever its length."""
        for _ in range(_ROUNDS):
            hidden = self._found(text)
            if hidden.find(1) < 0:
                break
            before, text = text, "".join(_without(text, hidden))
            if text == before:
                break
        return text

    def _found(self, text: str) -> bytearray:
        """Return a 1 for each character that belongs to a secret."""
        hidden = bytearray(len(text))
        view, places = text, [(at, at + 1) for at in range(len(text))]
        for _ in range(_ROUNDS):
            folded = view.translate(_FOLDED)
            for run, runs in self._runs.items():
                for at in range(len(folded) - run + 1):
                    if folded[at : at + run] in runs:
                        start, end = places[at][0], places[at + run - 1][1]
                        hidden[start:end] = b"\1" * (end - start)
            before = view
            view, places = _unescaped(view, places)
            if view == before:
                break
        return hidden


def escaped(text: str) -> str:
    """Return text in one line: what does not print by itself is written as Python would."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def fit_cause(error: BaseException, redaction: Redaction) -> BaseException | None:
    """Return what an error says it came from, if all of that is fit to be shown; else None."""
    cause = link = error.__cause__
    for _ in range(_LINKS):
        if link is None:
            return cause
        text = f"{link}{link.args}"
        if redaction(text, _LONGEST_LINK) != text:
            return None
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return None


def proxy_secrets() -> Iterator[str]:
    """Yield the passwords of the proxies that the environment names, as written and decoded."""
    from urllib.request import getproxies

    for address in getproxies().values():
        person = address.rpartition("@")[0].rpartition("//")[2]
        # A token may stand in place of the name.
        name, _, password = person.partition(":")
        found = password or (name if len(name) >= _RUN else "")
        yield from {found, unquote(found)}


def _meanings(secret: str) -> Iterator[str]:
    """Yield a secret, and what would be read in it if it were escaped."""
    before = ""
    while secret != before:
        yield secret
        before, secret = secret, _unescaped(secret, [(0, 0)] * len(secret))[0]


def _forms(secret: str) -> Iterator[tuple[str, int]]:
    """Yield what a secret may look like, folded, with how many characters of it must not show."""
    yield secret.translate(_FOLDED), min(_RUN, len(secret))
    data = secret.encode("utf-8", "replace")
    for before in range(3):
        # The first and the last letter may depend on what stands around it.
        code = base64.b64encode(bytes(before) + data).decode()
        code = code[-(-before * 4 // 3) : (before + len(data)) * 4 // 3]
        if len(code) >= _BASE64_RUN:
            yield code.translate(_FOLDED), min(_RUN, len(code))
    if len(data) >= _BASE64_RUN:
        yield data.hex(), min(2 * _RUN, 2 * len(data))


def _unescaped(text: str, places: list[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    """Undo one round of escaping, and drop all but ASCII that prints; keep where it came from."""
    parts: list[str] = []
    kept: list[tuple[int, int]] = []
    done = 0
    for match in _ESCAPE.finditer(text):
        start, end = match.span()
        meant = _meant(match.group())
        parts += (text[done:start], meant)
        kept += places[done:start]
        kept += [(places[start][0], places[end - 1][1])] * len(meant)
        done = end
    parts.append(text[done:])
    kept += places[done:]
    return "".join(parts), kept


def _meant(escape: str) -> str:
    """Return what an escape stands for; nothing for what is no ASCII that prints."""
    if escape[0] == "&":
        meant = html.unescape(escape)
        return meant if meant.isascii() else ""
    if escape[0] in "%=":
        return chr(int(escape[1:], 16))
    if escape[0] != "\\":
        return ""
    if escape[1] in "uUx":
        code = int(escape[2:].strip("{}"), 16)
        return chr(code) if code < 128 else ""
    if escape[1] in "01234567":
        return chr(int(escape[1:], 8))
    return "" if escape[1] in "nrtvfb" else escape[1:]


def _without(text: str, hidden: bytearray) -> Iterator[str]:
    """Yield the parts of text, those that are marked as hidden as one each."""
    for is_hidden, letters in groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1]):
        yield HIDDEN if is_hidden else "".join(letter for letter, _ in letters)
