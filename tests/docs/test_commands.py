"""Every command in README.md and docs/ is run by a test; those of CONTRIBUTING.md and benchmarks/README.md are checked.

Run here: those of raybench that take little. Others by test_reader.py, and by tests that ask for a line by
`pages.as_typed`.
"""

from __future__ import annotations

import ast
import functools
import shutil
from pathlib import Path

import pytest

from docs import pages
from docs.classes import NOT_CHECKED, is_run, problem
from docs.pages import FOR_USERS, PAGES, REPOSITORY, Command, as_typed, lines
from docs.reader import is_swept
from generated_runs import PLAN, even_cost, generated, load_generated
from loaded_runs import FULL, GOODPUT, HEAD, at, load_loaded, loaded
from raybench import cli
from sweep.own_plans import save_fine_tunes

WORDS = {
    "BASE": "lm",
    "support=DIR": "support=chat",
    "sales=DIR": "sales=code",
    "RUN": "data/runs/RUN",
    "RUN_A": "data/runs/A",
    "RUN_B": "data/runs/B",
}
"""What a page leaves to its reader, as it is in the folder where its commands are run."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a person would type: a base with two adapters, runs in data/runs, and one of servers."""
    here = tmp_path_factory.mktemp("here")
    save_fine_tunes(here)
    generated(load_generated(here, PLAN, rounds=3, requests=44), here / "data/runs", even_cost, run_id="RUN")
    for name in ("A", "B"):
        shutil.copytree(here / "data/runs/RUN", here / "data/runs" / name)
    served = here / "served"
    served.mkdir()
    text = HEAD.replace("rounds = 2", "rounds = 3") + GOODPUT + at(FULL, 1, 2)
    loaded(load_loaded(here, text), served)
    return here


def words_here(command: Command) -> list[str]:
    """The words of a command of raybench, with what stands for the reader's own filled in."""
    filled = [WORDS.get(word, word) for word in command.words[1:]]
    if "--ttft" in filled:  # advice on servers, of a run that has some
        filled = [word.replace("data/runs/RUN", "served/run") for word in filled]
    return filled


def every(page: str) -> list[Command]:
    return list(pages.commands(page))


RUNNABLE = {c.words: c for page in PAGES for c in every(page) if is_run(c)}
"""Commands that are run, each once."""


@functools.cache
def asked_for() -> set[str]:
    """The lines that tests ask for by their beginning, in words that stand there."""
    found = set()
    for path in (REPOSITORY / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("as_typed", "typed_words"):
                words = [word.value for word in node.args if isinstance(word, ast.Constant)]
                if len(words) == 2:
                    found.add(as_typed(*words))
    return found


@pytest.mark.parametrize("page", FOR_USERS)
def test_each_line_is_run_by_a_test(page: str) -> None:
    """README.md is typed from its first line to its last, in test_reader.py."""
    run = asked_for() | {line.text for line in lines("README.md")}
    missing = [
        str(line)
        for line in lines(page)
        if not (line.text in run or is_swept(line) or (line.alone is not None and is_run(line.alone)))
    ]
    assert missing == []


def test_what_nothing_can_be_told_of_has_a_reason() -> None:
    assert all(NOT_CHECKED.values())


@pytest.mark.parametrize("page", PAGES)
def test_each_command_is_one_that_there_is(page: str) -> None:
    written: list[str] = []
    wrong = []
    for command in every(page):
        if (found := problem(command, written)) is not None:
            wrong.append(f"{command}: {found}")
        written += [] if command.into is None else [command.into]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_in_sentences_are_parsed(page: str) -> None:
    written = [command.into for command in every(page) if command.into is not None] + ["mine.toml"]
    wrong = [f"{c}: {found}" for c in pages.mentioned(page) if (found := problem(c, written)) is not None]
    assert wrong == []


@pytest.mark.parametrize("command", RUNNABLE.values(), ids=str)
def test_what_can_be_run_here_runs(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for page_of_a_run in folder.glob("*.html"):
        page_of_a_run.unlink()
    words = words_here(command)
    for word in words:  # of a plan that an earlier line of the page writes: that line first
        if word.endswith(".toml") and not (folder / word).exists() and not (REPOSITORY / word).exists():
            _write(word, command.page, folder, capsys)
    if any((REPOSITORY / word).is_file() for word in words):
        monkeypatch.chdir(REPOSITORY)
    capsys.readouterr()
    code = cli.main(words)
    said = capsys.readouterr()
    assert (code, said.err if code else "") == (0, "")
    assert said.out
    if command.into is not None:
        assert said.out.endswith("\n")


def _write(name: str, page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Type the line of the page that writes this file."""
    (line,) = [c for c in every(page) if c.into == name][:1]
    assert cli.main(words_here(line)) == 0
    (folder / name).write_text(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("raybench fly RUN", "not a command line of raybench: "),
        ("raybench sweep --plan nothing", "no shipped plan"),
        ("raybench sweep --no-such-option", "not a command line of raybench: Unknown option: --no-such-option"),
        ("python -m raybench.sweep --rounds none", "not a command line of a sweep: Invalid value for --rounds"),
        ("frobnicate now", "in no class"),
        ("make coffee", "no target"),
        ("pip install -c constraint.txt .", "not there"),
        ("pip install 'raybench[cake]'", "no such extra"),
        ("jobs/nothing.sh RESULTS", "not there"),
        ("jobs/study.sh RESULTS --no-such-option", "not a command line of a sweep: Unknown option: --no-such-option"),
        ("ray up --no-such-option cluster.yaml", "No such option"),
        (
            "ray job submit -- python -m raybench.sweep --no-such-option",
            "not a command line of a sweep: Unknown option: --no-such-option",
        ),
        (".venv/bin/python benchmarks/turns.py --no-such-option", "no option of"),
    ],
)
def test_what_is_wrong_is_found(typed: str, why: str) -> None:
    (command,) = pages.typed("page", 1, typed)
    assert why in (problem(command) or "")
