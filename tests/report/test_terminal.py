"""The one way out to the screen: foreign text is shown and acts on nothing."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import raybench
from raybench.report.terminal import complain, harmless, run_argument, say, shell_command, write_json

WORDS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff'\\\n\x1b$`"),
    max_size=12,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("lora_mrpc é ± │ 漢", "lora_mrpc é ± │ 漢"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m\x7f\x07", "\\x9b31m\\x7f\\x07"),
        ("a\r\nb\tc\x0b\x85\u2028", "a\\r\\nb\\tc\\x0b\\x85\\u2028"),
        ("\u202egnp\u2066\u200f", "\\u202egnp\\u2066\\u200f"),
        ("a\u200bb\u00ad\ufeff\U000e0041", "a\\u200bb\\xad\\ufeff\\U000e0041"),
        ("\ud800\udcff", "\\ud800\\udcff"),
        ("a\u00a0b", "a\\xa0b"),
    ],
)
def test_what_a_terminal_acts_on_or_nobody_sees_is_escaped(text: str, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text())
def test_whatever_comes_is_printable_and_what_was_printable_stays(text: str) -> None:
    assert harmless(text).isprintable()
    assert harmless(harmless(text)) == harmless(text)


def test_a_line_is_as_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    say("raybench tables " + "a " * 100 + "[bold]:smile: \x1b[2J\n")
    assert capsys.readouterr().out == "raybench tables " + "a " * 100 + "[bold]:smile: \\x1b[2J\\n\n"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["raybench", "tables", "runs/a"], "raybench tables runs/a"),
        (["tables", "my runs/$HOME;x"], "tables 'my runs/$HOME;x'"),
        (["a\x1b[31m'b\\\n"], "$'a\\033[31m\\'b\\\\\\012'"),
    ],
)
def test_a_command_is_quoted_for_the_shell(words: list[str], command: str) -> None:
    assert shell_command(words) == command


@given(st.lists(WORDS, max_size=5))
def test_a_shell_reads_the_very_words(words: list[str]) -> None:
    command = shell_command(["printf", r"%s\0", *words, "end"])
    assert command.isprintable()
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [word.encode("utf-8", "surrogateescape") for word in [*words, "end"]]


def test_a_run_s_place_is_not_taken_for_an_option() -> None:
    assert run_argument(Path("--json")) == "./--json"
    assert run_argument(Path("runs/a")) == "runs/a"


def test_complaints_are_one_line_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    complain("s3://KEY:secret/with@bucket/x: bad\n   name \x1b[31m  'two  spaces'")
    said = capsys.readouterr()
    assert said.err == "raybench: s3://...@bucket/x: bad name \\x1b[31m  'two  spaces'\n"
    assert said.out == ""


def test_a_complaint_that_nobody_can_read_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    complain("x")


def test_json_is_ascii_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "\x1b\x7f\x9b\u202e\ud800\n"}
    write_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert set(out) - {"\n"} <= set(map(chr, range(32, 127)))


def test_nothing_else_prints() -> None:
    sources = Path(raybench.__file__).parent
    prints = re.compile(r"(?<![\w.])(?<!def )(print|Console)\(|sys\.std(out|err)\.write|rich\.print")
    found = [str(p.relative_to(sources)) for p in sources.rglob("*.py") if prints.search(p.read_text())]
    # The first one line of its own, before all imports; the second what is typed after, the third the help of commands.
    assert sorted(found) == ["__main__.py", "report/prompt.py", "report/screen.py", "report/terminal.py"]
