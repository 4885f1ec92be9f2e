"""Commands that a page tells people to type: which are run in the tests' process, and how each can be checked unrun.

`CLASSES` has every program; one that is in none of them fails the test.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from cyclopts import CycloptsError

from command_lines import bound, told_sweep
from docs.pages import REPOSITORY, Command
from raybench.plan.source import shipped_plans

RUN: Final = frozenset({"init", "plan", "runs", "status", "tables", "report", "sql", "compare", "decide", "completion"})
"""Commands of raybench that are run as they stand, on small models and runs, in the tests' process."""

NOT_CHECKED: Final = {
    ".": "of the shell",
    "export": "of the shell",
    "umask": "of the shell",
}
"""Programs about which nothing can be told without running them."""


def is_run(command: Command) -> bool:
    """Whether it can be typed here as it stands: a command of `RUN` that needs no network and no other package."""
    elsewhere = ("s3://", "gs://", "docs/example_strategy")
    return (
        command.words[0] == "raybench"
        and command.words[1] in RUN
        and not any(word.startswith(elsewhere) for word in command.words)
    )


def problem(command: Command, written: Sequence[str] = ()) -> str | None:
    """What is wrong with a command, without running it; None: nothing. ``written``: files that a page had written."""
    program, *words = (word.replace("://BUCKET/", "://a-bucket/") for word in command.words)
    if program in NOT_CHECKED:
        return None
    for pattern, check in CLASSES.items():
        if re.fullmatch(pattern, program):
            return check(program, words, written)
    return f"{program}: in no class of tests/docs/classes.py"


def _raybench(_: str, words: list[str], written: Sequence[str]) -> str | None:
    try:
        command, told = bound(words)
    except CycloptsError as error:
        return f"not a command line of raybench: {error}"
    plan = told["name"] if command == "plan_command" else getattr(told.get("options"), "plan", None)
    return _plan_is_there(plan, written)


def _python(program: str, words: list[str], written: Sequence[str]) -> str | None:
    """``python -m raybench.sweep``, a file of the repository with its options, or a module that is known."""
    if words[:2] == ["-m", "raybench.sweep"]:
        try:
            options = told_sweep(words[2:])
        except CycloptsError as error:
            return f"not a command line of a sweep: {error}"
        return _plan_is_there(options.plan, written)
    if words[:2] == ["-m", "venv"]:
        return None
    if words[:2] == ["-m", "pytest"]:
        return next((f"{w}: not there" for w in words[2:] if "/" in w and not (REPOSITORY / w).exists()), None)
    file = REPOSITORY / words[0]
    if not file.is_file():
        return f"{words[0]}: not there"
    taken = _options_of(file)
    return next((f"{w}: no option of {words[0]}" for w in words[1:] if _option(w) and _option(w) not in taken), None)


def _options_of(file: Path) -> set[str]:
    """The texts in a Python file that look as options do."""
    return {
        node.value
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("--")
    }


def _option(word: str) -> str | None:
    """The option of a word as ``--x``, ``[--x`` or ``--x=3``."""
    found = re.match(r"\[?(--[a-z0-9-]+)", word)
    return found[1] if found else None


def _make(_: str, words: list[str], __: Sequence[str]) -> str | None:
    targets = [word for word in words if "=" not in word]
    text = (REPOSITORY / "Makefile").read_text("utf-8")
    return next((f"make {t}: no target" for t in targets if not re.search(rf"^{re.escape(t)}:", text, re.M)), None)


def _pip(_: str, words: list[str], __: Sequence[str]) -> str | None:
    """Files that it is to read are there; extras that it names are raybench's."""
    if words[0] != "install":
        return f"pip {words[0]}: in no class of tests/docs/classes.py"
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for word in words[1:]:
        if (named := re.fullmatch(r"raybench\[(\w+)\]", word)) and named[1] not in extras:
            return f"{word}: no such extra"
        if ("/" in word or word.endswith(".txt")) and not (REPOSITORY / word).exists():
            return f"{word}: not there"
    return None


def _job(program: str, words: list[str], written: Sequence[str]) -> str | None:
    """A script of jobs/: it is there and runs, and what follows the results are options of a sweep, or of tables."""
    script = REPOSITORY / program
    if not os.access(script, os.X_OK):
        return f"{program}: not there, or not to be run"
    if subprocess.run(["bash", "-n", str(script)], check=False).returncode:
        return f"{program}: no shell script"
    if program == "jobs/resume.sh":
        name, *words = words
        return _job(f"jobs/{name}.sh", [*words, "--resume"], written)
    if program == "jobs/tables.sh":
        return _raybench("raybench", ["tables", *words], written)
    return _python("python", ["-m", "raybench.sweep", "--results", *words], written)


def _ray(_: str, words: list[str], written: Sequence[str]) -> str | None:
    """Ray's own command line takes its options; what a job runs is a command of these pages, too."""
    import click
    from ray.scripts.scripts import cli as ray

    command: Any = ray
    context = click.Context(ray)
    own, job = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    try:
        while isinstance(command, click.Group):
            name, command, own = command.resolve_command(context, own)
        files = [word for word in own if word.endswith(".yaml")]
        command.make_context(name, [*own, *(["--", *job] if job else [])], resilient_parsing=False)
    except click.ClickException as error:
        return error.format_message()
    if missing := [word for word in files if not (REPOSITORY / word).exists()]:
        return f"{missing[0]}: not there"
    return problem(Command("", 0, tuple(job)), written) if job else None


def _plan_is_there(plan: str | None, written: Sequence[str]) -> str | None:
    if plan is None or plan in shipped_plans() or plan in written or (REPOSITORY / plan).is_file():
        return None
    return f"{plan}: no shipped plan, and no file that the page has written"


CLASSES: Final[dict[str, Callable[[str, list[str], Sequence[str]], str | None]]] = {
    r"raybench": _raybench,
    r"(\.venv/bin/)?python3?": _python,
    r"make": _make,
    r"(\S+/bin/)?pip": _pip,
    r"jobs/\w+\.sh": _job,
    r"ray": _ray,
}
"""Patterns of programs, and what checks them."""
