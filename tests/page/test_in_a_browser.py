"""A page in a real browser: nothing is wider than the screen or cut, nothing leaves, and everybody can read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostile_runs import hostile_copy
from page.browser import AXE, broken_rules, chromium, looked_at, shown
from page.reading import opened
from raybench import cli
from raybench.page.build import page_of
from raybench.page.fitting import MOST_BYTES, fitting
from raybench.page.rendering import html_of

WORD = "</script><b>'\"$\\frac{1}{0}$" + "W" * 90 + "\u202e\x1b[31m"
NAMES = (
    "of_classifiers",
    "of_a_language_model",
    "of_servers",
    "of_which_one_failed",
    "of_two",
    "of_noise",
    "of_two_noisy",
    "hostile",
)

needs_axe = pytest.mark.skipif(
    not AXE.is_file(), reason=f"no axe-core at {AXE}: make test fetches it; RAYBENCH_AXE names it"
)


@pytest.fixture(scope="module")  # its library has an event loop run in this thread while it is open
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def hostile(of_which_one_failed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_copy(of_which_one_failed, tmp_path_factory.mktemp("hostile"), WORD, names=False)


@pytest.fixture(scope="session")
def pages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of each of `NAMES`, as it is written."""
    folder, found = tmp_path_factory.mktemp("pages"), {}
    for name in NAMES:
        found[name] = folder / f"{name}.html"
        of = request.getfixturevalue(name)
        if isinstance(of, tuple):
            assert cli.main(["report", *map(str, of), "--out", str(found[name])]) == 0
        else:
            text = fitting(lambda limits, of=of: page_of(opened(of), None, limits), html_of)
            found[name].write_text(text)
        assert found[name].stat().st_size <= MOST_BYTES
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("name", NAMES)
def test_all_of_a_page_is_seen_and_nothing_leaves(
    name: str, width: int, dark: bool, browser: Any, pages: dict[str, Path]
) -> None:
    with shown(browser, pages[name], width, dark) as (page, heard):
        found = looked_at(page)
        assert heard == [f"request: {pages[name].as_uri()}"]
    assert found["cut"] == []
    assert found["outside"] == []
    assert found["wider"] <= 0
    assert found["smallest"] >= 10  # CSS pixels, of the letters of plots
    assert found["overlapping"] == []
    assert found["parted"] == []
    assert found["torn"] == []
    assert found["pale"] == []
    assert found["paper"] == ("rgb(22, 24, 26)" if dark else "rgb(255, 255, 255)")


def test_what_is_folded_is_in_print(browser: Any, pages: dict[str, Path]) -> None:
    with shown(browser, pages["of_a_language_model"], 700, False) as (page, _):
        rest = page.locator("details.rest td")
        assert rest.count() > 0
        assert not any(cell.is_visible() for cell in rest.all()[:3])
        page.emulate_media(media="print")
        assert all(cell.is_visible() for cell in rest.all())


@needs_axe
@pytest.mark.parametrize(("width", "dark"), [(360, True), (1400, False)], ids=["360-dark", "1400-light"])
@pytest.mark.parametrize("name", NAMES)
def test_everybody_can_read_a_page(name: str, width: int, dark: bool, browser: Any, pages: dict[str, Path]) -> None:
    with shown(browser, pages[name], width, dark) as (page, _):
        looked_at(page)
        assert broken_rules(page) == []


@needs_axe
def test_what_nobody_can_read_is_found(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "pale.html"
    file.write_text(
        '<!DOCTYPE html><html lang="en"><title>x</title><main><h1 style="color:#eee">Pale</h1></main></html>'
    )
    with shown(browser, file, 360, False) as (page, _):
        assert [found.partition(":")[0] for found in broken_rules(page)] == ["color-contrast"]


@needs_axe
def test_pale_letters_of_a_plot_are_found_which_axe_core_does_not_judge(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "plot.html"
    words = "".join(
        f'<text x="9" y="{place}" font-size="16" {style}>{style}</text>'
        for place, style in ((20, "fill='#767676'"), (50, "fill='#777'"), (80, "fill='#000' opacity='.5'"))
    )
    file.write_text(
        '<!DOCTYPE html><html lang="en"><title>x</title><body style="background: #fff"><main><h1>x</h1>'
        f'<svg role="img" aria-label="x" width="300" height="90" viewBox="0 0 300 90">{words}</svg></main></html>'
    )
    with shown(browser, file, 360, False) as (page, _):
        assert looked_at(page)["pale"] == ["fill='#777'", "fill='#000' opacity='.5'"]
        assert broken_rules(page) == []
