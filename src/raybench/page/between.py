"""The page of two runs compared, part by part in the order in which people read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from raybench.analysis import Tables
from raybench.compare import Changed, RunComparison
from raybench.page.answer import Answer, cautions_of
from raybench.page.change_answer import answer_of_two, by_which, reason_of_change
from raybench.page.changes import (
    change_section,
    change_verdicts,
    changed_rows,
    changed_section,
    configuration_section,
)
from raybench.page.gaps import caution_section
from raybench.page.head import notes_of, words_of
from raybench.page.numbers import VERSION, run_numbers
from raybench.page.parts import Columns, Item, Limits, Page, Section, cut, grid, grids
from raybench.page.repeating import repeat_command, repeat_notes
from raybench.page.values import as_json, moment
from raybench.report import run_argument, shell_command
from raybench.store import redact_uris


def page_of_two(a: Tables, b: Tables, found: RunComparison, changed: list[Changed], limits: Limits) -> Page:
    """All that the page says. ``found``: B against A; ``changed``: in what they differ besides."""
    answer = _answer(a, b, found)
    of_a, of_b = a.description, b.description
    sections = tuple(section for section in _sections(a, b, found, changed, limits) if not section.is_empty)
    model = cut(redact_uris(of_b.model.name), limits.characters)
    return Page(
        title=f"raybench: {of_b.run_id} against {of_a.run_id}",
        subtitle=f"A is {of_a.run_id}, B is {of_b.run_id}: {of_b.plan.name}, {of_b.plan.design} design, {model}",
        sentence=answer.sentence,
        certainty=answer.certainty,
        notes=notes_of(answer, sections),
        words=words_of(answer),
        sections=sections,
        numbers=numbers_of_two(a, b, found, changed, limits),
    )


def numbers_of_two(
    a: Tables, b: Tables, found: RunComparison, changed: list[Changed], limits: Limits | None = None
) -> dict[str, Any]:
    """The numbers as JSON values; with ``limits`` as many rows as the page shows, with how many are left out."""
    by = by_which(found)
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, each in (("deployments", False), ("configurations", True)):
        rows[name] = [
            row.as_json() | {"reason": None if row.judged(by) is None else reason_of_change(row, by, found).code}
            for row in found.rows(each)
        ]
    rows["changed"] = changed_rows(changed)
    rows["left_out"] = [one._asdict() | {"reason": redact_uris(one.reason)} for one in found.left_out]
    most = None if limits is None else limits.rows
    numbers: dict[str, Any] = as_json(
        {
            "version": VERSION,
            "a": run_numbers(a.description),
            "b": run_numbers(b.description),
            "answer": _answer(a, b, found).as_json(),
            "by": by,
            "baseline": found.baseline,
            "margin": found.margin,
            "confidence": 0.95,
            "notes": list(found.notes),
            **{name: of[:most] for name, of in rows.items()},
            "more": {name: len(of) - len(of[:most]) for name, of in rows.items()},
        }
    )
    return numbers


def _answer(a: Tables, b: Tables, found: RunComparison) -> Answer:
    """With the cautions of both."""
    return answer_of_two(found)._replace(cautions=(*cautions_of(a, "A"), *cautions_of(b, "B")))


def _sections(a: Tables, b: Tables, found: RunComparison, changed: list[Changed], limits: Limits) -> Iterator[Section]:
    yield changed_section(changed, limits)
    yield change_section(found, limits)
    yield change_verdicts(found, limits)
    yield configuration_section(found, limits)
    yield _cautions(a, b, found, limits)
    yield _both(a, b)
    yield _again(a, b)


def _cautions(a: Tables, b: Tables, found: RunComparison, limits: Limits) -> Section:
    items = [
        Item("left-out", f"{one.configuration}: {cut(redact_uris(one.reason), 3 * limits.characters)}")
        for one in found.left_out[: limits.rows]
    ]
    for letter, tables in (("A", a), ("B", b)):
        cautions = caution_section(tables, limits, letter).items
        items += [Item(one.tag, f"{letter}, {one.text}", one.lines, key=one.key) for one in cautions]
    lines = list(found.notes)
    if len(found.left_out) > limits.rows:
        lines.append(f"{len(found.left_out) - limits.rows:,} more configurations are left out.")
    if not items and not lines:
        lines.append("Nothing was found that a reader should know.")
    return Section("cautions", "Cautions", tuple(lines), items=tuple(items))


def _both(a: Tables, b: Tables) -> Section:
    facts = [_facts(tables) for tables in (a, b)]
    names = dict.fromkeys(name for of in facts for name in of)
    rows = [{"what": name, "a": facts[0].get(name, "-"), "b": facts[1].get(name, "-")} for name in names]
    columns: Columns = {"what": ("what", str), "a": ("A", str), "b": ("B", str)}
    return Section("runs", "The two runs", grids=grids(grid("What each of them is", rows, columns, None, Limits())))


def _facts(tables: Tables) -> Mapping[str, str]:
    run = tables.description
    (spent,) = tables.rows("FROM run_time")
    devices = tables.rows("SELECT DISTINCT device_name FROM visits ORDER BY device_name")
    return {
        "run": redact_uris(run_argument(tables.root)),
        "created": moment(run.created_at),
        "plan": f"{run.plan.name}, {run.plan.design} design",
        "rounds": f"{run.plan.rounds:,}",
        "requests of a configuration in a round": f"{run.plan.requests:,}",
        "model": redact_uris(run.model.name),
        "devices": f"{spent['devices'] or 0:,}: {', '.join(row['device_name'] for row in devices) or '-'}",
        **{f"version of {name}": version for name, version in sorted(run.environment.driver.versions.items())},
    }


def _again(a: Tables, b: Tables) -> Section:
    """How each run is measured again, and the two are compared again."""
    lines = ["By A's command, by B's, each with its own versions; then the comparison, as a page and as a gate:"]
    lines += repeat_notes(a, b)
    both = [run_argument(a.root), run_argument(b.root)]
    commands = (
        repeat_command(a),
        repeat_command(b),
        shell_command(["raybench", "report", *both]),
        shell_command(["raybench", "compare", *both, "--fail-on", "slower"]),
        *(shell_command(["raybench", "sql", one, "FROM visit_ratios"]) for one in both),
    )
    return Section("again", "How to repeat it", tuple(lines), commands=commands)
