"""Reading a plan: TOML, checked strictly, every problem named with its file, its key and the remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from raybench.plan.builder import Overrides, PlanBuilder
from raybench.plan.choices import did_you_mean, nearest, one_of
from raybench.plan.plan import Plan
from raybench.plan.schema import AS, TABLES, Lognormal, PlanTable, WorkloadTable
from raybench.plan.source import PlanSource, read_plan
from raybench.records import InputError, SeveralProblemsError, StrategyTraits

_LONG_KEY = re.compile(r"""(?:\.\s*["']?[\w-]{1,40}["']?\s*){100}""")


def load_plan(
    source: str,
    strategies: Mapping[str, StrategyTraits],
    tasks: Iterable[str],
    overrides: Overrides | None = None,
) -> tuple[Plan, WorkloadTable | None]:
    """Read a shipped plan by name or any plan by path, as `parse_plan` does."""
    return parse_plan(read_plan(source), strategies, tasks, overrides)


def parse_plan(
    source: PlanSource,
    strategies: Mapping[str, StrategyTraits],
    tasks: Iterable[str],
    overrides: Overrides | None = None,
) -> tuple[Plan, WorkloadTable | None]:
    """The plan that a text says.

    ``strategies`` and ``tasks`` are what can be run; a plan with a workload file brings tasks of its own.
    Raises InputError with the file, the key, what was expected and the nearest valid spelling.
    """
    where, text = source.where, source.text
    if _LONG_KEY.search(text):  # to read one takes tomllib time with the square of its length
        raise InputError(f"{where}: a key of more than 100 parts; see the shipped plan smoke.toml for the form")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 100,000 digits is a ValueError
        raise InputError(f"{where}: not valid TOML: {error}; see the shipped plan smoke.toml for the form") from None
    try:
        parsed = PlanTable.model_validate(document)
    except pydantic.ValidationError as error:
        raise SeveralProblemsError(_explain(where, error)) from None
    return PlanBuilder(where, parsed, strategies, tuple(tasks), source.base).build(overrides or Overrides())


def _explain(where: str, error: pydantic.ValidationError) -> list[str]:
    """Each problem in one line: pydantic's own report is long and speaks of types."""
    problems = error.errors(include_url=False)
    misspelt = {(*p["loc"][:-1], _meant(p)) for p in problems if p["type"] == "extra_forbidden"}
    lines: dict[str, str] = {}
    for problem in problems:
        if problem["type"] == "missing" and problem["loc"] in misspelt:
            continue  # a misspelt key is also a missing one: the former names the spelling
        location = _location(problem["loc"])
        lines.setdefault(location, f"{where}: {location}: {_message(problem)}")
    return list(lines.values())


def _location(parts: tuple[int | str, ...]) -> str:
    in_file = [part for part in parts if part not in AS.values()]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in in_file).lstrip(".")


def _message(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        key, fields = str(problem["loc"][-1]), _fields(problem)
        return f"unknown key {key!r}; expected {one_of(fields)}" + did_you_mean(key, fields)
    said = problem["msg"].removeprefix("Value error, ")
    message = f"{said[0].lower()}{said[1:]}"
    if problem["type"] not in ("missing", "value_error"):
        message += f", got {str(problem['input'])[:60]!r}"
    if isinstance(problem["input"], str) and problem["type"] == "literal_error":
        message += did_you_mean(problem["input"], re.findall(r"'([^']+)'", problem["msg"]))
    return message


def _fields(problem: Any) -> Iterable[str]:
    """The keys that the table of a problem may have."""
    loc = problem["loc"]
    if AS[dict] in loc:
        return Lognormal.model_fields
    return (TABLES.get(str(loc[0]), PlanTable) if len(loc) > 1 else PlanTable).model_fields


def _meant(problem: Any) -> str | None:
    return nearest(str(problem["loc"][-1]), _fields(problem))
