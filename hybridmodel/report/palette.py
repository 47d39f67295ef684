"""The colours of a report's page: two palettes, and the shades of cells between them."""

from __future__ import annotations

from collections.abc import Mapping

LEVELS = 6  # Shades of a cell, from nothing to all.

# Class names of shaded cells.
SHADES = tuple(f"{kind}-{level}" for kind in ("same", "other") for level in range(1, LEVELS))

_COLOURS = {  # On light and on dark screens.
    "page": ("#f7f7f5", "#101417"),
    "card": ("#ffffff", "#181d22"),
    "ink": ("#1c2126", "#e8ebee"),
    "soft": ("#56606a", "#a3adb6"),
    "line": ("#d5d9dd", "#343c44"),
    "local": ("#0b62a8", "#74b6f2"),
    "remote": ("#a8480c", "#f0a06a"),
    "both": ("#1b6e4a", "#6fcf9f"),
    "same": ("#cfe6da", "#1f5a41"),
    "other": ("#f6c9a8", "#7a3d14"),
}
LIGHT: Mapping[str, str] = {name: light for name, (light, _) in _COLOURS.items()}
DARK: Mapping[str, str] = {name: dark for name, (_, dark) in _COLOURS.items()}


def colours(palette: Mapping[str, str]) -> dict[str, str]:
    """Return a palette with the shades of cells."""
    found = dict(palette)
    for shade in SHADES:
        kind, level = shade.split("-")
        found[shade] = mix(palette["card"], palette[kind], int(level) / (LEVELS - 1))
    return found


def mix(one: str, other: str, share: float) -> str:
    """Return a colour between two others."""
    pairs = zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)
