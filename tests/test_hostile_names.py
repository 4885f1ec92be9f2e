"""Names in a run, a plan or a command line that are meant to act on a terminal, a shell or a table do nothing."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decide.advising import LATENCIES_MS, make_run
from hostile_runs import hostile_copy
from raybench import cli
from raybench.records import InputError
from raybench.sweep import command as sweep_command
from raybench.sweep.options import SweepOptions
from small_plans import SMALL_PLAN

Capture = pytest.CaptureFixture[str]
NEEDS = ["--tasks=3", "--gpu-memory=2GB", "--slo-p95=40ms", "--requests-per-second=10"]
WORDS = {
    "codes": "\x1b[31m\x1b]0;owned\x07\x9b2J\x90\x7f",
    "lines": "\r\nraybench: all is well\n\u2028\x85\x0b",
    "directions": "\u202e\u2066\u200f\u200b\ufeff\U000e0041",
    "markup": "[bold red][/x][link=https://example.invalid]:smile:",
    "shell": "'; $(reboot) `reboot` \\\"",
}


def check(text: str) -> None:
    """No character that acts on a terminal, or that nobody sees; no line that was forged; nothing taken for markup."""
    assert {c for c in text if not c.isprintable()} <= {"\n"}
    assert not any(line.startswith("raybench: all is well") for line in text.splitlines())
    assert "😄" not in text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), LATENCIES_MS, failing="lora_merged_sst2_seed42", rounds=2)


ACTING = [
    pytest.param(WORDS["codes"] + WORDS["directions"] + WORDS["lines"], "[31m", id="on a terminal"),
    pytest.param(WORDS["markup"] + WORDS["shell"], "[bold", id="on rich and on shells"),
]


def commands(root: Path, run: Path, word: str) -> dict[str, list[str]]:
    decide, itself = ["decide", str(root), *NEEDS], ["compare", str(root), str(root)]
    return {
        "tables": ["tables", str(root)],
        "report": ["report", str(root), "--markdown"],
        "report json": ["report", str(root), "--json"],
        "status": ["status", str(root)],
        "status json": ["status", str(root), "--json"],
        "decide": decide,
        "decide json": [*decide, "--json"],
        "compare": ["compare", str(root), str(run)],
        "compare itself": [*itself, "--fail-on", "slower"],
        "compare json": [*itself, "--json"],
        "sql": ["sql", str(root), "FROM by_strategy"],
        "sql error": ["sql", str(root), f"SELECT \"{word}\" FROM '{word}'"],
        "plan": ["plan", str(root)],
    }


def renamed(root: Path, word: str) -> Path:
    """The run in a folder that is called so. DuckDB opens no folder with both a backslash and a bracket."""
    return root.rename(root.parent / f"x{word.translate({ord('/'): '_', 92: '_'})}")


@pytest.mark.parametrize(("word", "shown"), ACTING)
def test_every_command_shows_a_hostile_run_and_obeys_nothing_in_it(
    word: str, shown: str, run: Path, tmp_path: Path, capsys: Capture
) -> None:
    root = renamed(hostile_copy(run, tmp_path, word, names=False), word)
    said = {}
    for name, words in commands(root, run, word).items():
        cli.main(words)
        found = capsys.readouterr()
        said[name] = found.out + found.err
        check(said[name])
    for name in ("tables", "status", "decide", "compare itself", "sql"):
        assert shown in said[name], name
    assert "no such file" in said["tables"]
    assert "no such file" in said["status"]


@pytest.mark.parametrize(("word", "shown"), ACTING)
def test_a_run_that_is_refused_for_its_names_is_refused_harmlessly(
    word: str, shown: str, run: Path, tmp_path: Path, capsys: Capture
) -> None:
    root = renamed(hostile_copy(run, tmp_path, word, names=True), word)
    for words in commands(root, run, word).values():
        assert cli.main(words) in (1, 2)
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
        assert shown in said.err
        check(said.err)


@pytest.mark.parametrize("kind", WORDS)
def test_a_hostile_plan_is_shown_or_refused_harmlessly(kind: str, tmp_path: Path, capsys: Capture) -> None:
    quoted = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in WORDS[kind])
    for number, text in enumerate(
        (
            SMALL_PLAN.replace('name = "small"', f'name = "small"\ndescription = "{quoted}"'),
            SMALL_PLAN.replace('name = "small"', f'name = "{quoted}"'),
            SMALL_PLAN.replace("multi_lora_2_adapters", quoted),
            SMALL_PLAN.replace('tasks = ["mrpc", "sst2"]', f'tasks = ["{quoted}"]'),
            f'"{quoted}" = 1\n' + SMALL_PLAN,
        )
    ):
        path = tmp_path / f"{number}{WORDS[kind].replace('/', '_')}.toml"
        path.write_text(text)
        cli.main(["plan", str(path)])
        found = capsys.readouterr()
        assert found.out + found.err
        check(found.out + found.err)


ARGUMENT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    | st.sampled_from("\x1b\x9b\u202e\n\r[]/@:?-\udc80\udcff"),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60)
@given(
    st.sampled_from(
        ["status", "tables", "report", "sql", "compare", "decide", "plan", "prepare", "sweep", "--plan", ""]
    ),
    st.lists(ARGUMENT | st.sampled_from(["--json", "--format", "s3://", "s3://a@b", "--model"]), max_size=3),
)
def test_whatever_is_typed_is_repeated_harmlessly(first: str, words: list[str]) -> None:
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr(sweep_command, "check_sweep", refuse)
        for command in (lambda: cli.main([first, *words]), lambda: sweep_command.main(words)):
            command()
    check(said.getvalue())


def refuse(options: SweepOptions) -> None:
    raise InputError(f"{options.plan} {options.model} {options.run_id} {options.results}: no")
