"""The times between tokens, each by itself: a step that stalls is seen, which a request's mean hides."""

from __future__ import annotations

from pathlib import Path

import pytest

from generated_runs import MS, Took, generated, load_generated
from page.reading import opened
from raybench.page.build import page_of
from raybench.page.parts import Chart, Limits
from raybench.page.queries import text_of
from raybench.page.token_gaps import token_gaps
from raybench.plan.plan import Configuration


@pytest.fixture(scope="module")
def stalling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps of 1 and 2 ms; in round 1 the last takes 30."""
    folder = tmp_path_factory.mktemp("gaps")

    def cost(c: Configuration, task: str, request: int, round_index: int) -> Took:
        return Took(10 * MS, [1 * MS, 2 * MS, (30 if round_index == 1 else 2) * MS])

    run: Path = generated(load_generated(folder, rounds=2), folder / "results", cost)
    return run


def test_each_time_counts_by_itself(stalling: Path) -> None:
    tables = opened(stalling)
    rows = {row["deployment"]: row for row in tables.rows(text_of("page_gaps"))}
    full = rows["Full FT"]
    timed = tables.rows(
        "SELECT count(*) AS n FROM timed JOIN configurations AS c ON c.name = configuration AND c.block = timed.block "
        "WHERE c.deployment = 'Full FT'"
    )[0]["n"]
    assert (full["n"], full["every"]) == (3 * timed, 1)
    # A third takes 1 ms, a half 2, a sixth 30.
    assert [full["ms"][percent] for percent in (0, 30, 40, 80, 90, 100)] == [1, 1, 2, 2, 30, 30]
    assert (full["p99_least_ms"], full["p99_most_ms"], full["p999_ms"]) == (2, 30, 30)


def test_it_is_a_plot_and_a_table_of_a_language_model(stalling: Path) -> None:
    found = page_of(opened(stalling), None, Limits())
    (tokens,) = [section for section in found.sections if section.key == "tokens"]
    (chart,) = [plot for plot in tokens.plots if plot.name == "gaps"]
    assert isinstance(chart, Chart)
    assert "half of those of Full FT within 2.000 ms, 99 % within 30.000" in chart.told
    assert chart.log_x
    (grid,) = [one for one in tokens.grids if one.caption.startswith("Times between tokens")]
    assert grid.head == (
        *("deployment", "n", "visits", "p50", "p99", "least of a visit", "most of a visit", "p99.9", "longest"),
    )
    assert grid.rows[0][3:] == ("2.000", "30.000", "2.000", "30.000", "30.000", "30.000")


def test_a_classifier_has_none(of_classifiers: Path) -> None:
    assert token_gaps(opened(of_classifiers), Limits()) == (None, None)
