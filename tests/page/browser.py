"""A real Chromium, driven by Playwright, and axe-core, where they are installed: what a reader of a page meets."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("RAYBENCH_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None
)
AXE = Path(os.environ.get("RAYBENCH_AXE") or Path(sys.prefix, "axe-core", "package", "axe.min.js"))
"""Where `make test` puts it."""

_FOUND = """() => {
  for (const one of document.querySelectorAll('details')) one.open = true;
  const box = (one) => one.getBoundingClientRect();
  const outside = (one, all) => one.width > 0 && (one.left < all.left - 1 || one.right > all.right + 1
      || one.top < all.top - 1 || one.bottom > all.bottom + 1);
  const meet = (one, other) => Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1
      && Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 3;
  const lines = (node, from, length) => {
    const range = document.createRange();
    range.setStart(node, from);
    range.setEnd(node, from + length);
    return new Set([...range.getClientRects()].map((line) => Math.round(line.top))).size;
  };
  const torn = () => [...document.querySelectorAll('td')]
    .filter((cell) => /^[\\w./ -]+$/.test(cell.textContent)).flatMap((cell) =>
    [...cell.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).flatMap((node) =>
      [...node.textContent.matchAll(/(?<![a-zA-Z0-9])[a-zA-Z0-9]{1,12}(?![a-zA-Z0-9])/g)]
        .filter((word) => lines(node, word.index, word[0].length) > 1).map(() => cell.textContent)));
  const parted = () => {
    const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const piece = /[-+]?[\\d.,]*\\d\\s(%|ms|s|min|[kMG]B)(?!\\w)|\\[[-+][\\d.,]+\\s%,\\s[-+][\\d.,]+\\s%\\]/g;
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      if (node.parentElement.closest('svg, pre, script')) continue;
      for (const one of node.textContent.matchAll(piece)) {
        if (lines(node, one.index, one[0].length) > 1) found.push(one[0]);
      }
    }
    return found;
  };
  const texts = (svg) => [...svg.querySelectorAll('text')];
  const luminance = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const contrast = (ink, paper) => {
    const [dark, light] = [luminance(ink), luminance(paper)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const opacity = (one) => one === null ? 1
    : getComputedStyle(one).opacity * getComputedStyle(one).fillOpacity * opacity(one.parentElement);
  const scrolls = (one) => ['auto', 'scroll'].includes(getComputedStyle(one).overflowX);
  return {
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    cut: [...document.body.querySelectorAll('*')]
      .filter((one) => one.clientWidth > 0 && !one.closest('svg') && !scrolls(one))
      .filter((one) => one.scrollWidth > one.clientWidth + 1)
      .map((one) => one.outerHTML.slice(0, 100)),
    outside: [...document.querySelectorAll('svg')].flatMap((svg) =>
      texts(svg).filter((text) => outside(box(text), box(svg))).map((text) => text.textContent)),
    smallest: Math.min(...[...document.querySelectorAll('svg')].flatMap((svg) => texts(svg).map((text) =>
      parseFloat(getComputedStyle(text).fontSize) * box(svg).width / svg.viewBox.baseVal.width))),
    overlapping: [...document.querySelectorAll('svg')].flatMap((svg) => texts(svg).flatMap((one, at) =>
      texts(svg).slice(at + 1).filter((other) => meet(box(one), box(other)))
        .map((other) => `${one.textContent} | ${other.textContent}`))),
    parted: parted(),
    torn: torn(),
    paper: getComputedStyle(document.body).backgroundColor,
    // axe-core leaves the contrast of an SVG's letters undetermined: https://www.w3.org/TR/WCAG22/#contrast-minimum
    pale: [...document.querySelectorAll('svg')].flatMap((svg) => texts(svg)
      .filter((text) => contrast(getComputedStyle(text).fill, getComputedStyle(document.body).backgroundColor) < 4.5
        || opacity(text) < 1)
      .map((text) => text.textContent)),
  };
}"""
_BROKEN = """async () => (await axe.run()).violations.flatMap((rule) =>
  rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 150)} ${node.failureSummary.slice(0, 300)}`))"""


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; skips the test where it, or what drives it, is not installed."""
    drives = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed; RAYBENCH_CHROMIUM names one elsewhere")
    with drives.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@contextmanager
def shown(browser: Any, file: Path, width: int, dark: bool, height: int = 900) -> Iterator[tuple[Any, list[str]]]:
    """A page opened from disk, with all that it asked for and all that it said meanwhile."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", offline=True
    )
    page, heard = context.new_page(), []
    page.on("request", lambda request: heard.append(f"request: {request.url}"))
    page.on("console", lambda message: heard.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.goto(file.as_uri())
    yield page, heard
    context.close()


def looked_at(page: Any) -> Any:
    """What is wider than the screen, cut, or too small to read; everything that can be opened is open."""
    return page.evaluate(_FOUND)


def broken_rules(page: Any) -> list[str]:
    """What axe-core finds against its rules, contrast among them."""
    page.evaluate(AXE.read_text("utf-8"))
    found: list[str] = page.evaluate(_BROKEN)
    return found
