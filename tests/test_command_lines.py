"""Every command alike: its help and the example in it, options in any order, widths, blanks, colours, completion."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from command_lines import bound
from decide.advising import LATENCIES_MS, make_run
from raybench import cli
from terminals import at_terminal

Capture = pytest.CaptureFixture[str]
COMMANDS = tuple(name for name in cli.app if not name.startswith("-"))
NEEDS = ["--tasks=3", "--gpu-memory=2GB", "--slo-p95=40ms", "--requests-per-second=10"]
SHOWING = ("runs", "status", "tables", "report", "sql", "compare", "decide", "plan")
ENDS = {"decide": 1}  # the run is too short for advice, and that is said
SCRIPT = str(Path(sys.executable).parent / "raybench")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return make_run(tmp_path_factory.mktemp("runs"), LATENCIES_MS, rounds=3)


def words_of(command: str, run: Path) -> list[str]:
    """A command line that shows something of ``run``."""
    found: dict[str, list[str]] = {
        "runs": ["--results", str(run.parent)],
        "report": [str(run), "--markdown"],
        "sql": [str(run), "FROM by_strategy"],
        "compare": [str(run), str(run)],
        "decide": [str(run), *NEEDS],
        "plan": ["smoke"],
    }
    return [command, *found.get(command, [str(run)])]


def help_of(words: list[str], capsys: Capture) -> str:
    assert cli.main([*words, "--help"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def examples_in(text: str) -> list[str]:
    """Each on a line as it was written, or on several that a shell reads as one."""
    lines = text.partition("For example:\n")[2]
    assert all(len(line) < 80 for line in lines.splitlines())  # a line is broken nowhere else on a usual terminal
    return [line.strip() for line in lines.replace("\\\n", "").splitlines()]


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_that_the_command_takes(command: str, capsys: Capture) -> None:
    examples = examples_in(help_of([command], capsys))
    assert examples
    for example in examples:
        words = list(itertools.takewhile(lambda word: word not in ("<", ">"), shlex.split(example, comments=True)))
        if words[0] == "eval":
            words = words[1].removeprefix("$(").removesuffix(")").split()
        assert words[:2] == ["raybench", command]
        assert bound(words[1:])[0] == ("completion" if command == "completion" else f"{command}_command")


def test_the_help_of_all_names_every_command_and_where_to_begin(capsys: Capture) -> None:
    text = help_of([], capsys)
    assert all(f"\n│ {command} " in text for command in COMMANDS)
    assert examples_in(text)[0].startswith("raybench sweep --plan smoke")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_as_wide_as_columns_says(command: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    lengths = []
    for columns in ("72", "140"):
        monkeypatch.setenv("COLUMNS", columns)
        text = help_of([command], capsys).partition("For example:\n")[0]
        lengths.append(max(map(len, text.splitlines())))
        assert lengths[-1] <= int(columns)
        assert text.splitlines() == [line.rstrip() for line in text.splitlines()]
    assert lengths[1] >= lengths[0]


# Options in any order

ORDERS: dict[str, tuple[list[str], list[list[str]]]] = {
    "sweep": ([], [["--plan", "smoke"], ["--rounds", "2"], ["--resume"]]),
    "init": ([], [["--model", "BASE"], ["--adapter", "a=DIR"]]),
    "plan": (["smoke"], [["--design", "paired"], ["--json"]]),
    "doctor": ([], [["--address", "10.0.0.1:6379"], ["--json"]]),
    "prepare": (["micro"], [["--plan", "rq2"], ["--out", "DIR"]]),
    "runs": ([], [["--results", "DIR"], ["--json"]]),
    "status": (["RUN"], [["--results", "DIR"], ["--json"]]),
    "rm": (["RUN"], [["--results", "DIR"], ["--yes"]]),
    "tables": (["RUN"], [["--table", "run"], ["--format", "csv"]]),
    "report": (["RUN"], [["--out", "FILE"], ["--force"]]),
    "sql": (["RUN", "FROM run"], [["--format", "csv"], ["--unsafe"]]),
    "compare": (["A", "B"], [["--results", "DIR"], ["--json"]]),
    "decide": (["RUN"], [NEEDS, ["--json"]]),
    "completion": (["bash"], []),
}


def test_every_command_has_an_order_to_try() -> None:
    assert tuple(ORDERS) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_options_stand_in_any_order(command: str) -> None:
    places, options = ORDERS[command]
    parts = [*([place] for place in places), *options]
    expected = bound([command, *itertools.chain.from_iterable(parts)])
    for order in itertools.permutations(parts):
        if [part for part in order if part in [[place] for place in places]] == [[place] for place in places]:
            assert bound([command, *itertools.chain.from_iterable(order)]) == expected


# What is shown


def at_own_terminal(words: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``raybench`` shows on a terminal, in this process."""
    reading, writing = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # at a terminal's end
            while part := os.read(reading, 65536):
                shown.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(writing, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert cli.main(words) == ENDS.get(words[0], 0)
    monkeypatch.undo()
    reader.join(60)
    os.close(reading)
    return b"".join(shown).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("command", SHOWING)
def test_no_line_ends_by_blanks_and_a_log_has_no_colours(
    command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    assert cli.main(words_of(command, run)) == ENDS.get(command, 0)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert [line for line in out.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("command", SHOWING)
@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_off_where_the_environment_says_so(
    command: str, variable: tuple[str, str], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv(*variable)
    assert "\x1b" not in at_own_terminal(words_of(command, run), monkeypatch)


def test_a_terminal_that_has_colours_gets_some(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in at_own_terminal(words_of("tables", run), monkeypatch)


@pytest.mark.parametrize("command", ["runs", "tables", "sql", "compare"])
def test_tables_are_as_wide_as_columns_says_and_nothing_is_cut_off(
    command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def rules(columns: int) -> list[int]:
        monkeypatch.setenv("COLUMNS", str(columns))
        assert cli.main(words_of(command, run)) == ENDS.get(command, 0)
        out = capsys.readouterr().out
        assert command == "sql" or "…" not in out
        return [len(line) for line in out.splitlines() if "──" in line and set(line.strip()) <= set("─┌┬┐├┼┤└┴┘")]

    # Below that the rows of a comparison are a list, since no line parts an interval.
    columns = 120 if command == "compare" else 90
    narrow, wide = rules(columns), rules(190)
    assert narrow
    assert max(narrow) <= columns
    assert max(wide) <= 190
    assert max(wide) > max(narrow) or max(wide) < columns


# Completion


def completions(line: str, cwd: Path) -> list[str]:
    """What a shell is told of the last word of ``line`` where its script asks: a value a line, up to a tab."""
    asked = [SCRIPT, "__complete", *line.split(" ")[1:]]
    done = subprocess.run(asked, cwd=cwd, capture_output=True, text=True, check=True, timeout=120)
    return [value.partition("\t")[0] for value in done.stdout.splitlines() if value and not value.startswith("\x1f")]


@pytest.fixture
def beside_runs(run: Path, tmp_path: Path) -> Path:
    for name in ("smoke-1", "smoke-2", "\x1b[31mred"):
        shutil.copytree(run, tmp_path / "data" / "runs" / name)
    (tmp_path / "mine.toml").touch()
    (tmp_path / "mine.jsonl").touch()
    return tmp_path


def test_runs_plans_models_and_places_are_completed(beside_runs: Path) -> None:
    def told(line: str) -> list[str]:
        begun = line.rpartition(" ")[2]
        return [word for word in completions(line, beside_runs) if word.startswith(begun)]

    assert told("raybench tables l") == ["latest"]
    assert told("raybench tables latest --table by_") == ["by_axis", "by_configuration", "by_measure", "by_strategy"]
    assert told("raybench tables latest --table data") == []
    assert told("raybench compare latest latest --fail-on ") == ["slower", "faster", "inconclusive"]
    assert told("raybench sweep --model mic") == ["micro", "micro-lm"]
    assert told("raybench sweep --rounds ") == told("raybench decide latest --tasks d") == []
    assert told("raybench sweep --texts mi") == ["mine.jsonl"]
    assert told("raybench report latest --out mi") == ["mine.jsonl", "mine.toml"]
    assert told("raybench tables latest --out d") == ["data/"]
    assert told("raybench status s") == ["smoke-1", "smoke-2"]
    assert told("raybench status data/runs/s") == ["data/runs/smoke-1/", "data/runs/smoke-2/"]
    assert told("raybench rm --results data/runs ") == ["smoke-1", "smoke-2", "data/"]
    assert told("raybench rm --results elsewhere smo") == []
    assert told("raybench plan rq") == ["rq2"]
    assert told("raybench plan mi") == ["mixed", "mine.toml"]
    assert told("raybench sweep --plan rq") == ["rq2"]
    assert told("raybench compare latest smoke-2") == ["smoke-2"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(beside_runs: Path) -> None:
    environment = {"PATH": f"{Path(SCRIPT).parent}:{os.environ['PATH']}", "PS1": "ready> ", "HISTFILE": ""}
    with at_terminal(["bash", "--norc", "--noprofile", "-i"], beside_runs, environment) as bash:
        bash.until("ready> ")
        place = bash.type('eval "$(raybench completion bash)"; echo begun $?\r')
        bash.until("begun 0", after=place)
        for typed, completed in (
            ("raybench stat\tlat\t--js\t", "raybench status latest --json "),
            ("raybench status da\trun\tsmoke-1\t --js\t", "raybench status data/runs/smoke-1/ --json "),
            ("raybench completion fi\t", "raybench completion fish "),
        ):
            place = bash.type(typed)
            bash.until(completed, after=place)
            place = bash.type(">/dev/null; echo ended $?\r")
            bash.until("ended 0", after=place)
        bash.type("exit\r")
        bash.end()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_runs_is_what_that_shell_reads(shell: str, capsys: Capture) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("raybench", *COMMANDS, "until-halfwidth", "llama.cpp"))
    if (found := shutil.which(shell)) is not None:
        done = subprocess.run([found, "-n"], input=text, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
def test_zsh_knows_what_completes_it(tmp_path: Path) -> None:
    line = 'autoload -U compinit && compinit -u -D; eval "$(raybench completion zsh)"; echo $_comps[raybench]'
    environment = os.environ | {"PATH": f"{Path(SCRIPT).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["zsh", "-fc", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("_raybench\n", "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish")
def test_fish_completes(beside_runs: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(SCRIPT).parent}:{os.environ['PATH']}", "HOME": str(beside_runs)}
    lines = ("stat", "status s", "tables latest --fo")
    asked = "; ".join(f'complete -C "raybench {line}"' for line in lines)
    script = f"raybench completion fish | source; {asked}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        cwd=beside_runs,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == [
        "status",
        "smoke-1",
        "smoke-2",
        "--format",
    ]
