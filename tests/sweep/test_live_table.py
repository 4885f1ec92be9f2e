"""The table that a terminal shows while a sweep runs."""

from __future__ import annotations

import io
import itertools
import sys
from pathlib import Path
from typing import cast

import pyarrow as pa

from raybench.analysis import Estimate, RunningRatios, RunningRow
from raybench.report import Screen
from raybench.schemas import SAMPLES
from raybench.sweep.live_table import EVERY_S, SHARE, LiveTable
from small_plans import small_plan
from terminals import at_terminal


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ratios:
    """Of a run whose rows are known; a look takes so much processor time."""

    references = ("full_ft", "lora_separate")

    def __init__(self, rows: list[RunningRow], cpu: Clock, costs_s: float = 0.0) -> None:
        self._rows, self._cpu, self._costs_s = rows, cpu, costs_s
        self.looks = 0

    def take(self, samples: pa.Table, device: str) -> None:
        pass

    def rows(self) -> list[RunningRow]:
        self.looks += 1
        self._cpu.now += self._costs_s
        return self._rows


def table_of(ratios: Ratios, clock: Clock, cpu: Clock) -> LiveTable:
    return LiveTable(cast(RunningRatios, ratios), clock, cpu)


def row(deployment: str, role: str, n: int, **against: Estimate) -> RunningRow:
    return RunningRow(deployment, role, n, against)


ROWS = [
    row("Full FT", "full_ft", 1_200),
    row("LoRA Separate", "lora_separate", 1_200, full_ft=Estimate(0.2, 0.01, 9, 10)),
    row("Multi-adapter (2)", "multi_lora", 600, lora_separate=Estimate(0.05, 0.01, 0, 1, unknown="one visit")),
]


def drawn(table: LiveTable, width: int = 120, height: int = 40) -> str:
    out = io.StringIO()
    Screen(out, width=width).print(table.table(width, height))
    return out.getvalue()


def test_it_has_numbers_and_ratios_with_their_intervals_and_says_that_it_is_provisional() -> None:
    clock, cpu = Clock(), Clock()
    table = table_of(Ratios(ROWS, cpu), clock, cpu)
    assert table.table(120, 40) is None
    table.beat()
    lines = drawn(table).splitlines()
    assert lines[0].startswith("So far, provisional: judged when the run ends")
    cells = {line.split("  ")[1].strip(): line.split() for line in lines if line.startswith("  ")}
    assert cells["Deployment"] == ["Deployment", "n", "vs", "Full", "FT", "vs", "LoRA", "Separate"]
    assert " ".join(cells["LoRA Separate"]) == "LoRA Separate 1,200 +22.1 % [+19.4 %, +24.9 %] baseline"
    assert " ".join(cells["Full FT"]) == "Full FT 1,200 baseline -"
    assert " ".join(cells["Multi-adapter (2)"]) == "Multi-adapter (2) 600 - +5.1 % [no interval: one visit]"


def test_a_narrow_or_low_terminal_gets_less_of_it() -> None:
    clock, cpu = Clock(), Clock()
    many = [row(f"Deployment {number}", "lora_separate", 5) for number in range(100)]
    table = table_of(Ratios(many, cpu), clock, cpu)
    table.beat()
    narrow = drawn(table, 60, 24)
    assert "vs full_ft" in narrow
    assert "vs LoRA" not in narrow
    assert narrow.count("\n  Deployment ") == 1 + 14  # the header, and rows
    assert "and 86 more" in narrow


def test_it_looks_when_there_is_something_new_and_never_for_more_than_its_share() -> None:
    clock, cpu = Clock(), Clock()
    ratios = Ratios(ROWS, cpu, costs_s=0.02)
    table = table_of(ratios, clock, cpu)
    looks, began = [], clock.now
    for _ in range(10_000):
        clock.now += 0.1
        table.visit(SAMPLES.empty_table(), "cpu")
        before = ratios.looks
        table.beat()
        looks += [clock.now] * (ratios.looks - before)
    assert min(later - earlier for earlier, later in itertools.pairwise(looks)) > EVERY_S - 1e-6
    assert table.took_s <= SHARE * (clock.now - began) * 1.01
    ratios._costs_s = 3.0
    clock.now += EVERY_S
    table.visit(SAMPLES.empty_table(), "cpu")
    table.beat()
    expensive = ratios.looks
    for _ in range(299):
        clock.now += 1
        table.visit(SAMPLES.empty_table(), "cpu")
        table.beat()
    assert ratios.looks == expensive
    clock.now += 1.5
    table.beat()
    assert ratios.looks == expensive + 1
    clock.now += 10_000
    table.beat()
    assert ratios.looks == expensive + 1  # nothing was new


def test_a_sweep_shows_it_on_a_terminal_and_takes_it_away_again(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(small_plan(rounds=8, requests=20))
    command = [sys.executable, "-m", "raybench.sweep", "--plan", "small.toml", "--results", "runs", "--model", "micro"]
    with at_terminal(command, tmp_path, {}, columns=150) as terminal:
        terminal.until("So far, provisional: judged when the run ends")
        assert "vs Full FT" in terminal.until("So far, provisional", "LoRA Separate")
        assert terminal.end() == 0
        after = terminal.shown.rpartition("So far, provisional")[2]
    assert "7 of 7 configurations complete." in after
    assert "\x1b[?25h" in after
