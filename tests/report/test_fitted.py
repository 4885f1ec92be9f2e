"""What people read on a narrow terminal: no word is broken, and where that cannot be a table is a list."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich import box
from rich.table import Table

from raybench import cli
from raybench.report.screen import Screen
from raybench.report.wrapping import wrapped
from store.test_run_list import begin
from terminals import at_terminal, plain

LONG = "A block: configurations that are compared, side by side in one process; a visit: one block in one round."


def table(*headers: str, rows: tuple[tuple[str, ...], ...]) -> Table:
    found = Table(box=box.SIMPLE)
    for header in headers:
        found.add_column(header, overflow="fold")
    for row in rows:
        found.add_row(*row)
    return found


def shown(what: Table, width: int) -> list[str]:
    file = io.StringIO()
    Screen(file, width=width).print(what)
    return file.getvalue().split("\n")


ROWS = (("Multi-adapter (2)", "20.15 / 20.21 ms: -0.3 % [-31.0 %, +44.0 %] inconclusive"), ("LoRA Merged", "baseline"))


def test_cells_are_broken_at_blanks() -> None:
    assert shown(table("Configuration", "vs Full FT", rows=ROWS), 40) == [
        "",
        "  Configuration   vs Full FT",
        " ──────────────────────────────────────",
        "  Multi-adapter   20.15 / 20.21 ms:",
        "  (2)             -0.3 %",
        "                  [-31.0 %, +44.0 %]",
        "                  inconclusive",
        "  LoRA Merged     baseline",
        "",
        "",
    ]


def test_where_words_do_not_fit_it_is_a_list_of_its_rows() -> None:
    assert shown(table("Configuration", "vs Full FT", rows=ROWS), 33) == [
        "",
        "Configuration  Multi-adapter (2)",
        "vs Full FT     20.15 / 20.21 ms:",
        "               -0.3 %",
        "               [-31.0 %, +44.0 %]",
        "               inconclusive",
        "",
        "Configuration  LoRA Merged",
        "vs Full FT     baseline",
        "",
        "",
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_no_line_parts_a_number_from_its_unit_or_an_interval(width: int) -> None:
    cell = "1.256 / 1.015 ms: +23.8 % [+20.1 %, +27.6 %] slower"
    row = ("Multi-adapter (2) \ue000\u00a0", "1,200", "12.00 ms", "202.0", cell, cell)
    lines = shown(
        table("Deployment", "n", "Mean", "tokens/s", "vs Full FT (95 % interval)", "vs it", rows=(row,)), width
    )
    lines += wrapped(f"A against B: {cell}; {cell}; {cell}", width)
    text = "\n".join(lines)
    assert text.count("+23.8 %") == 5
    assert text.count("[+20.1 %, +27.6 %]") == 5
    assert text.count("12.00 ms") == 1
    assert "\\ue000\\xa0" in text
    for line in lines:
        assert line.count("[") == line.count("]")
        assert not line.strip().startswith(("%", "ms"))


@pytest.mark.parametrize("width", [60, 90, 180])
def test_where_all_fits_it_is_rich_s_own(width: int) -> None:
    plain_file = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raybench.report.screen.fit_columns", lambda table, width: True)
        Screen(plain_file, width=width).print(table("a", "b", rows=(("one two", "three"),)))
    assert shown(table("a", "b", rows=(("one two", "three"),)), width) == plain_file.getvalue().split("\n")


def test_names_that_anyone_made_do_not_make_it_a_list() -> None:
    lines = shown(table("Configuration", "n", rows=(("x" * 50, "3"),)), 40)
    assert lines[1] == "  Configuration                      n"
    assert "".join(lines).count("x") == 50
    assert all(len(line) <= 40 for line in lines)


def test_what_acts_on_a_terminal_is_as_wide_as_it_is_shown() -> None:
    assert all(len(line) <= 30 for line in shown(table("a", "b", rows=(("\x1b[31m red \u202e", "3 4"),)), 30))


def test_a_sentence_is_broken_at_blanks_and_its_indent_kept() -> None:
    assert wrapped(LONG, 60) == [
        "A block: configurations that are compared, side by side in",
        "  one process; a visit: one block in one round.",
    ]
    assert wrapped(f"  {LONG}", 60)[1] == "    one process; a visit: one block in one round."
    assert wrapped("short", 60) == ["short"]
    assert wrapped("x" * 70, 60) == ["x" * 70]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Go on: raybench sweep --results data/runs --run-id smoke-20261130-101500 --resume", True),
        ("Its tables: raybench tables data/runs/smoke-20261130-101500-and-a-name-that-is-long", True),
        ("  raybench report latest        all of it on one page, for a browser or for a person", True),
        ("  cd data/runs/RUN && duckdb -init views.sql        the same views, without raybench", True),
        ("Caution: it had many requests unlike the others: raybench tables shows them under outliers.", False),
        ("raybench: latest is data/runs/smoke-20261130-101500 and a sentence that is rather long", False),
    ],
)
def test_a_command_to_copy_stays_whole(text: str, whole: bool) -> None:
    assert (wrapped(text, 60) == [text]) is whole


def test_a_terminal_gets_lines_that_fit_and_a_pipe_whole_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(tmp_path / "data" / "runs", "mine", "2026-01-01T00:00:00+00:00")
    command = [sys.executable, "-m", "raybench", "status", "mine"]
    with at_terminal(command, tmp_path, {}, columns=60) as terminal:
        assert terminal.end() == 0
        lines = plain(terminal.shown).replace("\r", "").split("\n")
    assert [line for line in lines if len(line) > 60 and "raybench " not in line and "--" not in line] == []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    assert cli.main(["status", "mine"]) == 0
    assert len(capsys.readouterr().out.splitlines()) < len(lines)
