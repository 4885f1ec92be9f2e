"""Reading a page back: what a browser would find in it."""

from __future__ import annotations

import json
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from raybench.analysis.tables import Tables


@cache
def opened(run: Path) -> Tables:
    """The run's tables, opened once for all tests, which only read."""
    return Tables(run)


VOID = {"meta", "br", "wbr"}
LOADING = {"src", "href", "xlink:href", "srcset", "action", "data", "poster", "background", "style"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "nav", "script"),
    *("h1", "h2", "p", "ul", "li", "a", "strong", "pre", "details", "summary", "div", "figure", "figcaption"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "wbr"),
    *("svg", "g", "path", "defs", "use", "text", "tspan", "span", "clippath", "rect"),
}


class Page(HTMLParser):
    """The elements of a page, their attributes, the text of each kind; raises AssertionError where they do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self._goes_on = False
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._goes_on = tag == "wbr"
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._goes_on:
            self.texts[self._open[-1]][-1] += data
        elif self._open:
            self.texts.setdefault(self._open[-1], []).append(data)
        self._goes_on = False

    @property
    def numbers(self) -> Any:
        (text,) = self.texts["script"]
        return json.loads(text)

    @property
    def parts(self) -> list[str]:
        return [value for tag, name, value in self.attributes if tag == "h2" and name == "id"]

    def text(self) -> str:
        """What is read, wherever its lines may end."""
        found = "\n".join(" ".join(texts) for tag, texts in self.texts.items() if tag != "script")
        return found.replace("\N{NO-BREAK SPACE}", " ")


def check(html: str) -> Page:
    """One file of at most 500 kB that loads nothing and runs nothing, and in which no id is there twice."""
    assert len(html.encode()) <= 500_000
    page = Page(html)
    assert set(page.tags) <= TAGS
    assert page.tags.count("script") == 1
    assert ("script", "type", "application/json") in page.attributes
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in LOADING:
            assert "//" not in value, (tag, name, value)
            assert name == "style" or value.startswith("#"), (tag, name, value)
            assert "url(" not in value, (tag, name, value)
    assert "@import" not in html
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = [value[1:] for _, name, value in page.attributes if name in ("href", "xlink:href")]
    assert set(targets) <= set(ids)
    return page
