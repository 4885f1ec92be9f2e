"""``raybench decide``: what is asked on the command line, and what is printed."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command_lines import told
from decide.advising import NEEDS, advise
from raybench import cli
from raybench.analysis.tables import Tables
from raybench.decide import command as decide
from raybench.decide.advice import advice_to_dict
from raybench.decide.options import DecideOptions
from raybench.records import InputError


def options(*more: str) -> DecideOptions:
    asked = ["--tasks", "3", "--gpu-memory", "2.2GB", "--slo-p95", "40.2ms", "--requests-per-second", "10"]
    found: DecideOptions = told(["decide", "RUN", *asked, *more])
    return found


@pytest.fixture
def printed(known_tables: Tables, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr("raybench.decide.command.Tables", lambda path: known_tables)
    return lambda *more: decide.run(known_tables.root, options(*more))


def test_the_command_line_states_the_needs(known_tables: Tables) -> None:
    assert decide.needs_of(known_tables.root, options()) == NEEDS
    assert decide.needs_of(
        known_tables.root, options("--switches", "30%", "--gpu-price", "0.8")
    ) == dataclasses.replace(NEEDS, switches=0.3, gpu_price=0.8)


def test_the_advice_comes_first_then_the_ways_what_breaks_the_numbers_and_what_next(
    printed: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed("--gpu-price", "0.9") == 0
    out = capsys.readouterr().out
    order = [
        "Several adapters on one base: 1 GPU for 3 tasks at 10 requests/s within p95 40.2 ms.",
        "cost/10^6 requests",
        "What breaks first: ",
        "Measured numbers that decide:",
        "multi_lora against lora_separate: +10.0 % [+10.0 %, +10.0 %] slower (by_strategy)",
        "Next: raybench tables ",
    ]
    positions = [out.index(text) for text in order]
    assert positions == sorted(positions)
    assert out.startswith(order[0])


def test_json_holds_the_same_and_nothing_that_json_has_not(
    printed: Callable[..., int], known_tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed("--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert found == advice_to_dict(advise(known_tables))
    assert (found["way"], found["gpus"], found["ways"][2]["tasks_per_gpu"]) == ("multi_adapter", 1, None)


def test_what_is_missing_is_printed_with_exit_code_1(
    short_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = Tables(short_run)
    monkeypatch.setattr("raybench.decide.command.Tables", lambda path: tables)
    assert decide.run(tables.root, options()) == 1
    out = capsys.readouterr().out
    assert out.startswith("No advice on 3 tasks")
    assert "adapter_load_ns was not measured" in out
    assert "Next: raybench sweep --plan FILE.toml" in out


def test_bad_input_is_found_before_the_run_is_read(tmp_path: Path) -> None:
    asked = ["--tasks", "3", "--gpu-memory", "24", "--slo-p95", "40ms", "--requests-per-second", "10"]
    with pytest.raises(InputError, match="--gpu-memory") as error:
        decide.run(tmp_path / "nowhere", told(["decide", "RUN", *asked]))
    assert error.value.exit_code == 2


def test_it_needs_neither_ray_nor_torch() -> None:
    code = "import sys, raybench.decide; print(sorted({'ray', 'torch', 'transformers', 'peft'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_damaged_run_is_bad_input(short_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(short_run, tmp_path / "run"))
    with next((run / "samples").iterdir()).open("r+b") as file:
        file.truncate(100)
    needs = ["--tasks", "3", "--gpu-memory", "2.2GB", "--slo-p95", "40.2ms", "--requests-per-second", "10"]
    assert cli.main(["decide", str(run), *needs, "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
