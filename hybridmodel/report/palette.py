"""The colours of a report's page: two palettes, and the shades of cells between them."""

from __future__ import annotations

from collections.abc import Mapping

LEVELS = 6
"""Shades of a cell, from nothing to all."""

SHADES = tuple(f"{kind}-{level}" for kind in ("same", "other") for level in range(1, LEVELS))
"""Class names of shaded cells."""

LIGHT: Mapping[str, str] = {
    "page": "#f7f7f5",
    "card": "#ffffff",
    "ink": "#1c2126",
    "soft": "#56606a",
    "line": "#d5d9dd",
    "local": "#0b62a8",
    "remote": "#a8480c",
    "both": "#1b6e4a",
    "same": "#cfe6da",
    "other": "#f6c9a8",
}
DARK: Mapping[str, str] = {
    "page": "#101417",
    "card": "#181d22",
    "ink": "#e8ebee",
    "soft": "#a3adb6",
    "line": "#343c44",
    "local": "#74b6f2",
    "remote": "#f0a06a",
    "both": "#6fcf9f",
    "same": "#1f5a41",
    "other": "#7a3d14",
}


def colours(palette: Mapping[str, str]) -> dict[str, str]:
    """Return a palette with the shades of cells."""
    found = dict(palette)
    for shade in SHADES:
        kind, level = shade.split("-")
        found[shade] = mix(palette["card"], palette[kind], int(level) / (LEVELS - 1))
    return found


def mix(one: str, other: str, share: float) -> str:
    """Return a colour between two others."""
    pairs = zip(_rgb(one), _rgb(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _rgb(colour: str) -> bytes:
    return bytes.fromhex(colour[1:])
