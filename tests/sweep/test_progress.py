"""What a person sees of a run that goes on: lines in a log, a bar on a terminal."""

from __future__ import annotations

import io
from typing import cast

import pyarrow as pa
import pytest

from raybench.analysis import RunningRatios, RunningRow
from raybench.records import RaybenchError
from raybench.report import Screen
from raybench.schemas import SAMPLES
from raybench.sweep.live_table import LiveTable
from raybench.sweep.progress import RunProgress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def plain(log: io.StringIO) -> Screen:
    return Screen(file=log, width=60, force_terminal=False)


def test_a_log_gets_a_line_every_ten_seconds_with_where_it_is_and_what_is_left(
    plain: Screen, log: io.StringIO, clock: Clock
) -> None:
    with RunProgress(plain, total=15_500, rounds=10, clock=clock) as progress:
        clock.now += 5
        progress.samples(100, "mrpc_seed42", 0, "lora_mrpc_seed42")
        assert log.getvalue() == ""
        clock.now += 5
        progress.samples(150, "sst2_seed42", 0, "lora_sst2_seed42")
        # 150 in the five seconds after the first were there.
        assert log.getvalue() == "[00:10] round 1/10 sst2_seed42: 250 of 15,500 samples, about 8 min 28 s left\n"
        clock.now += 9.9
        progress.samples(1, "sst2_seed42", 0, "lora_sst2_seed42")
        clock.now += 60.1
        progress.samples(2_749, "rte_seed42", 9, "lora_rte_seed42")
    assert log.getvalue().splitlines()[1:] == [
        "[01:20] round 10/10 rte_seed42: 3,000 of 15,500 samples, about 5 min 23 s left"
    ]


def test_what_takes_long_before_the_first_samples_is_not_expected_again(
    plain: Screen, log: io.StringIO, clock: Clock
) -> None:
    with RunProgress(plain, total=1_000, rounds=2, clock=clock) as progress:
        clock.now += 120
        progress.samples(100, "b", 0, "c")
        clock.now += 10
        progress.samples(300, "b", 0, "c")
    assert log.getvalue().splitlines() == [
        "[02:00] round 1/2 b: 100 of 1,000 samples, end unknown",
        "[02:10] round 1/2 b: 400 of 1,000 samples, about 20 s left",
    ]


def test_what_was_done_before_a_resume_counts_as_done_but_not_as_fast(
    plain: Screen, log: io.StringIO, clock: Clock
) -> None:
    with RunProgress(plain, total=1_000, rounds=2, done=800, clock=clock) as progress:
        clock.now += 10
        progress.samples(0, "b", 1, "c")
        clock.now += 5
        progress.samples(50, "b", 1, "c")
        clock.now += 5
        progress.samples(50, "b", 1, "c")
    assert log.getvalue().splitlines() == [
        "[00:10] round 2/2 b: 800 of 1,000 samples, end unknown",
        "[00:20] round 2/2 b: 900 of 1,000 samples, about 10 s left",
    ]


def test_a_note_is_one_plain_line_whatever_it_says(plain: Screen, log: io.StringIO, clock: Clock) -> None:
    progress = RunProgress(plain, total=10, rounds=1, clock=clock)
    clock.now += 3_661
    text = "lora_x failed in b/r00 (gate): logits [0.1, 0.2] instead of [bold]0.3[/bold] " + "and so on " * 20
    progress.note(text)
    assert log.getvalue() == f"[61:01] {text.rstrip()}\n"


def test_a_log_has_no_control_sequences(plain: Screen, log: io.StringIO, clock: Clock) -> None:
    with RunProgress(plain, total=10, rounds=1, clock=clock) as progress:
        clock.now += 20
        progress.samples(5, "b", 0, "c")
        progress.note("12 of 'x' at /a/b")
    assert "\x1b" not in log.getvalue()
    assert "\r" not in log.getvalue()


