"""How the page looks: two palettes and one sheet of styles."""

from __future__ import annotations

from collections.abc import Mapping

LEVELS = 6
"""Shades of a cell, from nothing to all."""

LIGHT: Mapping[str, str] = {
    "page": "#f7f7f5",
    "card": "#ffffff",
    "ink": "#1c2126",
    "soft": "#56606a",
    "line": "#d5d9dd",
    "local": "#0b62a8",
    "azure": "#a8480c",
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
    "azure": "#f0a06a",
    "both": "#6fcf9f",
    "same": "#1f5a41",
    "other": "#7a3d14",
}

TEXT = ("ink", "soft", "local", "azure", "both")
"""Colours that text is written in; each is legible on every surface."""


def shades(palette: Mapping[str, str]) -> dict[str, str]:
    """Return the surfaces by name: page, card, and the shades of cells."""
    found = {"page": palette["page"], "card": palette["card"]}
    for kind in ("same", "other"):
        for level in range(1, LEVELS):
            found[f"{kind}-{level}"] = mix(palette["card"], palette[kind], level / (LEVELS - 1))
    return found


def mix(one: str, other: str, share: float) -> str:
    """Return a colour on the way from one to the other."""
    pairs = zip(_rgb(one), _rgb(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21.

    As the Web Content Accessibility Guidelines 2.2 define it ("contrast ratio").
    """
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def sheet() -> str:
    """Return the styles."""
    return "\n".join(
        [
            _root(LIGHT),
            "@media screen and (prefers-color-scheme: dark) {" + _root(DARK) + "}",
            _RULES,
            *(
                f"td.{kind}-{level} {{ background: var(--{kind}-{level}); }}"
                for kind in ("same", "other")
                for level in range(1, LEVELS)
            ),
        ]
    )


def _root(palette: Mapping[str, str]) -> str:
    colours = {**palette, **shades(palette)}
    return ":root {" + " ".join(f"--{name}: {value};" for name, value in colours.items()) + "}"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    parts = (part / 255 for part in _rgb(colour))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


_RULES = """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    "Liberation Sans", sans-serif;
}
header, main, footer { max-width: 60rem; margin: 0 auto; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 .6rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: 0 0 .8rem; max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--local); }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; }
.soft, figcaption, caption { color: var(--soft); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0;
  margin: 1rem 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1.4rem 1.5rem; margin: 1.2rem 0; }
dl.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.9rem, 1fr));
  gap: .8rem; margin: 1.2rem 0 0; }
dl.figures > div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem 1rem; display: flex; flex-direction: column; }
dl.figures dt { color: var(--soft); font-size: .9rem; }
dl.figures dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3;
  font-variant-numeric: tabular-nums; }
dl.figures dd.soft { font-size: .85rem; font-weight: 400; }
dl.facts { display: grid; grid-template-columns: minmax(0, max-content) minmax(0, 1fr);
  gap: .25rem 1.2rem; margin: 0; }
dl.facts dt { color: var(--soft); overflow-wrap: anywhere; }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .6rem 0; }
:focus-visible { outline: 2px solid var(--local); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 .4rem; }
th, td { padding: .3rem .8rem; text-align: left; vertical-align: top;
  border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 600; }
td { overflow-wrap: break-word; max-width: 32rem; }
th.number, td.number, table.pairs td { text-align: right; white-space: nowrap; }
table.pairs td { min-width: 3.6rem; border: 1px solid var(--line); }
figure { margin: .8rem 0 1rem; }
figcaption { font-size: .92rem; max-width: 46rem; }
svg { display: block; width: 100%; max-width: 48rem; min-width: 27rem; height: auto; }
svg text { font-size: 12.5px; fill: var(--soft); font-family: inherit; }
svg .local { --mark: var(--local); }
svg .azure { --mark: var(--azure); }
svg .both { --mark: var(--both); }
svg text.local, svg text.azure, svg text.both { fill: var(--mark); font-weight: 600; }
svg text.ink { fill: var(--ink); }
svg text.over { paint-order: stroke; stroke: var(--card); stroke-width: 5px; }
svg .grid { stroke: var(--line); stroke-width: 1; fill: none; }
svg .curve { stroke: var(--mark); stroke-width: 2; fill: none; stroke-linejoin: round; }
svg .curve.azure { stroke-dasharray: 7 3; }
svg .band { fill: var(--mark); opacity: .18; }
svg .bar { fill: var(--mark); }
svg .dot { fill: var(--mark); }
svg .faint { fill: var(--mark); opacity: .55; }
svg .point { fill: var(--card); stroke: var(--mark); stroke-width: 3; }
svg .rule { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 3 3; fill: none; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--soft); }
td details { margin: 0; min-width: 18rem; }
td summary { color: var(--ink); }
.beside { display: flex; flex-wrap: wrap; gap: 0 3rem; }
.beside > * { min-width: 0; max-width: 100%; }
footer { color: var(--soft); font-size: .9rem; }
@media (max-width: 34rem) {
  body { padding: 1rem .5rem 2rem; }
  section { padding: 1rem .8rem; }
  dl.facts { grid-template-columns: 1fr; gap: 0; }
  dl.facts dd { margin-bottom: .4rem; }
}
@media print {
  :root { color-scheme: light; }
  body { background: none; padding: 0; font-size: 10pt; }
  header, main, footer { max-width: none; }
  nav { display: none; }
  section { border: 0; padding: 0; }
  figure, tr, dl.figures > div { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  table, svg { max-width: 100%; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
