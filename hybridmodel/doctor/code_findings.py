"""Finds old entries and providers in a module, and code that creates old operators."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace

from hybridmodel.doctor import advice
from hybridmodel.doctor import dead_names as names
from hybridmodel.doctor.bindings import Bindings, Texts, last_name, text_of
from hybridmodel.doctor.records import Finding, Kind, Level

_COMPOSED = (ast.JoinedStr, ast.BinOp, ast.Attribute)
_PLACEHOLDER = re.compile(r"\W*|\s*[<{\[(].*[>}\])]\s*", re.DOTALL)
_PROVIDERS = re.compile(r"\w*providers?_*", re.IGNORECASE)
_CATALOGUES = re.compile(r"known|\ball_|every|support|avail|valid|choice|map", re.IGNORECASE)
_EXCLUDED = re.compile(
    r"exclu|ignor|skip|unsupport|unwant|unavail|unknown|block|deny|disab|dead|deprecat|remov|drop"
    r"|without|forbid|reject|invalid|\bbad|\bno_|\bnot_|__all__",
    re.IGNORECASE,
)


def find_entries(bindings: Bindings, new_import: str) -> Iterator[Finding]:
    """Yield each session or run entry, and each key that the code contains beside one."""
    session = Finding(
        kind="session-entry", name="", change=f"{new_import}; the entries stay as they are"
    )
    through_mlflow = replace(session, change=advice.THROUGH_MLFLOW)
    ways = [
        (_keys(bindings, "add_session_config_entry"), session),
        (_keys(bindings, "add_run_config_entry"), replace(session, kind="run-entry")),
        (bindings.given.get("extra_session_config", []), through_mlflow),
    ]
    seen: set[ast.expr] = set()
    is_all_known = True
    for starts, finding in ways:
        texts, is_known = bindings.reach(starts)
        is_all_known = is_all_known and is_known
        for node, value in texts.items():
            if node not in seen:
                yield from _entry_findings(bindings, node, value, finding)
        seen.update(texts)
    for node in () if is_all_known else bindings.constants:
        is_new = node not in seen and _kind(text_of(node)) is not None
        if is_new and bindings.taker(node) is not None:
            possible = replace(session, level="possible")
            yield from _entry_findings(bindings, node, bindings.partners.get(node), possible)


def find_providers(bindings: Bindings, new_import: str) -> Iterator[Finding]:
    """Yield each use of an old provider's name."""
    lists = [value for value, name in bindings.takers.items() if _is_list_of_providers(name)]
    reached, _ = bindings.reach(lists)
    change = f"delete the name; to ask an endpoint, {new_import}"
    for node in bindings.constants:
        name = text_of(node)
        level = _level(bindings, node, reached) if names.PROVIDER.fullmatch(name) else None
        if level is not None:
            line = node.lineno
            yield Finding(kind="provider", name=name, change=change, level=level, line=line)


def find_builders(bindings: Bindings) -> Iterator[Finding]:
    """Yield each call of ``onnx.helper.make_node`` for an old operator."""
    for node in bindings.nodes:
        if isinstance(node, ast.Call) and last_name(node.func) == "make_node":
            given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
            texts, _ = bindings.reach([node.args[0] if node.args else given.get("op_type")])
            attributes = {
                name: getattr(bindings.constant(value), "value", advice.UNKNOWN)
                for name, value in given.items()
            }
            for name in sorted({text_of(text) for text in texts}.intersection(names.OPERATORS)):
                change, endpoint = advice.of_operator(name, attributes)
                found = Finding(kind="builder", name=name, change=change, line=node.lineno)
                yield replace(found, endpoint=endpoint)


def _keys(bindings: Bindings, method: str) -> list[ast.expr | None]:
    """Return the first argument of each call of a method; None for a reference without a call."""
    keys: list[ast.expr | None] = []
    for node in bindings.nodes:
        if isinstance(node, ast.Attribute) and node.attr == method:
            call = bindings.parents[node]
            arguments = call.args if isinstance(call, ast.Call) and call.func is node else []
            keys.append(arguments[0] if arguments else None)
    return keys


def _kind(text: str) -> Kind | None:
    """Return the kind of a documented entry."""
    if names.RUN_ENTRY.fullmatch(text):
        return "run-entry"
    return "session-entry" if names.SESSION_ENTRY.fullmatch(text) else None


def _entry_findings(
    bindings: Bindings, node: ast.Constant, value: ast.expr | None, like: Finding
) -> Iterator[Finding]:
    text = text_of(node)
    if not names.START_OF_ENTRY.match(text):
        return
    is_whole = not isinstance(bindings.parents[node], _COMPOSED)
    name = text if is_whole and names.ANY_ENTRY.fullmatch(text) else f"{text.partition('.')[0]}.…"
    found = replace(like, kind=_kind(text) or like.kind, name=name, line=node.lineno)
    is_openai = text.endswith(".endpoint_type") and text_of(bindings.constant(value)) == "openai"
    if is_openai or text.endswith(".audio_file"):
        found = replace(found, change=advice.OTHER_SERVICE)
    yield found
    for key in _written_out(bindings, value) if names.KEY_ENTRY.fullmatch(text) else ():
        yield Finding(kind="auth-key", name=name, change=advice.KEY, line=key.lineno)


def _written_out(bindings: Bindings, value: ast.expr | None) -> Iterator[ast.Constant]:
    """Yield the texts that can be a key; placeholders are none."""
    choices = [value]
    if isinstance(value, ast.BoolOp):
        choices = [*value.values]
    elif isinstance(value, ast.IfExp):
        choices = [value.body, value.orelse]
    for key in map(bindings.constant, choices):
        text = text_of(key)
        if key and not _PLACEHOLDER.fullmatch(text) and not names.START_OF_ENTRY.match(text):
            yield key


def _level(bindings: Bindings, node: ast.Constant, reached: Texts) -> Level | None:
    parent = bindings.parents[node]
    is_key = isinstance(parent, ast.Dict) and node in bindings.partners
    if is_key or isinstance(parent, _COMPOSED):
        return None
    if node in reached:
        return "certain"
    taker = bindings.taker(node)
    return None if taker is None or _EXCLUDED.search(taker) else "possible"


def _is_list_of_providers(name: str) -> bool:
    is_telling = _PROVIDERS.fullmatch(name) is not None
    return is_telling and not _CATALOGUES.search(name) and not _EXCLUDED.search(name)
