"""What a person reads."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_device import make_known, uneven
from raybench.analysis.tables import Tables
from raybench.page.parts import Limits
from raybench.page.verdicts import verdict_section
from raybench.plan.plan import Plan
from raybench.report import Screen
from raybench.report import tables as report
from runs import measure
from small_plans import load_small

MS = 1_000_000
LIMITS = Limits()
JUDGED_APART = (
    "The tables overhead (by configuration) and by_strategy (by deployment) judge {} differently, from the same "
    "numbers: Holm's adjustment counts each table's own rows, and these are not the same."
)
Known = Callable[..., None]


def constant(ms: float) -> Callable[..., tuple]:
    return uneven(lambda tokens, calls: (round(ms * MS), round(ms * MS), None))


def shown(show: Callable[[Screen], object]) -> str:
    out = io.StringIO()
    show(Screen(file=out, width=160))
    return out.getvalue()


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classified")
    costs = {"full_ft": 4, "lora_separate": 5, "lora_merged": 4.02, "multi_lora": 5.5}
    with pytest.MonkeyPatch.context() as patch:
        make_known(patch, {name: constant(ms) for name, ms in costs.items()})
        return measure(load_small(folder, rounds=3), folder)


@pytest.fixture
def tables(classified: Path) -> Tables:
    """Opened for each test, some of which change what is in them."""
    return Tables(classified)


def test_the_verdicts_are_said_in_words(tables: Tables) -> None:
    lines = report.verdict_lines(tables)
    assert "LoRA Separate is slower than Full FT: +25.0 % [+25.0 %, +25.0 %]" in lines
    assert "LoRA Merged is equivalent to Full FT: +0.5 % [+0.5 %, +0.5 %], within ±2 %" in lines
    assert "Multi-adapter (2) is slower than LoRA Separate: +10.0 % [+10.0 %, +10.0 %]" in lines
    assert "on this device" in lines[-1]


def test_the_study_table_has_the_study_s_columns(tables: Tables) -> None:
    text = shown(lambda console: report.study_table(tables, console))
    rows = {line.strip().split("  ")[0]: line for line in text.splitlines() if line.strip()}
    assert "4.00 ms" in rows["Full FT"]
    assert rows["Full FT"].count("baseline") == 1
    assert "+25.0 %" in rows["LoRA Separate"]
    assert "+37.5 %" in rows["Multi-adapter (2)"]
    assert "vs Full FT" in text
    assert "vs LoRA Separate" in text


def test_the_study_table_says_what_its_percentages_are_of(tables: Tables) -> None:
    text = shown(lambda console: report.study_table(tables, console))
    rows = {line.strip().split("  ")[0]: line for line in text.splitlines() if line.strip()}
    assert "5.00 / 4.00 ms: +25.0 % [+25.0 %, +25.0 %] slower" in rows["LoRA Separate"]
    assert "5.50 / 5.00 ms: +10.0 %" in rows["Multi-adapter (2)"]
    assert "by LoRA Separate: +37.5 %" in rows["Multi-adapter (2)"]
    assert "Each percentage is of the two means before it: the same requests in the same visits" in text
    assert "By LoRA Separate: the two were never measured together" in text
    everything = shown(lambda console: report.print_everything(tables, console))
    overhead = everything[everything.index("Overhead of each configuration") :]
    assert next(line for line in overhead.splitlines() if "lora_mrpc_seed42" in line).split()[3:8] == [
        "5.000",
        "4.000",
        "-",
        "+25.0",
        "%",
    ]


def test_equal_visits_are_said_to_be_that_and_nothing_is_nan_or_inf(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    known_latencies(dict.fromkeys(("full_ft", "lora_separate", "lora_merged", "multi_lora"), lambda *_: (MS, MS, None)))
    tables = Tables(measure(load_plan(rounds=3), tmp_path))
    text = shown(lambda console: report.print_everything(tables, console))
    assert not {"nan", "inf", "-inf", "+inf"} & set(text.replace(",", " ").split())
    assert "[no interval: all visits equal]; the clock is too coarse for these latencies, or the run is made up" in text
    assert "is equivalent to" not in text
    assert "Caution, no_spread in 7 configurations. No machine is that even" in text


@pytest.mark.parametrize(
    ("unknown", "where", "words"),
    [
        (
            "one visit",
            "strategy = 'lora_merged'",
            "[no interval: one visit]; only repeated visits, or further GPUs, can settle it",
        ),
        (
            "devices apart",
            "true",
            "[no interval: GPUs not told from blocks]; rounds in which blocks meet other GPUs would",
        ),
    ],
)
def test_why_there_is_no_interval_is_said(tables: Tables, unknown: str, where: str, words: str) -> None:
    tables.connection.execute(
        "UPDATE by_strategy SET verdict = 'inconclusive', low = 0, high = 'inf', more_rounds = NULL, unknown = ? "
        f"WHERE verdict IS NOT NULL AND {where}",
        [unknown],
    )
    lines = [line for line in report.verdict_lines(tables)[:-1] if " is inconclusive: " in line]
    assert lines
    assert all(words in line for line in lines)


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        (12, "about 12 more rounds would settle it, if ratio and spread stay as they are"),
        (100, "about 100 more rounds would settle it, if ratio and spread stay as they are"),
        (
            8_546,
            "not to be settled by more rounds on this machine: the requests of a visit make most of the spread, so "
            "more of them in each would (--requests), or a wider margin",
        ),
    ],
)
def test_rounds_that_nobody_would_wait_for_are_not_asked_for(tables: Tables, rounds: int, words: str) -> None:
    tables.connection.execute(
        "UPDATE by_strategy SET verdict = 'inconclusive', more_rounds = ?, disputed = false "
        "WHERE verdict IS NOT NULL AND strategy = 'lora_merged' AND reference_strategy = 'full_ft'",
        [rounds],
    )
    (line,) = [line for line in report.verdict_lines(tables) if " is inconclusive: " in line]
    assert line == f"LoRA Merged against Full FT is inconclusive: +0.5 % [+0.5 %, +0.5 %]; {words}"


@pytest.mark.parametrize(
    ("paired", "p_holm", "words"),
    [
        (
            "inconclusive",
            0.0781,
            "the means show it, but request by request it is +28.5 % [+6.5 %, +55.2 %], p 0.0781 after Holm's "
            "adjustment, which does not bear it out",
        ),
        (
            "equivalent",
            0.2,
            "some requests make the difference of the means: request by request it is +28.5 % [+6.5 %, +55.2 %], "
            "within the margin",
        ),
        (
            "slower",
            0.001,
            "some requests make the difference of the means: request by request it is +28.5 % [+6.5 %, +55.2 %], the "
            "opposite",
        ),
    ],
)
def test_a_disputed_row_says_what_the_requests_own_ratios_say(
    tables: Tables, paired: str, p_holm: float, words: str
) -> None:
    where = "WHERE strategy = 'lora_merged' AND reference_strategy = 'full_ft' AND clock ="
    tables.connection.execute(f"UPDATE by_strategy SET verdict = 'inconclusive', disputed = true {where} 'wall'")
    tables.connection.execute(
        "UPDATE by_strategy SET ratio = 1.285, low = 1.065, high = 1.552, verdict = ?, p_holm = ? "
        f"{where} 'wall paired'",
        [paired, p_holm],
    )
    (line,) = [line for line in report.verdict_lines(tables) if " is inconclusive: " in line]
    assert line == f"LoRA Merged against Full FT is inconclusive: +0.5 % [+0.5 %, +0.5 %]; {words}"
    (item,) = [one for one in verdict_section(tables, LIMITS).items if one.tag == "inconclusive"]
    assert item.lines == (f"disputed: {words}.",)


def test_that_two_tables_judge_the_same_numbers_differently_is_said_where_they_do(tables: Tables) -> None:
    assert report.judged_apart(tables) == []
    # Of several configurations the two tables have other numbers.
    tables.connection.execute("UPDATE overhead SET verdict = 'inconclusive' WHERE deployment <> 'Multi-adapter (2)'")
    assert report.judged_apart(tables) == []
    own = "WHERE deployment = 'Multi-adapter (2)' AND clock = 'wall'"
    tables.connection.execute(f"UPDATE overhead SET disputed = true {own} AND reference_strategy = 'full_ft'")
    assert report.judged_apart(tables) == [JUDGED_APART.format("1 comparison")]
    tables.connection.execute(f"UPDATE overhead SET verdict = 'inconclusive' {own}")
    assert report.judged_apart(tables) == [JUDGED_APART.format("2 comparisons")]
    assert verdict_section(tables, LIMITS).lines[-1] == JUDGED_APART.format("2 comparisons")
    everything = shown(lambda console: report.print_everything(tables, console))
    assert everything.count(JUDGED_APART.format("2 comparisons")) == 1


def test_a_run_of_one_round_gives_no_verdicts_and_says_how_many_would(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    costs = {"full_ft": 4, "lora_separate": 5, "lora_merged": 4.02, "multi_lora": 5.5}
    known_latencies({name: constant(ms) for name, ms in costs.items()})
    short = Tables(measure(load_plan(rounds=1), tmp_path / "short"))
    assert report.verdict_lines(short) == [
        "No verdicts: one round gives no interval. Ask for 8 rounds or more (--rounds 8) in a new run."
    ]
    until_narrow = dataclasses.replace(load_plan(rounds=30), until_halfwidth=0.01)
    begun = Tables(measure(until_narrow, tmp_path / "begun", visits=3))
    assert report.verdict_lines(begun) == [
        "No verdicts yet: one round gives no interval, and up to 30 are planned; go on by --resume."
    ]
    text = shown(lambda console: report.print_everything(short, console))
    assert "+25.0 % [no interval: one visit]" in text
    assert "inconclusive" not in text
    assert "These verdicts hold" not in text


def test_everything_fits_its_lines_and_has_no_colour_in_a_log(tables: Tables) -> None:
    text = shown(lambda console: report.print_everything(tables, console))
    assert "\x1b" not in text
    assert "…" not in text
    # Sentences keep their lines in a log, as cautions of a machine that is busy now.
    assert max(len(line) for line in text.splitlines() if not line.startswith("Caution")) <= 160


def test_incomplete_configurations_are_counted_and_explained(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    def broken(tokens: int, calls: int) -> tuple:
        raise RuntimeError("no luck")

    known_latencies({"full_ft": constant(4), "lora_separate": constant(5), "multi_lora": constant(5)})
    known_latencies({"lora_merged": broken})
    tables = Tables(measure(load_plan(), tmp_path))
    text = shown(lambda console: report.completeness_lines(tables, console))
    assert text.splitlines() == [
        "5 of 7 configurations complete.",
        "  lora_merged_mrpc_seed42, lora_merged_sst2_seed42: 0 of 2 rounds; error: RuntimeError: no luck",
        f"  All of it: raybench sql {tables.root} 'FROM failures'",
    ]


def test_the_first_line_of_a_run_in_which_something_failed_says_so_and_why_is_said_once(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    def broken(tokens: int, calls: int) -> tuple:
        raise RuntimeError("no luck" + " at all" * 100)

    known_latencies({"full_ft": constant(4), "lora_separate": constant(5), "multi_lora": constant(5)})
    known_latencies({"lora_merged": broken})
    tables = Tables(measure(load_plan(), tmp_path))
    (stored,) = tables.rows("SELECT DISTINCT message FROM failures")
    assert stored["message"].endswith(".py:" + stored["message"].rpartition(":")[2])
    text = shown(lambda console: report.print_everything(tables, console))
    assert text.splitlines()[0] == "2 of 7 configurations failed; why is said below."
    assert text.count("no luck") == 1
    assert ".py:" not in text
    assert next(line for line in text.splitlines() if "no luck" in line).count("at all") > 10
    short = shown(lambda console: report.print_summary(tables, console, told=True))
    why = f"error: RuntimeError: no luck{' at all' * 12} at ..."
    assert f"  lora_merged_mrpc_seed42, lora_merged_sst2_seed42: 0 of 2 rounds; {why}\n" in short
    assert short.count("no luck") == 1


def test_next_commands_name_the_run_as_the_shell_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = shown(lambda console: report.print_next_commands(tmp_path / "my runs" / "a", console))
    assert "Results: my runs/a" in text
    assert "raybench tables 'my runs/a'" in text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.248, "+24.8 %"), (0.8, "-20.0 %"), (1.0, "+0.0 %"), (0.9999, "-0.0 %"), (float("inf"), "+inf"), (None, "-")],
)
def test_ratios_are_shown_as_overheads(ratio: float | None, text: str) -> None:
    assert report.percent(ratio) == text


def test_of_a_long_table_the_first_rows_are_shown_and_where_the_others_are(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    configurations = [row["name"] for row in tables.rows("FROM configurations ORDER BY position")]
    full = shown(lambda console: report.print_everything(tables, console))
    assert " more: " not in full
    monkeypatch.setattr(report, "ROWS_SHOWN", 2)
    cut = shown(lambda console: report.print_everything(tables, console))
    first = cut[cut.index("By configuration (") : cut.index("more: FROM by_configuration")].splitlines()
    assert [name for name in configurations if any(name in line for line in first)] == configurations[:2]
    assert first[-1] == f"  and {len(configurations) - 2} "
    overhead = tables.rows("SELECT count(*) AS n FROM overhead WHERE clock = 'wall'")[0]["n"]
    assert f"  and {overhead - 2} more: FROM overhead WHERE clock = 'wall'\n" in cut
