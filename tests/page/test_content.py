"""What a page says is what the run's tables say: exact where the truth is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from decide.advising import LATENCIES_MS, make_run
from page.reading import check, opened
from raybench.analysis import shipped_sql
from raybench.analysis.diagnostics import Code
from raybench.analysis.tables import Tables
from raybench.page.answer import answer_of
from raybench.page.build import page_of
from raybench.page.gaps import gap_section
from raybench.page.latencies import by_length, distribution
from raybench.page.loads import load_section
from raybench.page.over_time import time_section
from raybench.page.parts import Chart, Limits
from raybench.page.provenance import flat, provenance_section
from raybench.page.queries import text_of
from raybench.page.rendering import html_of, markdown_of
from raybench.page.study import forest_of, study_section
from raybench.page.verdicts import raw_query, reason_of, verdict_rows, verdict_section
from raybench.report.cautions import OF_MACHINES, OF_SERVERS
from raybench.report.numbers import be, of_all
from raybench.report.study import verdict_lines
from raybench.report.words import NOT_ADJUSTED
from raybench.store.description import ClaimOfPlan

LIMITS = Limits()


def test_the_answer_is_what_the_claims_came_to(of_a_language_model: Path) -> None:
    answer = answer_of(opened(of_a_language_model))
    assert answer.state == "settled"  # the chain has most visits: 4 of its one link, 8 of the other
    assert answer.sentence.startswith("End to end, Full FT is faster than LoRA Separate, -19.2 % [-19.2 %, -19.2 %]; ")
    assert "Multi-adapter (2) is slower than LoRA Separate, +8.1 % [+8.1 %, +8.1 %]." in answer.sentence
    assert answer.certainty.startswith("Settled: all 5 comparisons, by 95 % intervals ")
    assert (answer.comparisons, answer.unsettled, answer.incomplete, answer.failed) == (5, 0, 0, 0)
    assert len(answer.sentence.split("; ")) == 5
    assert len([line for line in verdict_lines(opened(of_a_language_model)) if " against " in line]) == 6
    assert "by 95 % intervals over up to 12 visits" in answer.certainty


def with_claims(run: Path, *claims: tuple[str, str], written_from: tuple[str, ...] = ()) -> Tables:
    """The run's tables, had its plan these claims; as if raybench had written the plan itself: ``written_from``."""
    tables = Tables(run)
    claimed = tuple(ClaimOfPlan(strategy=one, reference=other) for one, other in claims)
    plan = tables.description.plan.model_copy(update={"claims": claimed})
    tables.description = tables.description.model_copy(update={"plan": plan, "written_from": written_from})
    pairs = ", ".join(f"('{one}', '{other}')" for one, other in claims)
    tables.connection.execute(f"UPDATE by_strategy SET claim = (strategy, reference_strategy) IN ({pairs})")
    return tables


CLAIMS = (("lora_separate", "full_ft"), ("multi_lora", "lora_separate"))


def test_claims_are_those_that_somebody_wrote(of_a_language_model: Path) -> None:
    tables = with_claims(of_a_language_model, *CLAIMS)
    answer = answer_of(tables)
    assert answer.certainty.startswith("Settled: both claims, by 95 % intervals over up to 8 visits, verdicts at 5 % ")
    assert "after Holm's adjustment over the claims of the plan, equivalent within" in answer.certainty
    assert answer.sentence.count(" than ") == 2
    told = [item.lines[0] for item in verdict_section(tables, LIMITS).items]
    assert sum(": claimed by the plan; " in line for line in told) == 2 * 3  # each by three measures
    tables.connection.execute("UPDATE by_strategy SET verdict = 'inconclusive' WHERE strategy = 'multi_lora'")
    assert answer_of(tables).certainty.startswith("Not settled: 1 of 2 claims. By 95 % intervals")
    one = answer_of(with_claims(of_a_language_model, CLAIMS[0]))
    assert one.certainty.startswith("Settled: the only claim, by 95 % intervals")