@pytest.fixture
def terminal(log: io.StringIO) -> Screen:
    return Screen(file=log, width=140, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})


def test_a_terminal_gets_a_bar_with_the_configuration_the_round_and_the_samples(
    terminal: Screen, log: io.StringIO, clock: Clock
) -> None:
    with RunProgress(terminal, total=15_500, rounds=10, done=500, clock=clock) as progress:
        assert [task.completed for task in progress._bar.tasks] == [500]
        progress.samples(1_500, "mrpc_seed42", 2, "lora_merged_mrpc_seed42")
        assert progress._live is not None
        progress._live.refresh()
        shown = log.getvalue().splitlines()[-1]
    assert "round 3/10 mrpc_seed42 lora_merged_mrpc_seed42" in shown
    assert "2,000 of 15,500 samples, left" in shown
    assert "13 %" in shown
    assert "━" in shown


def test_a_terminals_bar_counts_and_lines_come_above_it(terminal: Screen, log: io.StringIO, clock: Clock) -> None:
    with RunProgress(terminal, total=100, rounds=1, clock=clock) as progress:
        clock.now += 65
        progress.samples(40, "b", 0, "c")
        progress.samples(20, "b", 0, "c")
        assert [task.completed for task in progress._bar.tasks] == [60]
        assert "samples, about" not in log.getvalue()
        progress.note("c failed")
    lines = log.getvalue().splitlines()
    assert any(line.endswith("[01:05] c failed") for line in lines)


def test_a_terminal_that_does_not_move_its_cursor_gets_lines(log: io.StringIO, clock: Clock) -> None:
    dumb = Screen(file=log, width=140, force_terminal=True, _environ={"TERM": "dumb"})
    with RunProgress(dumb, total=10, rounds=1, clock=clock) as progress:
        clock.now += 10
        progress.samples(5, "b", 0, "c")
    assert log.getvalue() == "[00:10] round 1/1 b: 5 of 10 samples, end unknown\n"


def test_the_bar_is_taken_away_at_the_end_even_after_an_error(terminal: Screen, log: io.StringIO) -> None:
    progress = RunProgress(terminal, total=10, rounds=1)
    live = progress._live
    assert live is not None

    def fail() -> None:
        with progress:
            assert live.is_started
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not live.is_started
    assert "\x1b[?25h" in log.getvalue()  # the cursor is back


class Broken:
    """What cannot be looked at."""

    references: tuple[str, ...] = ()

    def take(self, samples: pa.Table, device: str) -> None:
        pass

    def rows(self) -> list[RunningRow]:
        raise RaybenchError("SQL: no luck")


def test_ratios_that_cannot_be_worked_out_are_said_once_and_the_run_goes_on(
    terminal: Screen, log: io.StringIO, clock: Clock
) -> None:
    table = LiveTable(cast(RunningRatios, Broken()), clock)
    with RunProgress(terminal, total=10, rounds=1, clock=clock, table=table) as progress:
        progress.beat()
        clock.now += 60
        progress.visit(SAMPLES.empty_table(), "cpu")
        progress.beat()
    said = "Ratios are not shown while the run goes on, which loses nothing: SQL: no luck"
    assert log.getvalue().count(said) == 1


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "round 3/10 mrpc_seed42 ━╸             13 % 2,000 of 15,500 samples, left -:--:--"),
        (60, "round 3/10 ╸      13 % 2,000 of 15,500 samples, left -:--:--"),
    ],
)
def test_on_a_narrow_terminal_names_give_way_first(log: io.StringIO, clock: Clock, width: int, line: str) -> None:
    narrow = Screen(file=log, width=width, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    with RunProgress(narrow, total=15_500, rounds=10, done=500, clock=clock) as progress:
        progress.samples(1_500, "mrpc_seed42", 2, "lora_merged_mrpc_seed42")
        assert progress._live is not None
        progress._live.refresh()
        assert log.getvalue().splitlines()[-1].endswith(line)
