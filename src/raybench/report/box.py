"""DuckDB's box of an answer on a terminal narrower than 80 columns, which DuckDB itself takes for one of 80."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from rich.cells import cell_len

_COLUMNS: Final = re.compile(r" +([\d,]+) columns?(?: \(\d+ shown\))? *$")
"""What the last line says of them, where DuckDB left some out."""
_LEFT_OUT: Final = "…"
_OF_LEFT_OUT: Final = 4
"""What such a column takes: ``" … │"``."""
_INSIDE: Final = {"┐": "┬", "┤": "┼", "┘": "┴"}
"""Of a border's last character what stands between two columns."""


def narrowed(lines: Sequence[str], width: int) -> list[str]:
    """``lines`` in ``width``, columns left out in the middle as DuckDB leaves them out, and said in the last line.

    The first column stays, however wide. What is no box, or is narrow enough, is as it was.
    """
    if not lines or not lines[0].startswith("┌") or cell_len(lines[0]) <= width:
        return list(lines)
    edges = [place for place, character in enumerate(lines[0]) if character in "┌┬┐"]
    spans = list(pairwise(edges))
    header = _cells(lines[1], spans)
    kept = _kept([len(cell) for cell in header], [cell.strip(" │") == _LEFT_OUT for cell in header], width)
    if len(kept) == len(spans):
        return list(lines)
    # Those that DuckDB left out, too.
    told = _COLUMNS.search(lines[-1])
    columns = int(told[1].replace(",", "")) if told else len(spans)
    shown = f"{columns:,} columns ({len(kept)} shown)"
    made = [_line(line, spans, kept) for line in lines if line[:1] in "┌│├└"]
    below = [line for line in lines if line[:1] not in "┌│├└"]
    if told:
        below[-1] = below[-1][: told.start()]
    return [*made, *(line.rstrip() for line in below if line.strip()), f"  {shown}"]


def _kept(widths: Sequence[int], left_out: Sequence[bool], width: int) -> list[int]:
    """Which columns stay, from both ends towards the middle; ``widths``: each with the border at its right."""
    real = [place for place, is_left_out in enumerate(left_out) if not is_left_out]
    order = [place for pair in zip(real, reversed(real), strict=True) for place in pair]
    kept, room = [order[0]], width - 1 - _OF_LEFT_OUT - widths[order[0]]
    for place in dict.fromkeys(order[1:]):
        if place in kept:
            continue
        if widths[place] > room:
            break
        kept.append(place)
        room -= widths[place]
    return sorted(kept)


def _line(line: str, spans: Sequence[tuple[int, int]], kept: Sequence[int]) -> str:
    """A line of the box with the columns that are kept, and one for the others where the first gap is."""
    cells = _cells(line, spans)
    filler = f" {_LEFT_OUT} " if line[0] == "│" else "───"
    border = _INSIDE.get(line[-1], line[-1])
    found, gap = line[0], False
    for place, cell in enumerate(cells):
        if place in kept:
            found += cell
        elif not gap:
            found, gap = f"{found}{filler}{border}", True
    return found[:-1] + line[-1]


def _cells(line: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Each column's part of a line, with the border at its right, by the places that a terminal shows it at."""
    ends = [end for _, end in spans]
    found, part, place = [], "", 0
    for character in line[1:]:
        part += character
        place += cell_len(character)
        if ends and place >= ends[0]:
            found.append(part)
            part = ""
            ends.pop(0)
    return found