def test_a_plan_that_raybench_wrote_claims_nothing(of_a_language_model: Path) -> None:
    tables = with_claims(of_a_language_model, *CLAIMS, written_from=("--adapter", "a=b"))
    answer = answer_of(tables)
    assert answer.certainty.startswith("Settled: all 5 comparisons, by 95 % intervals")
    assert "after Holm's adjustment, equivalent within" in answer.certainty
    assert answer.comparisons == 5
    assert not any("claim" in line for item in verdict_section(tables, LIMITS).items for line in item.lines)


def test_many_comparisons_are_counted_a_pair_and_its_mirror_once(of_a_language_model: Path) -> None:
    tables = Tables(of_a_language_model)
    own = "deployment = 'Multi-adapter (2)' AND clock = 'wall' AND reference_strategy = 'full_ft'"
    for name in ("x", "y"):
        tables.connection.execute(
            f"INSERT INTO by_strategy SELECT * REPLACE ('{name}' AS deployment) FROM by_strategy WHERE {own}"
        )
    answer = answer_of(tables)
    assert answer.sentence.startswith(
        "End to end, of 7 comparisons 4 slower, 2 faster, 1 equivalent; the furthest apart: "
    )
    tables.connection.execute("UPDATE by_strategy SET verdict = 'inconclusive' WHERE verdict IS NOT NULL")
    answer = answer_of(tables)
    assert answer.sentence.startswith(
        "End to end, none of 7 comparisons is settled: Full FT against LoRA Separate -19.2 % ["
    )
    assert answer.sentence.endswith(", and 2 more.")
    assert answer.certainty.startswith("Not settled: all 7 comparisons. By 95 % intervals")


def test_what_is_not_settled_is_counted_as_what_is_named(of_a_language_model: Path) -> None:
    tables = Tables(of_a_language_model)
    pair = "('full_ft', 'lora_separate') AND reference_strategy IN ('full_ft', 'lora_separate') AND verdict IS NOT NULL"
    tables.connection.execute(f"UPDATE by_strategy SET verdict = 'inconclusive' WHERE strategy IN {pair}")
    answer = answer_of(tables)
    assert answer.certainty.startswith("Not settled: 1 of 5 comparisons. By 95 % intervals")
    assert (answer.comparisons, answer.unsettled) == (5, 1)
    assert answer.sentence.count("cannot be told from") == 1
    both_ways = "Two that are each other's reference stand here both ways; above they are one comparison."
    assert both_ways in verdict_section(tables, LIMITS).lines


NOT_DONE = "UPDATE raybench_kept_completeness SET complete = false, failure = {} WHERE configuration IN ({})"


@pytest.mark.parametrize(
    ("failed", "waiting", "before", "complete"),
    [
        (0, 1, "1 of 7 configurations is not complete; so far: ", "6 of 7 configurations are complete."),
        (0, 2, "2 of 7 configurations are not complete; so far: ", "5 of 7 configurations are complete."),
        (0, 6, "6 of 7 configurations are not complete; so far: ", "1 of 7 configurations is complete."),
        (0, 7, "All 7 configurations are not complete; so far: ", "0 of 7 configurations are complete."),
        (1, 0, "1 of 7 configurations failed; of the others: ", "6 of 7 configurations are complete."),
        (1, 1, "1 of 7 configurations failed and 1 more is not complete; of the others: ", "5 of 7"),
        (2, 3, "2 of 7 configurations failed and 3 more are not complete; of the others: ", "2 of 7"),
    ],
)
def test_what_is_missing_is_told_as_one_or_as_many(
    of_a_language_model: Path, failed: int, waiting: int, before: str, complete: str
) -> None:
    tables = Tables(of_a_language_model)
    names = [f"'{row['configuration']}'" for row in tables.rows("FROM completeness")]
    for why, of in (("'error: x'", names[:failed]), ("NULL", names[failed : failed + waiting])):
        if of:
            tables.connection.execute(NOT_DONE.format(why, ", ".join(of)))
    answer = answer_of(tables)
    assert answer.sentence.startswith(before)
    assert (answer.failed, answer.incomplete) == (failed, failed + waiting)
    assert gap_section(tables, (), LIMITS).lines[0].startswith(complete)
    tables.connection.execute("UPDATE by_strategy SET verdict = NULL")
    if not failed:
        words = before.partition(";")[0].replace("All", "all")
        assert answer_of(tables).sentence == f"No answer: nothing in this run is compared yet, and {words}."


