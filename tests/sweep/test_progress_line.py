"""The line of a run that goes on, on terminals of any width."""

from __future__ import annotations

import io
import re

import pytest
from rich.progress import Progress, TaskID

from raybench.report import Screen
from raybench.sweep.progress_line import ProgressLine

NAMES = ("mrpc_seed42", "lora_merged_mrpc_seed42")


def drawn(width: int, names: tuple[str, ...] = NAMES, *, done: int = 6_000, where: str = "round 3/10") -> str:
    """The line after a minute in which a tenth of 20,000 samples came, with more before them."""
    now = 1000.0
    progress = Progress(get_time=lambda: now, speed_estimate_period=600)
    task = progress.add_task(where, total=20_000, completed=done - 2_000)
    for _ in range(2):
        progress.update(task, advance=1_000)
        now += 60
    now -= 60
    out = io.StringIO()
    screen = Screen(out, width=width, force_terminal=True, color_system="truecolor", _environ={"TERM": "xterm"})
    screen.print(ProgressLine(progress.tasks[TaskID(0)], names))
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (140, f"round 3/10 mrpc_seed42 lora_merged_mrpc_seed42 {'━' * 40}  30 % 6,000 of 20,000 samples, left 0:14:00"),
        (100, f"round 3/10 mrpc_seed42 lora_merged_mrpc_seed… {'━' * 10}  30 % 6,000 of 20,000 samples, left 0:14:00"),
        (92, f"round 3/10 mrpc_seed42 lora_merged_m… {'━' * 10}  30 % 6,000 of 20,000 samples, left 0:14:00"),
        (80, f"round 3/10 mrpc_seed42 {'━' * 13}  30 % 6,000 of 20,000 samples, left 0:14:00"),
        (72, f"round 3/10 mrpc_… {'━' * 10}  30 % 6,000 of 20,000 samples, left 0:14:00"),
        (60, f"round 3/10 {'━' * 5}  30 % 6,000 of 20,000 samples, left 0:14:00"),
        (54, "round 3/10  30 % 6,000 of 20,000 samples, left 0:14:00"),
        (45, " 30 % 6,000 of 20,000 samples, left 0:14:00"),
    ],
)
def test_names_give_way_first_and_counts_and_time_left_stay_whole(width: int, line: str) -> None:
    shown = drawn(width)
    assert shown.replace("╸", "━").replace("╺", "━") == f"{line}\n"


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("names", [("b", "c"), ("b" * 300, "c" * 300), ("\u65e5\u672c" * 30, "c"), ()])
def test_the_line_is_one_line_whatever_names_are_called(width: int, names: tuple[str, ...]) -> None:
    (line,) = drawn(width, names).splitlines()
    assert line.startswith("round 3/10")
    assert line.endswith(" 30 % 6,000 of 20,000 samples, left 0:14:00")
