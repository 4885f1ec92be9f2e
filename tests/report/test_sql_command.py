"""``raybench sql``: any SQL over a run, which it cannot change; nothing else is within its reach."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import signal
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from decide.advising import LATENCIES_MS, make_run
from raybench import cli
from raybench.report.query import print_box

Capture = pytest.CaptureFixture[str]
ENDLESS = "SELECT sum(a.range) FROM range(2000000) AS a, range(2000000) AS b WHERE (a.range ^ b.range) % 7 = 1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), LATENCIES_MS, rounds=2)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def ask(run: Path, *words: str) -> int:
    return cli.main(["sql", str(run), *words])


WRITES = [
    "COPY (SELECT 1) TO '{run}/new.csv'",
    "COPY (SELECT 1) TO '{run}/run.json' (FORMAT csv, USE_TMP_FILE false)",
    "COPY (SELECT 1) TO '{run}/schema/samples.parquet' (USE_TMP_FILE false)",
    "COPY (SELECT 1) TO '{away}/new.parquet'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{away}/new.parquet' (USE_TMP_FILE false)",
    "PREPARE p AS COPY (SELECT 1) TO '{run}/run.json' (USE_TMP_FILE false); EXECUTE p",
    "EXPORT DATABASE '{run}/export'",
    "ATTACH '{run}/new.db'",
    "ATTACH '{run}/run.json'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FROM 'https://example.invalid/x.parquet'",
    "FROM read_parquet('s3://bucket/x.parquet')",
    "FROM read_csv('{away}/secret.csv')",
    "FROM read_text('{run}/run.json')",
    "FROM glob('{run}/*')",
    "IMPORT DATABASE '{away}'",
    "CREATE SECRET s (TYPE s3)",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "SET temp_directory = '{run}'",
    "SET log_query_path = '{run}/log'",
    "RESET lock_configuration",
    "PRAGMA enable_profiling = 'json'",
    "CALL enable_logging(storage = 'file', storage_path = '{run}')",
]


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "secret.csv").write_text("a,b\n1,hidden\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_is_read_written_fetched_or_set_but_the_run_s_own_tables(
    run: Path, away: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    before, around = contents(run), contents(away)
    queries = [sql.format(run=run, away=away) for sql in WRITES]
    monkeypatch.setattr(sys, "stdin", io.StringIO(";\n".join([*queries, "SELECT count(*) AS n FROM samples"])))
    assert ask(run) == 1
    said = capsys.readouterr()
    assert said.err.count("SQL: ") == len(WRITES)
    assert said.err.count("with --unsafe a query may use files, the network and settings") >= len(WRITES) - 3
    assert "hidden" not in said.out + said.err
    assert "│" in said.out
    assert contents(run) == before
    assert contents(away) == around


def test_one_query_that_reaches_out_ends_with_1_and_a_line(run: Path, away: Path, capsys: Capture) -> None:
    assert ask(run, "FROM read_csv('secret.csv')") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("raybench: SQL: Permission Error: ")
    assert len(said.err.splitlines()) == 1


def test_every_view_answers_and_names_in_a_query_are_no_variables_of_the_program(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert ask(run, "SELECT name FROM (SHOW TABLES) WHERE name NOT LIKE 'raybench_%'", "--format", "csv") == 0
    names = capsys.readouterr().out.split()[1:]
    assert {"samples", "visits", "timed", "by_strategy", "cautions"} <= set(names)
    queries = ";\n".join([f"SELECT '{name}', count(*) >= 0 FROM {name}" for name in names] + ["FROM relation"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(queries))
    assert ask(run, "--format", "csv") == 1
    said = capsys.readouterr()
    assert said.out.count(",true\n") == len(names)
    assert said.err.count("SQL: ") == 1
    assert "Table with name relation does not exist" in said.err


def test_unsafe_is_all_of_duckdb(run: Path, away: Path, capsys: Capture) -> None:
    query = f"COPY (SELECT count(*) AS n FROM samples) TO '{away}/n.csv'"
    assert ask(run, "--unsafe", query) == 0
    assert (away / "n.csv").read_text().splitlines()[0] == "n"
    capsys.readouterr()
    assert ask(run, "FROM read_csv('secret.csv')", "--unsafe", "--format", "csv") == 0
    assert capsys.readouterr().out == "a,b\n1,hidden\n"


def test_csv_has_times_that_python_has_not_and_utc(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    query = (
        "SELECT TIMESTAMP '290000-01-01' AS late, '0044-03-15 (BC)'::DATE AS early, 'infinity'::TIMESTAMP AS never, "
        "TIMESTAMPTZ '2025-06-01 12:00:00+02' AS zone, [1, 2] AS list, true AS yes, NULL AS nothing, "
        "1e-7::DOUBLE AS small"
    )
    assert ask(run, "--format", "csv", query) == 0
    assert capsys.readouterr().out.splitlines() == [
        "late,early,never,zone,list,yes,nothing,small",
        '290000-01-01 00:00:00,0044-03-15 (BC),infinity,2025-06-01 10:00:00+00,"[1, 2]",true,,1e-07',
    ]


def test_of_several_statements_each_is_answered_and_of_parquet_a_second_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    several = "SELECT 1 AS a; SELECT 'x;y' AS b"
    for given in ([several], []):
        monkeypatch.setattr(sys, "stdin", io.StringIO(several))
        assert ask(run, "--format", "csv", *given) == 0
        assert capsysbinary.readouterr().out == b"a\n1\nb\nx;y\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 1 AS a; SELECT 2 AS b"))
    assert ask(run, "--format", "parquet") == 1
    said = capsysbinary.readouterr()
    assert said.out.endswith(b"PAR1")
    assert said.out.count(b"PAR1") == 2  # at the head and at the end of one file
    assert b"Parquet: a file holds one answer; ask each statement by itself, or in another format" in said.err


def test_a_box_shows_what_would_act_on_a_terminal(run: Path, capsys: Capture) -> None:
    assert ask(run, "SELECT chr(27) || '[31m' || chr(8238) || chr(155) AS \"x\x1b]0;\x07\"") == 0
    out = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in out)
    assert "[31m\\u202e\\x9b" in out


def test_csv_is_as_it_is_for_programs_and_harmless_on_a_terminal(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    query = "SELECT 'a' || chr(27) || chr(10) || 'b' AS x"
    assert ask(run, "--format", "csv", query) == 0
    assert capsys.readouterr().out == 'x\n"a\x1b\nb"\n'
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert ask(run, "--format", "csv", query) == 0
    shown = b""
    with contextlib.suppress(OSError):  # a terminal gives what there is, and at its end an error
        while part := os.read(reading, 1000):
            shown += part
    os.close(reading)
    assert shown.decode() == "x\r\na\\x1b\\nb\r\n"


class Interrupting(io.StringIO):
    """Lines of a person who presses Ctrl-C while the first is answered."""

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        line = super().readline(size)
        if line.rstrip() == f"{ENDLESS};":
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        return line


def test_ctrl_c_ends_a_query_and_the_prompt_goes_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys, "stdin", Interrupting(f"{ENDLESS};\nSELECT 40 + 2 AS answer\n"))
    assert ask(run) == 0
    out = capsys.readouterr().out
    assert out.index("interrupted") < out.index("answer") < out.index("42")


@pytest.mark.parametrize("begun", [True, False])
def test_ctrl_c_as_a_query_begins_leaves_none_that_goes_on(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    start, before = threading.Thread.start, set(threading.enumerate())

    def interrupted(thread: threading.Thread) -> None:
        if begun:
            start(thread)
        raise KeyboardInterrupt

    with duckdb.connect() as connection:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                print_box(connection, ENDLESS)
        for thread in set(threading.enumerate()) - before:
            thread.join(10)
            assert not thread.is_alive()
        assert connection.sql("SELECT 40 + 2").fetchall() == [(42,)]


@pytest.mark.parametrize("end", ["exit", "quit;", "\\q", ".exit", ""])
def test_the_prompt_ends(run: Path, end: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{end}\nSELECT 40 + 2 AS answer\n" if end else ""))
    assert ask(run) == 0
    assert "42" not in capsys.readouterr().out


def test_a_prompt_without_input_ends(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert ask(run) == 0