def test_of_one_configuration_is_and_of_several_are() -> None:
    assert [f"{of_all(number, total, 'claim')} {be(number)}" for number, total in ((1, 1), (1, 2), (2, 2), (2, 3))] == [
        "the only claim is",
        "1 of 2 claims is",
        "both claims are",
        "2 of 3 claims are",
    ]


def test_what_befell_the_machine_stands_beside_the_answer(of_a_language_model: Path) -> None:
    tables = Tables(of_a_language_model)
    assert answer_of(tables).cautions == ()
    for code, configuration in (("busy_machine", None), ("never_idle", None), ("outliers", "multi"), ("drift", None)):
        tables.connection.execute(
            "INSERT INTO cautions (configuration, code, message, hint) VALUES (?, ?, 'm', 'h')", [configuration, code]
        )
    found = answer_of(tables)
    assert found.cautions == (
        ("busy_machine", "others computed on the machine", None),
        ("outliers", "1 of 7 configurations had many requests unlike the others", None),
    )  # the run has no servers
    assert found.as_json()["cautions"][0] == {
        "code": "busy_machine",
        "words": "others computed on the machine",
        "of": None,
    }
    written = page_of(tables, None, LIMITS)
    assert [(note.words, note.key) for note in written.notes] == [
        ("others computed on the machine", "caution-busy_machine"),
        ("1 of 7 configurations had many requests unlike the others", "caution-outliers"),
    ]
    assert check(html_of(written)).attributes.count(("a", "href", "#caution-busy_machine")) == 1
    care = "To be read with care: others computed on the machine (busy_machine); 1 of 7 configurations had many"
    assert care in markdown_of(written)
    few = page_of(tables, None, Limits(rows=0))
    assert {note.key for note in few.notes} == {"cautions"}


def test_of_servers_their_own_cautions_stand_there_too(of_servers: Path) -> None:
    tables = Tables(of_servers)
    before = {one.code for one in answer_of(tables).cautions}
    tables.connection.execute("INSERT INTO cautions (code, message, hint) VALUES ('never_idle', 'm', 'h')")
    told = {one.code: one.words for one in answer_of(tables).cautions}
    assert set(told) - before == {"never_idle"}
    assert told["never_idle"] == "a server was never idle"


def test_of_servers_deployments_are_called_by_name_and_no_ratio_is_to_what_was_not_measured(of_servers: Path) -> None:
    tables = opened(of_servers)
    assert tables.description.plan.references == ("full_ft", "lora_merged", "lora_separate")
    headers = {header for grid in study_section(tables, LIMITS).grids for header in grid.head}
    assert {header for header in headers if header.startswith("vs ")} == {
        "vs Full FT (95 % interval)",
        "vs LoRA Merged (95 % interval)",
    }
    charts = [plot for plot in load_section(tables, LIMITS).plots if isinstance(plot, Chart)]
    assert [[one.label for one in chart.series] for chart in charts] == [["Full FT", "LoRA Merged"]] * 2


def test_every_caution_that_belongs_to_all_verdicts_is_one_that_there_is() -> None:
    assert {*OF_MACHINES, *OF_SERVERS} < set(get_args(Code))


def test_a_visit_is_explained_where_it_is_first_spoken_of(of_a_language_model: Path, without_rounds: Path) -> None:
    words = "A visit: one block in one round, in a process of its own; a block: configurations that are compared, side"
    html = html_of(page_of(opened(of_a_language_model), None, LIMITS))
    assert html.index(" visits, verdicts at ") < html.index(words) < html.index("<nav")
    assert words in markdown_of(page_of(opened(of_a_language_model), None, LIMITS))
    assert page_of(opened(without_rounds), None, LIMITS).words == ""


