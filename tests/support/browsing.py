"""A tab of a real browser for tests of pages, and what they look for in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hybridmodel.exceptions import ConfigurationError
from tests.support.devtools import BROWSER_ENV, Tab, browser, tab
from tests.support.webengine import DoesNotStartError, unsupported, webengine_tab

_LONGEST_S = 20.0

CONTRASTS = """
(() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const hex = ([r, g, b]) => '#' + [r, g, b].map(v => v.toString(16).padStart(2, '0')).join('');
  const surface = node => {
    for (; node; node = node.parentElement) {
      const found = parts(getComputedStyle(node).backgroundColor);
      if (found.length < 4 || found[3] > 0) return hex(found);
    }
  };
  const seen = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || node.closest('title, desc, noscript')) continue;
    const style = getComputedStyle(node);
    const ink = node.closest('svg') ? style.fill : style.color;
    seen.add(hex(parts(ink)) + ' ' + surface(node));
  }
  return [...seen];
})()
"""
"""The colours of every text of a page, each with that of the surface behind it."""


@contextmanager
def real_tab() -> Iterator[Tab]:
    """Open a tab of the browser that is installed, else of the one that pip brings; else skip."""
    found, reason = browser(), unsupported()
    advice = f"install Chromium, or name it in {BROWSER_ENV}"
    if found is None and reason:
        pytest.skip(f"{reason}: {advice}")
    try:
        with tab(found) if found else webengine_tab() as opened:
            yield opened
    except (ConfigurationError, DoesNotStartError) as error:
        pytest.skip(f"Qt's Chromium cannot be used ({error}): {advice}")


def until(tab: Tab, expression: str, expected: Any = True) -> None:
    """Wait until an expression has a value in the page."""
    end = time.monotonic() + _LONGEST_S
    while (found := tab.evaluate(expression)) != expected:
        assert time.monotonic() < end, f"{expression} is {found!r}"
        time.sleep(0.02)
