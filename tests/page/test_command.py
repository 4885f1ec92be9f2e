"""``raybench report``: where a page goes, and that nothing is written over in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from page.reading import check
from raybench import cli

Capture = pytest.CaptureFixture[str]
NEEDS = ["--tasks=3", "--gpu-memory=2GB", "--slo-p95=40ms", "--requests-per-second=10"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_page_is_called_after_its_run_and_lies_here(of_classifiers: Path, here: Path, capsys: Capture) -> None:
    assert cli.main(["report", str(of_classifiers)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("run.html: the page of run, ")
    assert said.err == ""
    assert [path.name for path in here.iterdir()] == ["run.html"]
    check((here / "run.html").read_text())


def test_nothing_is_written_over_in_silence(of_classifiers: Path, here: Path, capsys: Capture) -> None:
    (here / "run.html").write_text("mine")
    assert cli.main(["report", str(of_classifiers)]) == 2
    assert capsys.readouterr().err == (
        "raybench: run.html: is there already; --force writes over it, --out FILE another\n"
    )
    assert (here / "run.html").read_text() == "mine"
    assert cli.main(["report", str(of_classifiers), "--out", "other.html"]) == 0
    assert cli.main(["report", str(of_classifiers), "--force"]) == 0
    assert (here / "run.html").read_bytes() == (here / "other.html").read_bytes()
    assert sorted(path.name for path in here.iterdir()) == ["other.html", "run.html"]


def test_a_folder_that_is_not_there_is_a_line(of_classifiers: Path, here: Path, capsys: Capture) -> None:
    assert cli.main(["report", str(of_classifiers), "--out", "none/run.html"]) == 1
    assert capsys.readouterr().err == "raybench: none/run.html: No such file or directory\n"


def test_what_is_no_run_is_a_line(here: Path, capsys: Capture) -> None:
    assert cli.main(["report", "none"]) == 2
    assert capsys.readouterr().err.startswith("raybench: none: no run here")


def test_markdown_and_json_go_to_standard_output_or_where_they_are_told(
    of_classifiers: Path, here: Path, capsys: Capture
) -> None:
    assert cli.main(["report", str(of_classifiers), "--markdown"]) == 0
    markdown = capsys.readouterr().out
    assert markdown.startswith("## raybench")
    assert cli.main(["report", str(of_classifiers), "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert list(here.iterdir()) == []
    assert cli.main(["report", str(of_classifiers), "--json", "--out", "run.json"]) == 0
    assert json.loads((here / "run.json").read_text()) == numbers
    assert cli.main(["report", str(of_classifiers)]) == 0
    assert check((here / "run.html").read_text()).numbers == numbers


def test_with_needs_it_has_the_advice(of_classifiers: Path, here: Path, capsys: Capture) -> None:
    assert cli.main(["report", str(of_classifiers), *NEEDS]) == 0
    assert cli.main(["decide", str(of_classifiers), *NEEDS, "--json"]) == 1
    advice = json.loads(capsys.readouterr().out.partition("\n")[2])
    page = check((here / "run.html").read_text())
    assert page.parts[0] == "advice"
    assert page.numbers["advice"]["sentence"] == advice["sentence"]
    assert advice["sentence"] in page.text()


def test_needs_that_go_together_are_asked_for_together(of_classifiers: Path, here: Path, capsys: Capture) -> None:
    assert cli.main(["report", str(of_classifiers), "--tasks=3"]) == 2
    assert capsys.readouterr().err == (
        "raybench: --gpu-memory, --requests-per-second: missing; advice needs all of --tasks, --gpu-memory and "
        "--requests-per-second\n"
    )
    assert list(here.iterdir()) == []