def test_a_forest_plot_has_the_ratios_of_the_study_s_table(of_a_language_model: Path) -> None:
    tables = opened(of_a_language_model)
    forest = forest_of(tables, "ttft", LIMITS)
    assert forest is not None
    found = tables.rows("FROM by_strategy WHERE clock = 'wall' AND measure = 'ttft' AND ratio IS NOT NULL")
    expected = {(row["deployment"], row["reference_deployment"]): row for row in found}
    assert forest.marks
    for mark in forest.marks:
        row = expected[mark.label, mark.against]
        assert (mark.ratio, mark.low, mark.high, mark.verdict) == (
            *(row["ratio"], row["low"], row["high"]),
            row["verdict"],
        )
    pairs = {frozenset(pair) for pair in expected if len(set(pair)) == 2}
    assert {frozenset((mark.label, mark.against)) for mark in forest.marks} == pairs
    assert len(forest.marks) == len(pairs)
    assert forest.margin == tables.margin


def test_an_interval_that_says_nothing_is_said_to_and_not_drawn(of_a_language_model: Path) -> None:
    tables = Tables(of_a_language_model)
    where = "strategy = 'lora_merged' AND reference_strategy = 'full_ft' AND clock = 'wall' AND measure = 'end_to_end'"
    tables.connection.execute(f"UPDATE by_strategy SET low = 0.01, high = 1001, verdict = 'inconclusive' WHERE {where}")
    words = "+0.2 % [no usable interval: visits differ too much]"
    assert f"LoRA Merged cannot be told from Full FT, {words}" in answer_of(tables).sentence
    (grid,) = [one for one in study_section(tables, LIMITS).grids if one.caption == "End to end"]
    assert f"{words} inconclusive" in {cell for row in grid.rows for cell in row}
    forest = forest_of(tables, "end_to_end", LIMITS)
    assert forest is not None
    assert [(one.low, one.high) for one in forest.marks if one.label == "LoRA Merged" and one.against == "Full FT"] == [
        (None, None)
    ]
    assert words in forest.told


def test_a_distribution_has_exact_quantiles(of_lengths: Path) -> None:
    tables = opened(of_lengths)
    (rows,) = [
        row["ms"]
        for row in tables.rows(text_of("page_quantiles"))
        if row["measure"] == "ttft" and row["deployment"] == "Full FT"
    ]
    own = sorted(row["ttft_ms"] for row in tables.rows("SELECT ttft_ms FROM latencies WHERE deployment = 'Full FT'"))
    assert (rows[0], rows[-1], len(rows)) == (own[0], own[-1], 101)
    assert rows[50] == pytest.approx((own[(len(own) - 1) // 2] + own[len(own) // 2]) / 2)
    chart = distribution(tables.rows(text_of("page_quantiles")), "ttft", LIMITS)
    assert chart is not None
    assert chart.series[0].y[:3] == (0.0, 0.01, 0.02)
    assert len(chart.series[0].x) == 100


def test_requests_that_are_all_as_long_have_no_plot_against_tokens(of_lengths: Path, of_classifiers: Path) -> None:
    assert by_length(opened(of_lengths), LIMITS) == (None, "Latency against tokens: every request has 5 tokens.")
    tables = opened(of_classifiers)
    chart, why = by_length(tables, LIMITS)
    assert why is None
    assert chart is not None
    assert sum(row["n"] for row in tables.rows(text_of("page_lengths"))) == len(tables.rows("FROM latencies"))
    assert all(list(one.x) == sorted(one.x) for one in chart.series)


def test_visits_are_in_their_order_beside_their_like(of_a_language_model: Path) -> None:
    rows = opened(of_a_language_model).rows(text_of("page_visits"))
    assert [row["first"] for row in rows] == list(range(len(rows)))
    assert [row["started_s"] for row in rows] == [float(number) for number in range(len(rows))]
    assert all(row["ratio"] == pytest.approx(1, rel=1e-4) for row in rows)


def test_visits_that_are_over_are_counted_whether_anything_was_timed_in_them_or_not(tmp_path: Path) -> None:
    failing = "lora_merged_sst2_seed42"  # by itself in its block
    tables = Tables(make_run(tmp_path / "run", LATENCIES_MS, failing=failing, rounds=2, design="independent"))
    (at,) = [
        number for number, row in enumerate(tables.rows(shipped_sql("visit_order"))) if row["visit"].startswith(failing)
    ]
    assert len(tables.rows("FROM visits")) == 13  # 7 in the first round, in the second without it
    said = time_section(tables, LIMITS).lines[0]
    assert said.startswith("13 visits on 1 device, nothing was timed in 1 of them: ")
    (machines,) = [grid for grid in provenance_section(tables, LIMITS).grids if grid.caption == "What measured"]
    (run,) = [grid for grid in provenance_section(tables, LIMITS).grids if grid.caption == "The run"]
    created = dict(run.rows)["created"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", created)
    assert dict(zip(machines.head, machines.rows[0], strict=True))["visits"] == "13"
    rows = tables.rows(text_of("page_visits"))
    assert [row["first"] for row in rows] == [number for number in range(13) if number != at]


def test_each_verdict_has_a_reason_and_the_ratios_that_it_is_drawn_from(of_a_language_model: Path) -> None:
    tables = opened(of_a_language_model)
    rows = verdict_rows(tables)
    assert {reason_of(row, tables.margin).code for row in rows} <= {"significant", "within-margin", "too-wide"}
    row = next(row for row in rows if row["measure"] == "tpot" and row["via"] is None)
    raw = tables.rows(raw_query(row))
    assert {one["reference_strategy"] for one in raw} == {row["reference_strategy"]}
    assert len(raw) == row["visits"]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"unknown": "one visit"}, "one-visit", "more --rounds"),
        ({"unknown": "equal visits"}, "equal-visits", "to the last digit"),
        ({"unknown": "devices apart"}, "devices-apart", "met the devices"),
        ({"disputed": True}, "disputed", "which does not bear it out"),
        ({"more_rounds": 3}, "too-wide", "about 3 more rounds would settle it"),
        ({}, "too-wide", "only repeated visits"),
        ({"verdict": "slower"}, "significant", "p 0.2000 after Holm"),
        ({"verdict": "equivalent"}, "within-margin", "within ±2 %, p below 0.0001"),
    ],
)
def test_a_reason_in_words(changes: dict[str, object], code: str, words: str) -> None:
    row = {"verdict": "inconclusive", "unknown": None, "disputed": None, "more_rounds": None}
    row |= {"p_holm": 0.2, "p_equivalence": 0.00001, "ratio": 1.285, "low": 1.065, "high": 1.552}
    row["paired"] = dict(row)
    reason = reason_of(row | changes, 0.02)
    assert reason.code == code
    assert words in reason.words


