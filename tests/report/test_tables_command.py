"""``raybench tables``: all for people, or some as data."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from decide.advising import LATENCIES_MS, make_run
from raybench import cli
from raybench.analysis.tables import Tables
from raybench.report.format_names import ENDINGS, FORMATS, Format

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return make_run(tmp_path_factory.mktemp("run"), LATENCIES_MS, rounds=2)


def test_one_table_is_shown_or_written_as_data(run: Path, capsys: Capture) -> None:
    assert cli.main(["tables", str(run), "--table", "completeness"]) == 0
    assert "│" in capsys.readouterr().out
    rows = Tables(run).rows("FROM completeness")
    assert cli.main(["tables", str(run), "--table", "completeness", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows
    assert cli.main(["tables", str(run), "--table", "completeness", "--format", "csv"]) == 0
    assert [row["configuration"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == [
        row["configuration"] for row in rows
    ]
    assert cli.main(["tables", str(run), "--table", "completeness", "--format", "markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| configuration | deployment | rounds_done |")
    assert len(lines) == 2 + len(rows)


@pytest.mark.parametrize("format_", FORMATS)
def test_all_are_written_into_a_folder(run: Path, tmp_path: Path, format_: Format, capsys: Capture) -> None:
    before = {p: p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}
    folder = tmp_path / "new" / "tables"
    for _ in range(2):  # what is there is replaced
        assert cli.main(["tables", str(run), "--format", format_, "--out", str(folder)]) == 0
    written = sorted(path.name for path in folder.iterdir())
    assert capsys.readouterr().out.splitlines() == [f"{folder}: {len(written)} tables as {format_}"] * 2
    assert {f"{name}.{ENDINGS[format_]}" for name in ("by_strategy", "overhead", "completeness", "failures")} <= set(
        written
    )
    assert not any(name.startswith(("samples", "visits", "raybench_")) for name in written)
    assert {p: p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()} == before
    if format_ == "parquet":
        assert pq.read_table(folder / "by_strategy.parquet").to_pylist() == Tables(run).rows("FROM by_strategy")


def test_a_long_one_is_written_if_it_is_named(run: Path, tmp_path: Path) -> None:
    assert cli.main(["tables", str(run), "--table", "timed", "--format", "parquet", "--out", str(tmp_path)]) == 0
    (n,) = Tables(run).rows("SELECT count(*) AS n FROM timed")
    assert [path.name for path in tmp_path.iterdir()] == ["timed.parquet"]
    assert pq.read_metadata(tmp_path / "timed.parquet").num_rows == n["n"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--format", "csv"], "--format csv: name one table by --table, or by --out a folder for all of them"),
        (["--out", "x"], "--out: say as what by --format: csv, json, markdown, parquet"),
        (["--table", "by_strateg"], "--table 'by_strateg': no such table; did you mean 'by_strategy'?"),
        (["--table", "raybench_times"], "--table 'raybench_times': no such table; "),
        (["--table", "samples; DROP"], "--table 'samples; DROP': no such table; "),
    ],
)
def test_what_does_not_go_together_is_a_line(run: Path, words: list[str], line: str, capsys: Capture) -> None:
    assert cli.main(["tables", str(run), *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"raybench: {line}")
    assert said.err.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_a_line(run: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("x")
    assert cli.main(["tables", str(run), "--format", "csv", "--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(f"raybench: {tmp_path}/file: ")
