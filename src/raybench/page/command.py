"""``raybench report``: one page that tells all of a run, or of two runs compared."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from raybench.analysis import Tables, open_input
from raybench.decide import advise, stated
from raybench.page.answer import answer_of
from raybench.page.asked_once import AskedOnce
from raybench.page.build import page_of
from raybench.page.fitting import fitting
from raybench.page.numbers import numbers_of
from raybench.page.options import ReportOptions
from raybench.page.parts import Limits, Page
from raybench.records import InputError
from raybench.report import json_text, say, write_text
from raybench.store import Location


class _Subject(NamedTuple):
    """What a page is of: how its file is called, its parts within limits, its numbers as JSON values."""

    name: str
    page: Callable[[Limits], Page]
    numbers: Callable[[], dict[str, Any]]


def run(a: Location, b: Location | None, options: ReportOptions) -> int:
    """Write the page of ``a``, or of ``b`` compared with it, and say where. Exit code: 0.

    Raises InputError where a file is there already, for needs that cannot be, and for what is no run.
    """
    subject = _of_one(a, options) if b is None else _of_two(a, b, options)
    out = _file(options, subject.name)
    if out is not None and out.exists() and not options.force:
        raise InputError(_there_already(out))
    text = _text(subject, options)
    if out is None:
        write_text(text)
        return 0
    _write(out, text, options.force)
    say(f"{out}: the page of {subject.name}, {len(text.encode()) / 1000:,.0f} kB")
    return 0


def _of_one(run: Location, options: ReportOptions) -> _Subject:
    if options.devices_alike:
        raise InputError("--devices-alike: goes with two runs, which are compared")
    tables = AskedOnce(open_input(run, Tables))
    advice = advise(tables, run, options)
    return _Subject(
        tables.description.run_id,
        lambda limits: page_of(tables, advice, limits),
        lambda: numbers_of(tables, answer_of(tables), None if advice is None else advice.numbers),
    )


def _of_two(before: Location, after: Location, options: ReportOptions) -> _Subject:
    if needs := stated(options):
        raise InputError(f"{', '.join(needs)}: goes with one run; a comparison has no advice")
    from raybench.compare import changed, compare
    from raybench.page.between import numbers_of_two, page_of_two

    a, b = (AskedOnce(open_input(run, Tables)) for run in (before, after))
    found = compare(a, b, devices_alike=options.devices_alike)
    differ = changed(a, b)
    return _Subject(
        f"{b.description.run_id}-against-{a.description.run_id}",
        lambda limits: page_of_two(a, b, found, differ, limits),
        lambda: numbers_of_two(a, b, found, differ),
    )


def _file(options: ReportOptions, name: str) -> Path | None:
    """Where the page goes; None: standard output."""
    if options.out is not None or options.markdown or options.json:
        return options.out
    return Path(f"{name}.html")


def _text(subject: _Subject, options: ReportOptions) -> str:
    if options.json:
        return json_text(subject.numbers())
    from raybench.page.rendering import html_of, markdown_of

    return fitting(subject.page, markdown_of if options.markdown else html_of)


def _write(path: Path, text: str, force: bool) -> None:
    """Whole or not at all; raises InputError where something came to be there meanwhile and is not to go."""
    made = path.with_name(f".{path.name}.{os.getpid()}") if force else path
    try:
        file = made.open("x", encoding="utf-8", newline="\n")
    except FileExistsError:
        raise InputError(_there_already(made)) from None
    try:
        with file:
            file.write(text)
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def _there_already(path: Path) -> str:
    return f"{path}: is there already; --force writes over it, --out FILE another"
