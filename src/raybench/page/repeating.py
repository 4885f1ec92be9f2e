"""The command that measures a run again, for a stranger on another machine, and what must be put into it there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from raybench.analysis import Tables
from raybench.page.parts import cut
from raybench.report import FILE, order_options, plan_word, shell_command
from raybench.store import redact_uris

_OPTION: Final = "--engine-python"
_PYTHON: Final = "PYTHON"
"""Instead of a path, which is of the machine that measured."""
_SHOWN: Final = 40


def repeat_command(tables: Tables) -> str:
    """The whole command line, without the secrets of URIs."""
    return redact_uris(shell_command(["raybench", "sweep", *repeat_words(tables)]))


def repeat_notes(*runs: Tables) -> list[str]:
    """A line for each thing that the commands of ``runs`` name and that another machine has elsewhere."""
    plans = dict.fromkeys(one.description.plan.name for one in runs if _is_file(one))
    notes = [f"{FILE} is the file of the plan {' or '.join(sorted(plans))}."] if plans else []
    engines = dict.fromkeys(engine for one in runs if _has_python(one) for engine in _engines(one))
    if engines:
        named = " or ".join(cut(engine, _SHOWN) for engine in engines)
        notes.append(f"{_PYTHON} is the Python of an environment that has {named}, such as VENV/bin/python.")
    if any(PurePath(word.partition("=")[2] or word).is_absolute() for one in runs for word in repeat_words(one)):
        notes.append("Paths are those of the machine that began the run: put where yours are.")
    return notes


def repeat_words(tables: Tables) -> list[str]:
    """The options of a sweep that measures the same again."""
    run, plan = tables.description, tables.description.plan
    words = [] if run.model.kind == "served" else ["--model", run.model.location or run.model.name]
    if run.written_from:
        words += _anywhere(run.written_from)
    else:
        words += ["--plan", plan_word(plan)]
        words += [_OPTION, _PYTHON] if _has_python(tables) else []
    if plan.until_halfwidth is None:
        words += ["--rounds", str(plan.rounds)]
    else:
        words += ["--until-halfwidth", str(plan.until_halfwidth), "--max-rounds", str(plan.rounds)]
    words += ["--requests", str(plan.requests)]
    return words + order_options(plan)


def _is_file(tables: Tables) -> bool:
    return not tables.description.written_from and plan_word(tables.description.plan) == FILE


def _engines(tables: Tables) -> list[str]:
    """Those that raybench started."""
    return [str(table["preset"]) for table in tables.description.plan.servers if table.get("preset") is not None]


def _has_python(tables: Tables) -> bool:
    """Whether the command says which Python has the engine: where it did, or no file of the plan's does."""
    run = tables.description
    if run.written_from:
        return _OPTION in run.written_from
    return bool(_engines(tables)) and (run.environment.engine_python is not None or not _is_file(tables))


def _anywhere(words: Sequence[str]) -> list[str]:
    """``words`` without the path of a Python."""
    before = ("", *words)
    return [_PYTHON if last == _OPTION else word for last, word in zip(before, words, strict=False)]
