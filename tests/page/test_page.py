"""A page as a whole: it stands by itself, is the same each time, and has the parts that its run has."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import pytest

from page.reading import check, opened
from raybench.analysis.tables import Tables
from raybench.page.build import page_of
from raybench.page.parts import Grid, Item, Limits, Page, Section
from raybench.page.rendering import _cell, html_of, markdown_of

RUNS = ["of_classifiers", "of_which_one_failed", "of_a_language_model", "of_servers", "without_rounds"]


@cache
def page(run: Path) -> Page:
    return page_of(opened(run), None, Limits())


@pytest.mark.parametrize("name", RUNS)
def test_a_page_stands_by_itself(name: str, request: pytest.FixtureRequest) -> None:
    check(html_of(page(request.getfixturevalue(name))))


@pytest.mark.parametrize("name", RUNS)
def test_the_same_run_gives_the_same_bytes(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    again = page_of(Tables(run), None, Limits())
    assert html_of(again) == html_of(page(run))
    assert markdown_of(again) == markdown_of(page(run))


@pytest.mark.parametrize("name", RUNS)
def test_every_query_on_a_page_can_be_run(name: str, request: pytest.FixtureRequest) -> None:
    tables = opened(request.getfixturevalue(name))
    sections = page(request.getfixturevalue(name)).sections
    queries = [part.query for of in sections for part in (*of.plots, *of.grids, *of.items) if part.query is not None]
    for query in queries:
        tables.rows(query)
    verdicts = [item for of in sections if of.key == "verdicts" for item in of.items]
    assert all(item.query and tables.rows(item.query) for item in verdicts)


def test_parts_come_in_the_order_in_which_people_read_them(of_a_language_model: Path) -> None:
    assert check(html_of(page(of_a_language_model))).parts == [
        *("table", "overheads", "latencies", "time", "tokens", "costs", "verdicts", "cautions", "left-out", "how"),
        "again",
    ]


def test_servers_under_load_have_their_part_and_a_classifier_has_none_for_tokens(
    of_servers: Path, of_classifiers: Path
) -> None:
    served, classified = page(of_servers), page(of_classifiers)
    assert {"tokens", "load"} <= {section.key for section in served.sections}
    (load,) = [section for section in served.sections if section.key == "load"]
    assert [len(chart.series) for chart in load.plots if chart.name == "load-ttft-50"] == [2]
    assert not {"tokens", "load"} & {section.key for section in classified.sections}
    (left_out,) = [section for section in classified.sections if section.key == "left-out"]
    assert "First token and those after it: a classifier has none." in left_out.lines
    assert "Latency against load: no server was asked under one." in left_out.lines


def test_what_failed_is_said_first_and_why(of_which_one_failed: Path) -> None:
    found = page(of_which_one_failed)
    assert found.sentence.startswith("1 of ")
    assert " failed; of the others: " in found.sentence
    told = found.numbers["answer"]
    assert (told["state"], told["incomplete"], told["failed"]) == ("incomplete", 1, 1)
    assert 0 < told["comparisons"] >= told["unsettled"] >= 0
    (left_out,) = [section for section in found.sections if section.key == "left-out"]
    (grid,) = left_out.grids
    assert [row[0] for row in grid.rows] == ["lora_merged_sst2_seed42"]
    assert "no such file" in grid.rows[0][-1]


def test_a_run_without_rounds_has_no_answer_and_says_so(without_rounds: Path) -> None:
    found = page(without_rounds)
    assert found.sentence.startswith("No answer: nothing has been measured yet, of ")
    assert not any(section.plots for section in found.sections)
    shown = check(html_of(found))
    assert "Nothing was timed." in shown.text()


def test_numbers_are_in_the_page_as_json(of_a_language_model: Path) -> None:
    found = check(html_of(page(of_a_language_model))).numbers
    table = found["tables"]["by_strategy"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    expected = opened(of_a_language_model).rows("FROM by_strategy")
    assert [row["ratio"] for row in rows] == [
        None if row["ratio"] is None else pytest.approx(row["ratio"], rel=1e-6) for row in expected
    ]
    assert table["left_out"] == 0
    assert found["answer"]["state"] == "settled"


def test_of_many_configurations_the_page_shows_some_and_says_how_many_more(of_classifiers: Path) -> None:
    tables = opened(of_classifiers)
    found = page_of(tables, None, Limits(rows=2, series=1, characters=10))
    grids = {grid.caption: grid for section in found.sections for grid in section.grids}
    (percentiles,) = [grid for caption, grid in grids.items() if caption.startswith("Percentiles")]
    of_all = len(tables.rows("FROM percentiles WHERE refused IS NULL"))
    assert (len(percentiles.rows), percentiles.left_out) == (2, of_all - 2)
    assert f"And {of_all - 2} more rows" in check(html_of(found)).text()
    charts = {plot.name: plot for section in found.sections for plot in section.plots}
    assert len(charts["distribution-end_to_end"].series) == 1
    assert charts["distribution-end_to_end"].left_out == len(tables.rows("FROM deployments")) - 1


@pytest.mark.parametrize(("rows", "folded"), [(12, None), (15, None), (16, 4), (40, 28)])
def test_a_long_table_is_folded_after_a_dozen_rows_and_whole(
    rows: int, folded: int | None, without_rounds: Path
) -> None:
    long = Grid("Long", ("name",), (True,), tuple((f"row {number}",) for number in range(rows)))
    items = tuple(Item("slower", f"verdict {number}") for number in range(rows))
    section = Section("verdicts", "Long", grids=(long,), items=items)
    found = check(html_of(dataclasses.replace(page(without_rounds), sections=(section,))))
    more = [text.strip() for text in found.texts.get("summary", [])]
    assert more == ([] if folded is None else [f"{folded} more rows", f"{folded} more"])
    assert [text for text in found.texts["td"] if text.strip()] == [f"row {number}" for number in range(rows)]
    assert found.tags.count("table") == 1 + (folded is not None)
    assert all(f"verdict {number}" in found.text() for number in range(rows))
    cautions = dataclasses.replace(section, key="cautions", grids=())
    assert "summary" not in check(html_of(dataclasses.replace(page(without_rounds), sections=(cautions,)))).tags


def test_a_number_keeps_its_unit_and_an_interval_its_ends(without_rounds: Path) -> None:
    line = "+26.9 % [+10.3 %, +46.1 %] in 1 min 15 s, 131.1 MB; 5 steps, 3 mins, ±2 %"
    written = html_of(dataclasses.replace(page(without_rounds), sections=(Section("x", "X", (line,)),)))
    kept = "+26.9_% [+10.3_%,_+46.1_%] in 1_min 15_s, 131.1_MB; 5 steps, 3 mins, ±2_%"
    assert kept.replace("_", "\N{NO-BREAK SPACE}") in written


def test_names_in_cells_may_be_broken_between_their_parts_and_intervals_never() -> None:
    assert _cell("lora_merged_sst2") == "lora_<wbr>merged_<wbr>sst2"
    assert _cell("versions.torch, a/b: 2.6.0") == "versions.<wbr>torch, a/<wbr>b: 2.6.0"
    assert _cell("_ <b_c>") == "_ &lt;b_<wbr>c&gt;"
    whole = '<span class="whole">[-51.1\xa0%,\xa0+1,165.1\xa0%]</span>'
    assert _cell("+13.8 % [-51.1 %, +1,165.1 %] slower") == f"+13.8\xa0% {whole} slower"
