"""The page of two runs compared: in what they differ first, then what became of each row; exact where it is known."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hostile_runs import hostile_copy
from page.reading import check, opened
from raybench import cli
from raybench.compare import changed, compare
from raybench.compare.changes import Change
from raybench.compare.comparison import RunComparison
from raybench.compare.report import show
from raybench.page.between import numbers_of_two, page_of_two
from raybench.page.change_answer import answer_of_two, reason_of_change
from raybench.page.changes import change_verdicts
from raybench.page.parts import Forest, Limits, Page
from raybench.page.rendering import html_of, markdown_of
from raybench.report.screen import Screen
from raybench.report.settling import settled_by
from raybench.report.words import NOT_ADJUSTED

LIMITS = Limits()
Capture = pytest.CaptureFixture[str]


@cache
def compared(a: Path, b: Path) -> RunComparison:
    return compare(opened(a), opened(b))


def page(a: Path, b: Path, limits: Limits = LIMITS) -> Page:
    return page_of_two(opened(a), opened(b), compared(a, b), changed(opened(a), opened(b)), limits)


def section(found: Page, key: str) -> Any:
    return next(one for one in found.sections if one.key == key)


def test_parts_come_in_the_order_in_which_people_read_them(of_two: tuple[Path, Path]) -> None:
    found = check(html_of(page(*of_two)))
    assert found.parts == ["changed", "changes", "verdicts", "configurations", "cautions", "runs", "again"]


def test_what_changed_in_the_environment_is_said(of_two: tuple[Path, Path]) -> None:
    (grid,) = section(page(*of_two), "changed").grids
    torch = opened(of_two[0]).description.environment.driver.versions["torch"]
    assert grid.head == ("of", "what", "in A", "in B")
    assert grid.rows == (("version", "versions.torch", torch, "99.1"),)
    same = section(page(of_two[0], of_two[0]), "changed")
    assert same.grids == ()
    assert same.lines[0].startswith("Nothing: ")


def test_the_answer_names_what_moved(of_two: tuple[Path, Path]) -> None:
    answer = answer_of_two(compared(*of_two))
    assert answer.state == "settled"
    first, second, rest = answer.sentence.split("; ")
    assert first == "Relative to Full FT: LoRA Separate (TPOT) is slower in B, +10.0 % [+10.0 %, +10.0 %]"
    assert second.startswith("LoRA Separate is slower in B, +3.9 % [")
    assert rest == "of 9 comparisons 7 equivalent within ±2 %."
    assert answer.certainty.endswith("The runs differ in 1 thing besides, and a change may come from those.")
    itself = answer_of_two(compared(of_two[0], of_two[0]))
    assert itself.sentence == "Nothing changed relative to Full FT: 9 comparisons, each equivalent within ±2 %."


def test_the_page_and_the_terminal_have_one_name_for_each_thing(of_two: tuple[Path, Path]) -> None:
    found, out = compared(*of_two), io.StringIO()
    show(found, Screen(file=out, width=250))
    for key, what in (("changes", "deployment"), ("configurations", "configuration")):
        heads = [what, "A, ms", "B, ms", "absolute", "verdict"]
        heads += ["A / Full FT", "B / Full FT", "relative", "verdict, relative"]
        for grid in section(page(*of_two), key).grids:
            assert list(grid.head) == heads
            title, head = out.getvalue().partition(grid.caption)[2].splitlines()[1:3]
            assert [title, re.split(r"  +", head.strip())] == ["", heads]
    assert section(page(*of_two), "cautions").title == "Cautions"
    assert "full_ft" not in page(*of_two).sentence
    lines = [line for part in page(*of_two).sections for line in part.lines]
    assert not any("full_ft" in line for line in lines if not line.startswith("raybench"))
    assert numbers_of_two(*map(opened, of_two), found, [])["baseline"] == "full_ft"  # for programs, as in a plan


def test_plots_and_verdicts_have_what_compare_computes(of_two: tuple[Path, Path]) -> None:
    found, shown = compared(*of_two), page(*of_two)
    forests = {plot.name: plot for plot in section(shown, "changes").plots}
    assert list(forests) == [
        f"change-{by}-{measure}" for measure in ("ttft", "tpot", "end_to_end") for by in ("relative", "absolute")
    ]
    of_steps = forests["change-relative-tpot"]
    assert isinstance(of_steps, Forest)
    rows = [row for row in found.deployments if row.measure == "tpot" and row.relative is not None]
    for mark, row in zip(of_steps.marks, rows, strict=True):
        assert row.relative is not None
        interval = row.relative.estimate.interval()
        assert (mark.label, mark.ratio, mark.low, mark.high, mark.verdict) == (
            *(row.name, row.relative.estimate.ratio, interval.low, interval.high, row.relative.verdict),
        )
    items = section(shown, "verdicts").items
    assert [item.tag for item in items] == [
        row.relative.verdict for row in found.deployments if row.relative is not None
    ]
    slower = next(row for row in rows if row.name == "LoRA Separate")
    assert reason_of_change(slower, "relative", found).code == "significant"
    assert reason_of_change(rows[-1], "relative", found).code == "within-margin"


def test_what_would_settle_a_change_is_said_as_in_one_run(of_two: tuple[Path, Path]) -> None:
    found = dataclasses.replace(compared(*of_two), round_s=None)
    row = next(row for row in found.deployments if row.relative is not None)
    assert row.relative is not None

    def words(more: int) -> str:
        open_ = dataclasses.replace(row.relative, verdict="inconclusive", more_rounds=more)
        return reason_of_change(dataclasses.replace(row, relative=open_), "relative", found).words.partition("; ")[2]

    assert words(3) == "about 3 more rounds of each run would settle it, if ratio and spread stay as they are"
    assert words(101) == settled_by(101)
    slow = dataclasses.replace(found, round_s=40_000.0)
    open_ = dataclasses.replace(row.relative, verdict="inconclusive", more_rounds=3)
    told = reason_of_change(dataclasses.replace(row, relative=open_), "relative", slow).words
    assert told.endswith(settled_by(101))


def test_an_interval_that_its_verdict_seems_to_deny_is_explained(of_two: tuple[Path, Path]) -> None:
    found = compared(*of_two)
    assert NOT_ADJUSTED not in change_verdicts(found, LIMITS).lines
    rows = [
        row if row.relative is None else dataclasses.replace(row, relative=_inconclusive(row.relative))
        for row in found.deployments
    ]
    found = dataclasses.replace(found, deployments=tuple(rows))
    assert change_verdicts(found, LIMITS).lines.count(NOT_ADJUSTED) == 1
    out = io.StringIO()
    show(found, Screen(file=out, width=500))
    assert out.getvalue().count(NOT_ADJUSTED) == 1


def _inconclusive(change: Change) -> Change:
    return dataclasses.replace(change, verdict="inconclusive")


def test_numbers_are_those_of_compare(of_two: tuple[Path, Path]) -> None:
    numbers = numbers_of_two(opened(of_two[0]), opened(of_two[1]), compared(*of_two), [])
    expected = compared(*of_two).as_json()["deployments"]
    assert [row["name"] for row in numbers["deployments"]] == [row["name"] for row in expected]
    assert [row["absolute"]["ratio"] for row in numbers["deployments"]] == [
        pytest.approx(row["absolute"]["ratio"], rel=1e-6) for row in expected
    ]
    assert numbers["more"] == {"deployments": 0, "configurations": 0, "changed": 0, "left_out": 0}
    few = check(html_of(page(*of_two, Limits(rows=2)))).numbers
    assert (len(few["deployments"]), few["more"]["deployments"]) == (2, len(expected) - 2)


def test_the_same_runs_give_the_same_bytes(of_two: tuple[Path, Path]) -> None:
    assert html_of(page(*of_two)) == html_of(page(*of_two))
    assert markdown_of(page(*of_two)) == markdown_of(page(*of_two))


def test_it_says_how_to_repeat_it(of_two: tuple[Path, Path]) -> None:
    commands = section(page(*of_two), "again").commands
    assert commands[0] == "raybench sweep --model micro-lm --plan FILE.toml --rounds 4 --requests 4"
    assert commands[2] == f"raybench report {of_two[0]} {of_two[1]}"
    assert commands[3] == f"raybench compare {of_two[0]} {of_two[1]} --fail-on slower"


def test_what_is_not_in_both_is_a_warning(of_classifiers: Path, of_which_one_failed: Path) -> None:
    found = page(of_classifiers, of_which_one_failed)
    assert found.sentence.startswith("lora_merged_sst2_seed42: complete in A and not in B. ")
    left_out = [item for item in section(found, "cautions").items if item.tag == "left-out"]
    assert [item.text.partition(":")[0] for item in left_out] == ["lora_merged_sst2_seed42"]


def test_no_name_of_two_runs_becomes_markup(of_two: tuple[Path, Path], tmp_path: Path) -> None:
    word = "</script><img src=x onerror=alert(1)>{{7*7}}|`x`"
    a, b = (hostile_copy(run, tmp_path / run.name, word, names=False) for run in of_two)
    shown = check(html_of(page(a, b)))
    assert "img" not in shown.tags
    assert word[:20] in shown.text()
    assert "<img" not in markdown_of(page(a, b))


def test_the_command_takes_one_run_or_two(
    of_two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = map(str, of_two)
    assert cli.main(["report", a, b]) == 0
    assert capsys.readouterr().out.startswith("slower-against-run.html: the page of slower-against-run, ")
    assert check((tmp_path / "slower-against-run.html").read_text()).parts[0] == "changed"
    assert cli.main(["report", a, "--markdown", b]) == 0
    assert capsys.readouterr().out.startswith("## raybench")
    assert cli.main(["report", a, b, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"]["state"] == "settled"
    assert cli.main(["report", a, b, "--tasks", "3"]) == 2
    assert capsys.readouterr().err == "raybench: --tasks: goes with one run; a comparison has no advice\n"
    assert cli.main(["report", a, "--devices-alike"]) == 2
    assert capsys.readouterr().err == "raybench: --devices-alike: goes with two runs, which are compared\n"
    assert cli.main(["report", a, "none"]) == 2
    assert capsys.readouterr().err.startswith("raybench: none: no run here")
