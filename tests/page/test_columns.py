"""Columns are called the same in the terminal and on the page."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from page.reading import opened
from raybench.page.build import page_of
from raybench.page.parts import Limits
from raybench.report.columns import columns_of
from raybench.report.screen import Screen
from raybench.report.tables import print_everything


@pytest.fixture(scope="module")
def terminal(of_a_language_model: Path) -> list[str]:
    out = io.StringIO()
    print_everything(opened(of_a_language_model), Screen(file=out, width=400))
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("caption", "head"),
    [
        ("Tokens a second", ("deployment", "against", "change", "95 % from", "verdict")),
        ("Choosing an adapter", ("configuration", "adapter", "mean", "mean, of a request", "which takes")),
        (
            "Memory (10^6 bytes) and load",
            ("deployment", "load", "adapter load", "weights", "adapters", "resident", "load peak", "forward peak"),
        ),
        ("End to end", ("Deployment", "n", "Mean latency of all", "tokens/s", "vs Full FT (95 % interval)")),
        ("TTFT", ("Deployment", "n", "Mean TTFT of all", "vs Full FT (95 % interval)")),
    ],
)
def test_a_table_has_the_same_columns_in_both(
    caption: str, head: tuple[str, ...], terminal: list[str], of_a_language_model: Path
) -> None:
    page = page_of(opened(of_a_language_model), None, Limits())
    (own,) = [grid for of in page.sections for grid in of.grids if grid.caption.startswith(caption)]
    assert [name for name in own.head if name in head] == list(head)
    at = next(number for number, line in enumerate(terminal) if line.strip().startswith(caption))
    places = [terminal[at + 2].index(name) for name in head]
    assert places == sorted(places)


def test_a_column_that_a_view_does_not_have_is_none() -> None:
    with pytest.raises(KeyError):
        columns_of("throughput", {"mean_ms": str})
