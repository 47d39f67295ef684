"""Reads a ``config.pbtxt`` into messages with lines, and says all that is wrong with it.

It takes what protobuf's own reader takes, except for spellings of numbers that only its Python
version knows (``+5``, ``1_000``). After a mistake it goes on where that is possible.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hybridmodel.checks import printable
from hybridmodel.deploy.checking.config_scalars import default_of, expected_of, read_scalar
from hybridmodel.deploy.checking.config_schema import ENUMS, Field, fields_of
from hybridmodel.deploy.checking.config_tokens import END, Token, tokens
from hybridmodel.deploy.checking.findings import MOST_FINDINGS, Finding, Place

_CLOSING = {"{": "}", "<": ">", "[": "]"}


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a field: a text, number, boolean, the name of an enumeration, or a message."""

    line: int
    value: Any


@dataclass(slots=True)
class Message:
    """A message: for each field that is given, its values in order."""

    kind: str
    line: int
    values: dict[str, list[Value]] = field(default_factory=lambda: defaultdict(list))

    def all(self, name: str) -> tuple[Value, ...]:
        """Return the values of a field."""
        return tuple(self.values.get(name, ()))

    def one(self, name: str) -> Value | None:
        """Return the last value of a field; None if it is not given."""
        found = self.values.get(name)
        return found[-1] if found else None

    def get(self, name: str, default: Any = None) -> Any:
        """Return the last value of a field without its line."""
        found = self.one(name)
        return default if found is None else found.value

    def messages(self, name: str) -> tuple[Message, ...]:
        """Return the values of a field of messages."""
        return tuple(value.value for value in self.all(name))

    def line_of(self, name: str) -> int:
        """Return the line of a field, or the message's own if it is not given."""
        found = self.one(name)
        return self.line if found is None else found.line


class _Stop(Exception):
    """Raise where the rest of the text cannot be understood any more."""