def test_an_interval_that_its_verdict_seems_to_deny_is_explained(of_a_language_model: Path) -> None:
    tables = Tables(of_a_language_model)
    assert NOT_ADJUSTED not in verdict_section(tables, LIMITS).lines
    assert NOT_ADJUSTED not in verdict_lines(tables)
    change = (
        "UPDATE by_strategy SET verdict = 'inconclusive', low = {}, high = {}, disputed = {} WHERE claim AND clock "
    )
    change += "= 'wall' AND verdict IS NOT NULL"
    for low, high, disputed, told in ((0.9, 1.1, False, 0), (1.01, 1.1, True, 0), (1.01, 1.1, False, 1)):
        tables.connection.execute(change.format(low, high, disputed))
        assert verdict_section(tables, LIMITS).lines.count(NOT_ADJUSTED) == told
        assert verdict_lines(tables).count(NOT_ADJUSTED) == told


@pytest.mark.parametrize("page", ["reading.md", "words.md"])
def test_the_documents_explain_it_by_the_same_words(page: str) -> None:
    assert NOT_ADJUSTED in Path("docs", page).read_text()


def test_quotes_in_a_name_stay_in_it(of_a_language_model: Path) -> None:
    tables = opened(of_a_language_model)
    row = verdict_rows(tables)[0] | {"deployment": "it's '); DROP TABLE run; --"}
    assert tables.rows(raw_query(row)) == []
    assert len(tables.rows("FROM run")) == 1


def test_what_a_run_says_of_itself_is_told_flat_and_without_secrets() -> None:
    told = {"a": {"b": [1, 2]}, "c": [{"d": "s3://me:secret@host/x"}], "e": None, "f": []}
    assert list(flat(told)) == [("a.b", "1, 2"), ("c 1.d", "s3://...@host/x")]
