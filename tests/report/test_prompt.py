"""The prompt of ``raybench sql``, at a real terminal and without one."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from decide.advising import LATENCIES_MS, make_run
from raybench import cli
from raybench.report.prompt import history_file, is_whole, open_part, word_of
from terminals import Terminal, at_terminal

UP, TAB, CTRL_C, CTRL_D = "\x1b[A", "\t", "\x03", "\x04"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), LATENCIES_MS, rounds=2)


def prompt(run: Path, home: Path, **environment: str) -> AbstractContextManager[Terminal]:
    command = [sys.executable, "-m", "raybench", "sql", str(run)]
    return at_terminal(command, home, {"HOME": str(home), "XDG_STATE_HOME": "", **environment})


@pytest.fixture
def terminal(run: Path, tmp_path: Path) -> Iterator[Terminal]:
    with prompt(run, tmp_path) as found:
        found.until("raybench>")
        yield found


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("SELECT 1;", True),
        ("SELECT 1\n  + 2;\n", True),
        ("SELECT 1", False),
        ("SELECT ';", False),
        ("SELECT ';'", False),
        ("SELECT ';';", True),
        ("SELECT 'it''s;';", True),
        ('FROM "a;', False),
        ('FROM "a;";', True),
        ("SELECT 1 -- ;", False),
        ("SELECT 1 -- it's\n;", True),
        ("SELECT 1; -- done", True),
        ("SELECT /* ; ", False),
        ("SELECT /* ' */ 1;", True),
        ("SELECT $$ ; $$", False),
        ("SELECT $a$ ; $$ ' $a$;", True),
        ("", False),
        (";", True),
    ],
)
def test_a_statement_ends_by_a_semicolon_that_is_one(text: str, whole: bool) -> None:
    assert is_whole(text) is whole


def test_words_end_the_prompt_and_columns_of_that_name_do_not() -> None:
    assert {word_of(text) for text in ("exit", "quit;", " \\q ", ".EXIT\n", "Quit ;", ".quit")} == {"end"}
    assert {word_of(text) for text in ("help", ".HELP ", "?", "help;")} == {"help"}
    assert word_of(" .tables\n") == "tables"
    assert {word_of(text) for text in ("SELECT exit", "exit now", "", "FROM quit;", "SELECT help", "tables")} == {None}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("SELECT 1", "a statement is open: ; ends it"),
        ("SELECT ';' -- it's", "a statement is open: ; ends it"),
        ("SELECT 'a;\n", "a text in ' is open: ' ends it, and ; the statement"),
        ('FROM "a', 'a name in " is open: " ends it, and ; the statement'),
        ("SELECT /* ' ", "a comment in /* is open: */ ends it, and ; the statement"),
        ("SELECT $a$ ; $$", "a text in $a$ is open: $a$ ends it, and ; the statement"),
    ],
)
def test_what_is_open_is_told_with_what_ends_it(text: str, what: str) -> None:
    assert open_part(text) == f"{what}; Ctrl-C throws it away"


def test_words_are_answered_at_once_and_ctrl_d_ends_on_an_empty_line_only(terminal: Terminal) -> None:
    place = terminal.type("help\r")
    terminal.until("DESCRIBE by_strategy;", ".quit, quit, exit or Ctrl-D", "raybench>", after=place)
    place = terminal.type(".tables\r")
    terminal.until("Views: ", "by_strategy", "raybench>", after=place)
    place = terminal.type("SELECT 40 + 2 AS 'answ")
    terminal.until("'answ", after=place)
    place = terminal.type(CTRL_D)
    terminal.until("a text in ' is open: ' ends it, and ; the statement; Ctrl-C throws it away", "'answ", after=place)
    place = terminal.type("er';\r")
    terminal.until("42", "raybench>", after=place)
    terminal.type(CTRL_D)
    assert terminal.end() == 0


def test_a_statement_of_several_lines_is_answered_once_it_ends(terminal: Terminal) -> None:
    place = terminal.type("SELECT 40\r")
    terminal.until("...>", after=place)
    place = terminal.type("+ 2 AS answer;\r")
    assert "│" in terminal.until("42", "raybench>", after=place)
    place = terminal.type("SELEC 1;\r")
    terminal.until("SQL: Parser Error", "raybench>", after=place)
    place = terminal.type("SELECT 1 AS first; SELECT 5 + 6 AS second;\r")
    assert terminal.until("11", "raybench>", after=place).count("first") >= 2
    terminal.type(CTRL_D)
    assert terminal.end() == 0


def test_ctrl_c_throws_away_what_was_typed_and_ends_a_query(terminal: Terminal) -> None:
    place = terminal.type("SELECT nonsense\r")
    terminal.until("...>", after=place)
    place = terminal.type(CTRL_C)
    terminal.until("interrupted", "raybench>", after=place)
    endless = "SELECT sum(a.range) FROM range(2000000) AS a, range(2000000) AS b WHERE (a.range ^ b.range) % 7 = 1;"
    place = terminal.type(f"{endless}\r")
    terminal.until("% 7 = 1;", after=place)
    terminal.press(CTRL_C, "interrupted", "raybench>", after=place)
    place = terminal.type("SELECT 40 + 2 AS answer;\r")
    terminal.until("42", "raybench>", after=place)
    terminal.type("exit\r")
    assert terminal.end() == 0


def test_names_of_views_and_columns_are_completed(terminal: Terminal) -> None:
    place = terminal.type(f"SELECT configurat{TAB}")
    terminal.until("configuration", after=place)
    place = terminal.type(f"{CTRL_C}")
    terminal.until("interrupted", "raybench>", after=place)
    place = terminal.type(f"SELECT reference_strat{TAB}")
    terminal.until("reference_strategy", after=place)
    place = terminal.type(f" FROM by_strat{TAB}")
    terminal.until("by_strategy", after=place)
    place = terminal.type(" LIMIT 1;\r")
    terminal.until("│ full_ft", "raybench>", after=place)
    terminal.type(CTRL_D)
    assert terminal.end() == 0


def test_what_was_typed_is_there_in_the_next_session_and_nobody_else_s_to_read(run: Path, tmp_path: Path) -> None:
    with prompt(run, tmp_path) as first:
        first.until("raybench>")
        place = first.type("SELECT 40\r+ 2 AS answer;\r")
        first.until("42", "raybench>", after=place)
        first.type(CTRL_D)
        assert first.end() == 0
    kept = tmp_path / ".local" / "state" / "raybench" / "sql_history"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with prompt(run, tmp_path) as second:
        second.until("raybench>")
        place = second.type(f"{UP}\r")
        second.until("42", "raybench>", after=place)
        second.type(CTRL_D)
        assert second.end() == 0
    assert list(tmp_path.iterdir()) == [tmp_path / ".local"]


def test_without_a_state_folder_it_says_so_and_goes_on(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with prompt(run, tmp_path, XDG_STATE_HOME=str(tmp_path / "file")) as terminal:
        terminal.until("what is typed is not kept for the next time")
        terminal.until("raybench>")
        place = terminal.type("SELECT 40 + 2 AS answer;\r")
        terminal.until("42", "raybench>", after=place)
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_a_terminal_that_can_do_nothing_is_read_line_by_line(run: Path, tmp_path: Path) -> None:
    with prompt(run, tmp_path, TERM="dumb") as terminal:
        terminal.until("raybench>")
        place = terminal.type("SELECT 40\n+ 2 AS answer;\n")
        terminal.until("42", "raybench>", after=place)
        terminal.type(CTRL_D)
        assert terminal.end() == 0
        assert "\x1b" not in terminal.shown
    assert list(tmp_path.iterdir()) == []


def test_the_history_is_where_the_user_keeps_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "raybench" / "sql_history"
    assert stat.S_IMODE((tmp_path / "raybench").stat().st_mode) == 0o700
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which the specification says to ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    assert history_file() == tmp_path / ".local" / "state" / "raybench" / "sql_history"
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)
    assert history_file() is None


def piped(run: Path, text: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return cli.main(["sql", str(run), *words])


def test_statements_on_standard_input_give_their_answers_and_nothing_else(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "SELECT 1 AS a;\n\n-- a remark; with one\nSELECT\n  2 AS b; SELECT 3 AS c;\nSELECT ';' AS d"
    assert piped(run, text, monkeypatch, "--format", "csv") == 0
    assert capsys.readouterr() == ("a\n1\nb\n2\nc\n3\nd\n;\n", "")


def test_what_is_no_statement_is_told_apart_from_the_answers_and_fails(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert piped(run, "SELEC 1;\nSELECT 40 + 2 AS answer;\n", monkeypatch, "--format", "csv") == 1
    said = capsys.readouterr()
    assert said.out == "answer\n42\n"
    assert said.err.startswith("raybench: SQL: Parser Error")
    assert len(said.err.splitlines()) == 1
