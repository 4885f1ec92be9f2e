"""How commands end: one line for what went wrong, the right exit code, no traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest

from decide.advising import LATENCIES_MS, make_run
from raybench import cli
from raybench.records import InputError, RaybenchError
from raybench.report.app import new_app, run_app
from raybench.report.command import run_command
from raybench.report.terminal import say, write_text

Capture = pytest.CaptureFixture[str]
NEEDS = ["--tasks=3", "--gpu-memory=2GB", "--slo-p95=40ms", "--requests-per-second=10"]
COMMANDS = ["tables", "status", "decide", "compare", "plan", "sql", "csv", "json"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    return make_run(tmp_path_factory.mktemp("run"), LATENCIES_MS, rounds=2)


def arguments(command: str, run: Path) -> list[str]:
    return {
        "decide": ["decide", str(run), *NEEDS],
        "compare": ["compare", str(run), str(run)],
        "plan": ["plan", "rq2"],
        "sql": ["sql", str(run), "FROM samples"],
        "csv": ["sql", str(run), "--format", "csv", "FROM samples"],
        "json": ["status", str(run), "--json"],
    }.get(command, [command, str(run)])


@contextlib.contextmanager
def output_to(stream: TextIO) -> Iterator[None]:
    """Not by a fixture: what captures would put its own stream in place as the test begins."""
    with stream, contextlib.redirect_stdout(stream):
        yield


def full_disk() -> TextIO:
    return Path("/dev/full").open("w")


def reader_gone() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_told_in_a_line(command: str, run: Path, capsys: Capture) -> None:
    with output_to(full_disk()):
        assert cli.main(arguments(command, run)) == 1
    assert capsys.readouterr().err == "raybench: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_gone_is_no_error(command: str, run: Path, capsys: Capture) -> None:
    with output_to(reader_gone()):
        assert cli.main(arguments(command, run)) in ((0, 1) if command == "decide" else (0,))
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_gone_changes_no_verdict(run: Path, capsys: Capture) -> None:
    with output_to(reader_gone()):
        assert cli.main(["decide", str(run), *NEEDS]) == 1  # the run is too short for a p95
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_output_is_told_before_anything_is_done(
    command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(arguments(command, run)) == 1
    assert capsys.readouterr().err == "raybench: standard output is closed; send it somewhere, such as > FILE\n"


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RaybenchError("it failed"), 1, "it failed"),
        (InputError("\x1b[31m: no such thing"), 2, "\\x1b[31m: no such thing"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("Query interrupted"), 130, "interrupted"),
        (FileNotFoundError(2, "No such file or directory", "/x\n/y"), 1, "/x\\n/y: No such file or directory"),
        (OSError("cannot be"), 1, "cannot be"),
        (BrokenPipeError(32, "Broken pipe"), 0, None),
    ],
)
def test_what_went_wrong_is_one_line_and_its_code(
    error: BaseException, code: int, line: str | None, capsys: Capture
) -> None:
    assert run_command(raising(error)) == code
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"raybench: {line}\n" if line else "")


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        run_command(raising(RuntimeError("a bug")))
    with pytest.raises(KeyError):
        run_command(raising(KeyError("x")))


def test_a_terminal_of_few_characters_shows_the_others_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command() -> int:
        say("±2 % 漢")
        write_text("│\n")
        return 0

    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run_command(command) == 0
    assert (tmp_path / "out").read_text() == "\\xb12 % \\u6f22\n\\u2502\n"


def test_a_command_line_s_complaint_is_harmless_and_without_secrets(capsys: Capture) -> None:
    app = new_app("x", "What x is for.", ("x a",))

    @app.default
    def x(a: str, /) -> int:
        return len(a)

    for words in (["a", "\x1b[31m", "s3://key:se/cret@bucket/x?signature=1"], []):
        assert run_command(partial(run_app, app, words)) == 2
    assert capsys.readouterr().err.splitlines() == [
        "raybench: \\x1b[31m, s3://...@bucket/x?...: more than it takes; x --help says what it takes",
        "raybench: A: missing; x --help says what it takes",
    ]


def test_help_that_cannot_be_written_is_told(capsys: Capture) -> None:
    with output_to(full_disk()):
        assert cli.main(["sql", "--help"]) == 1
    assert "No space left" in capsys.readouterr().err


def test_a_process_ends_the_same_way(run: Path) -> None:
    """Closed and full outputs, and a signal, in a process of its own: Python adds nothing as it ends."""
    ended = []
    for redirection in (">&-", ">/dev/full", "| head -1 >/dev/null; exit ${PIPESTATUS[0]}"):
        line = f"{sys.executable} -m raybench.cli plan rq2 {redirection}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300)
        ended.append((done.returncode, done.stderr.count("\n"), "Traceback" in done.stderr))
    assert ended == [(1, 1, False), (1, 1, False), (0, 0, False)]
    code = f"""
import os, signal, sys, threading
from raybench import cli
from raybench.report import query

ask = query._answer

def interrupted(*words):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    return ask(*words)

query._answer = interrupted
sys.exit(cli.main(["sql", {str(run)!r}, "SELECT sum(hash(range)) FROM range(1000000000000)"]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "raybench: interrupted\n")
