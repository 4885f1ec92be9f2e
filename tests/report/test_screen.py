"""Tables and lines of foreign text, on the screen."""

from __future__ import annotations

import io
import re

from rich.table import Table

from raybench.report.screen import Screen, print_line


def test_a_screen_shows_strings_as_they_are_in_lines_cells_and_titles() -> None:
    out = io.StringIO()
    screen = Screen(out, width=100, force_terminal=True, color_system="truecolor")
    foreign = "llama[v2] [/x] [bold red]1.5 :smile: \x1b[2J\n"
    table = Table(title=foreign, box=None)
    table.add_column(foreign)
    table.add_row(foreign)
    screen.print(table)
    screen.print(foreign, markup=True, highlight=True, emoji=True)
    print_line(screen, foreign)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())  # rich's own: a title is in italics, a header bold
    assert [line.strip() for line in shown.splitlines()] == ["llama[v2] [/x] [bold red]1.5 :smile: \\x1b[2J\\n"] * 5


def test_a_line_is_not_wrapped() -> None:
    out = io.StringIO()
    print_line(Screen(out, width=20), "raybench tables " + "a " * 40)
    assert len(out.getvalue().splitlines()) == 1
