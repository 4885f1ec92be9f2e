"""A run's page, part by part in the order in which people read it."""

from __future__ import annotations

from collections.abc import Iterator

from raybench.analysis import Tables, shipped_sql
from raybench.decide import Brief
from raybench.page.answer import answer_of
from raybench.page.costs import attribution_section, cost_section
from raybench.page.gaps import caution_section, gap_section
from raybench.page.generation import generation_section
from raybench.page.head import notes_of, words_of
from raybench.page.latencies import by_length, distribution, percentile_grids
from raybench.page.loads import load_section
from raybench.page.numbers import numbers_of
from raybench.page.over_time import time_section
from raybench.page.parts import Limits, Page, Plot, Section, cut
from raybench.page.provenance import provenance_section, repeat_section
from raybench.page.study import forest_of, study_section
from raybench.page.verdicts import verdict_section
from raybench.store import redact_uris


def page_of(tables: Tables, advice: Brief | None, limits: Limits) -> Page:
    """All that the page says. ``advice``: where needs were given."""
    run, answer = tables.description, answer_of(tables)
    numbers = numbers_of(tables, answer, None if advice is None else advice.numbers, limits)
    sections = tuple(section for section in _sections(tables, advice, limits) if not section.is_empty)
    return Page(
        title=f"raybench: {run.run_id}",
        subtitle=f"{run.plan.name}, {run.plan.design} design, {cut(redact_uris(run.model.name), limits.characters)}",
        sentence=answer.sentence,
        certainty=answer.certainty,
        notes=notes_of(answer, sections),
        words=words_of(answer),
        sections=sections,
        numbers=numbers,
    )


def _sections(tables: Tables, advice: Brief | None, limits: Limits) -> Iterator[Section]:
    absent = []
    if advice is not None:
        lines = (advice.sentence, *advice.lines, "What to type next:")
        yield Section("advice", "The advice", lines, commands=(advice.next_command,))
    yield study_section(tables, limits)
    forest = forest_of(tables, "end_to_end", limits)
    yield Section("overheads", "Overheads", plots=() if forest is None else (forest,))
    quantiles = tables.rows(shipped_sql("page_quantiles"))
    lengths, no_lengths = by_length(tables, limits)
    plots: tuple[Plot | None, ...] = (distribution(quantiles, "end_to_end", limits), lengths)
    yield Section(
        "latencies",
        "Latencies",
        plots=tuple(plot for plot in plots if plot is not None),
        grids=percentile_grids(tables, limits),
    )
    yield time_section(tables, limits)
    for section, why in (
        (generation_section(tables, quantiles, limits), "First token and those after it: a classifier has none"),
        (load_section(tables, limits), "Latency against load: no server was asked under one"),
        (attribution_section(tables, limits), "Why it is slower: nothing was counted that would tell"),
    ):
        yield section
        if section.is_empty:
            absent.append(f"{why if quantiles else why.partition(':')[0] + ': nothing was timed'}.")
    if no_lengths is not None:
        absent.append(no_lengths)
    yield cost_section(tables, limits)
    yield verdict_section(tables, limits)
    yield caution_section(tables, limits)
    yield gap_section(tables, absent, limits)
    yield provenance_section(tables, limits)
    yield repeat_section(tables)
