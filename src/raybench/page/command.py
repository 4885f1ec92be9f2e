"""``raybench report``: one page that tells all of a run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from raybench.analysis import Tables, open_input
from raybench.decide import Brief, advise
from raybench.page.answer import answer_of
from raybench.page.build import page_of
from raybench.page.numbers import numbers_of
from raybench.page.parts import Limits, Page
from raybench.records import InputError
from raybench.report import json_text, say, write_text

MOST_BYTES: Final = 500_000
_LIMITS: Final = (Limits(), Limits(rows=40, characters=60), Limits(rows=12, series=4, characters=40))
"""The next where a page is longer than `MOST_BYTES`; the last is taken as it is."""


def run(options: argparse.Namespace) -> int:
    """Write the page, and say where. Exit code: 0.

    Raises InputError where a file is there already, for needs that cannot be, and for what is no run.
    """
    tables = open_input(options.directory, Tables)
    out = _file(options, tables.description.run_id)
    if out is not None and out.exists() and not options.force:
        raise InputError(_there_already(out))
    text = _text(tables, advise(tables, options), options)
    if out is None:
        write_text(text)
        return 0
    _write(out, text, options.force)
    say(f"{out}: the page of {tables.description.run_id}, {len(text.encode()) / 1000:,.0f} kB")
    return 0


def _file(options: argparse.Namespace, run_id: str) -> Path | None:
    """Where the page goes; None: standard output."""
    if options.out is not None or options.markdown or options.json:
        found: Path | None = options.out
        return found
    return Path(f"{run_id}.html")


def _text(tables: Tables, advice: Brief | None, options: argparse.Namespace) -> str:
    if options.json:
        return json_text(numbers_of(tables, answer_of(tables), None if advice is None else advice.numbers))
    from raybench.page.rendering import html_of, markdown_of

    return _fitting(tables, advice, markdown_of if options.markdown else html_of)


def _fitting(tables: Tables, advice: Brief | None, written: Callable[[Page], str]) -> str:
    """As much as fits into `MOST_BYTES`."""
    text = ""
    for limits in _LIMITS:
        text = written(page_of(tables, advice, limits))
        if len(text.encode()) <= MOST_BYTES:
            break
    return text


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
