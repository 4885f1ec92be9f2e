"""No name from a run becomes markup, script, mathematics or a mention; each is shown."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from hostile_runs import hostile_copy
from page.reading import check, opened
from raybench.page.build import page_of
from raybench.page.parts import Forest, Limits, Mark
from raybench.page.plots import draw
from raybench.page.rendering import html_of, markdown_of

MARKUP = "</script></style></svg><img src=x onerror=alert(1)><script>alert(2)</script>\"'`{{7*7}}{% raw %}<!--"
WORDS = {
    "html": MARKUP,
    "markdown": "| `x` **b** [l](https://example.invalid) ![i](https://example.invalid) @somebody #1 :smile: <b>\n# no",
    "mathematics": r"$\frac{1}{0}$ \N{DEGREE SIGN} %s {x}",
    "unseen": "\x1b[31m\u202e\u2066\u200b\ufeff\r\n\u2028\x85\x0b",
    "braces": "{deployments} '; DROP TABLE run; --",
}


@pytest.fixture(scope="module", params=WORDS)
def hostile(
    request: pytest.FixtureRequest, of_which_one_failed: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    word = WORDS[request.param]
    return word, hostile_copy(of_which_one_failed, tmp_path_factory.mktemp("hostile"), word, names=False)


@pytest.fixture(scope="module")
def plain(of_which_one_failed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_copy(of_which_one_failed, tmp_path_factory.mktemp("plain"), "x", names=False)


def test_no_name_becomes_markup(hostile: tuple[str, Path]) -> None:
    word, root = hostile
    written = html_of(page_of(opened(root), None, Limits()))
    page = check(written)
    assert "img" not in page.tags
    assert "49" not in {text.strip() for texts in page.texts.values() for text in texts}
    shown = page.text()
    assert {c for c in shown if not c.isprintable()} <= {"\n"}
    if word == MARKUP:
        assert MARKUP[:40] in shown
        assert MARKUP[:20] in "\n".join(page.texts["text"])  # in the plots too
    table = page.numbers["tables"]["completeness"]
    assert any(word in row[table["columns"].index("deployment")] for row in table["rows"])


def shape(markdown: str) -> list[str]:
    """Which elements Markdown has, one after the other, whatever text is in them."""
    found = []
    for token in MarkdownIt("js-default", {"html": True}).parse(markdown):
        found += [token.type, *(child.type for child in token.children or () if not child.type.startswith("text"))]
    return found


def test_no_name_becomes_markdown(hostile: tuple[str, Path], plain: Path) -> None:
    _, root = hostile
    written = markdown_of(page_of(opened(root), None, Limits()))
    assert {c for c in written if not c.isprintable()} <= {"\n"}
    assert shape(written) == shape(markdown_of(page_of(opened(plain), None, Limits())))
    prose = re.sub(r"<pre>.*?</pre>", "", written, flags=re.DOTALL)
    assert not re.search(r"@\w|(?<!&)#\w|:smile:|://", prose)


def test_what_is_copied_from_markdown_is_what_it_was(hostile: tuple[str, Path]) -> None:
    _, root = hostile
    written = markdown_of(page_of(opened(root), None, Limits()))
    blocks = re.findall(r"<pre>(.*?)</pre>", written, re.DOTALL)
    assert any("raybench sql" in html.unescape(block) for block in blocks)
    assert "&#8203;" not in "".join(blocks)


def test_a_plot_takes_a_name_for_text() -> None:
    marks = tuple(Mark(word, word, 1.1, 1.0, 1.2, "slower") for word in (*WORDS.values(), "_hidden", "$a_1$"))
    drawn = str(draw(Forest("names", "names", marks, 0.02, MARKUP, "FROM run")))
    assert "$a_1$" in drawn
    assert "_hidden" in drawn
    assert "<img" not in drawn
    assert "<script" not in drawn