@dataclass
class _Parser:
    place: Place
    rest: Iterator[Token]
    findings: list[Finding] = field(default_factory=list)
    token: Token = field(init=False)

    def __post_init__(self) -> None:
        self.token = next(self.rest)

    def run(self) -> Message:
        message = Message("ModelConfig", 1)
        try:
            while self.token.text != END:
                self._field(message)
        except _Stop:
            pass
        return message

    def _take(self) -> Token:
        taken = self.token
        if taken.text != END:
            self.token = next(self.rest)
        return taken

    def _took(self, *texts: str) -> bool:
        """Take the next token if it is a sign that is expected."""
        if self.token.kind == "sign" and self.token.text in texts:
            self._take()
            return True
        return False

    def _found(self, rule: str, line: int, what: str, write: str) -> None:
        self.findings.append(self.place.found(rule, line, what, write))
        if len(self.findings) >= MOST_FINDINGS:
            raise _Stop

    def _broken(self, expected: str) -> _Stop:
        what = f"{_shown(self.token)} where {expected} is expected"
        self._found("config-syntax", self.token.line, what, f"write {expected} before it")
        return _Stop()

    def _field(self, message: Message) -> None:
        name = self.token
        if name.kind not in ("word", "number"):
            raise self._broken("the name of a field")
        self._take()
        known = fields_of(message.kind)
        if name.text not in known:
            self._found(
                "config-unknown-field",
                name.line,
                f"{_title(message)} has no field {printable(name.text, 60)!r}",
                _did_you_mean(name.text, known),
            )
            self._skip_value()
        else:
            self._values(message, known[name.text], name.line)
        self._took(",", ";")

    def _values(self, message: Message, known: Field, line: int) -> None:
        self._check_choice(message, known, line)
        if not self._took(":") and not known.is_message:
            raise self._broken("':'")
        if not (known.repeated and self._took("[")):
            self._value(message, known, line)
            return
        if self._took("]"):
            return
        while True:
            self._value(message, known, self.token.line)
            if self._took("]"):
                return
            if not self._took(","):
                raise self._broken("',' or ']'")
            if self._took("]"):
                self._found(
                    "config-syntax",
                    line,
                    f"a ',' stands before the ']' of {known.name}",
                    "leave the last ',' out",
                )
                return

    def _value(self, message: Message, known: Field, line: int) -> None:
        if known.is_message:
            value: Any = self._message(known, line)
        elif self.token.kind == "sign" or self.token.text == END:
            if self.token.text not in _CLOSING:
                raise self._broken(expected_of(known))
            self._found(
                "config-type",
                self.token.line,
                f"{known.name} takes {expected_of(known)}",
                f"write {known.name}: and {expected_of(known)}",
            )
            self._skip_value()
            return
        else:
            value = self._scalar(known)
            if value is None:
                return
        self._check_once(message, known, line)
        message.values[known.name].append(Value(line, value))

    def _message(self, known: Field, line: int) -> Message:
        opened = self.token.text
        if not self._took("{", "<"):
            raise self._broken("'{'")
        message = Message(known.kind, line)
        while not self._took(_CLOSING[opened]):
            if self.token.text == END:
                what = f"the {opened!r} of {known.name} on line {line} is not closed"
                write = f"write {_CLOSING[opened]!r} after its last field"
                self._found("config-syntax", line, what, write)
                raise _Stop
            self._field(message)
        return message

    def _scalar(self, known: Field) -> Any:
        """Take a value; return None, and say so, if it is not of the field's type."""
        token = self._take()
        texts = [token]
        while token.kind == "text" and self.token.kind == "text":
            texts.append(self._take())
        try:
            return read_scalar(known, texts)
        except ValueError as error:
            rule = "config-enum" if known.kind in ENUMS else "config-type"
            reason = f": {error}" if error.args else ""
            self._found(
                rule,
                token.line,
                f"{known.name} has {_shown(token)}{reason}",
                f"write {known.name}: and {expected_of(known, token.text)}",
            )
            return None

    def _check_choice(self, message: Message, known: Field, line: int) -> None:
        for other in fields_of(message.kind).values():
            if known.choice and other.choice == known.choice and other.name != known.name:
                given = message.one(other.name)
                if given is not None:
                    self._found(
                        "config-repeated",
                        line,
                        f"{known.name} excludes {other.name} on line {given.line}",
                        "keep one of them",
                    )

    def _check_once(self, message: Message, known: Field, line: int) -> None:
        given = message.one(known.name)
        if known.repeated or given is None:
            return
        # Protobuf does not tell a field that is not given from one that is given its default.
        if known.is_message or known.choice or given.value not in (0, "", default_of(known)):
            self._found(
                "config-repeated",
                line,
                f"{known.name} is given on line {given.line} already",
                "keep one of them",
            )

    def _skip_value(self) -> None:
        """Pass by the value of a field that is not known."""
        colon = self._took(":")
        if self.token.kind == "sign" and self.token.text in _CLOSING:
            self._skip_brackets()
        elif colon and self.token.kind != "sign":
            while self._take().kind == "text" and self.token.kind == "text":
                pass
        else:
            raise self._broken("a value")

    def _skip_brackets(self) -> None:
        closing: list[str] = []
        while True:
            token = self._take()
            if token.text == END:
                raise self._broken(repr(closing[-1]))
            if token.kind != "sign":
                continue
            if token.text in _CLOSING:
                closing.append(_CLOSING[token.text])
            elif token.text == closing[-1]:
                closing.pop()
            if not closing:
                return


def parse(text: str, place: Place) -> tuple[Message, list[Finding]]:
    """Return a configuration, as far as it can be read, and what is wrong with its text."""
    parser = _Parser(place, tokens(text))
    message = parser.run()
    return message, parser.findings


def _title(message: Message) -> str:
    return "an entry of a map" if message.kind.startswith("entry ") else message.kind


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:60], list(known), 1, 0.5)
    if near:
        return f"write {near[0]}"
    return "leave it out" if not known else f"write one of {', '.join(known)}"


def _shown(token: Token) -> str:
    """Return a token as messages show it; texts may be secrets."""
    if token.text == END:
        return "the end of the file"
    return "a text in quotes" if token.kind == "text" else repr(printable(token.text, 60))
