"""Cautions of what befell the machines, with the visits that it touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loaded_runs import FULL, HEAD, at, load_loaded, loaded
from raybench.analysis.diagnostics import Caution
from raybench.analysis.machines import machine_cautions
from raybench.analysis.tables import Tables

COLUMNS = (
    *("measured_s", "steal_share", "steal_ns", "others_share", "throttled_share", "swapped_mb", "processor_ns"),
    *("gpu_clock_least_mhz", "gpu_clock_most_mhz", "gpu_throttled_by", "gpu_processes", "environment", "findings"),
)


def row(number: int, **seen: Any) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {"visit": f"b/r0{number}", "device": "d", "processor_ns": 10**9} | seen


def cautions(*rows: dict[str, Any]) -> list[Caution]:
    found = machine_cautions(rows)
    assert {name for name, _ in found} <= {None}
    return [caution for _, caution in found]


def test_a_run_in_which_nothing_was_read_or_nothing_happened_has_none() -> None:
    sound = {"steal_share": 0.01, "steal_ns": 10**8, "others_share": 0.25, "throttled_share": 0.001, "swapped_mb": 0.0}
    gpu = {"gpu_clock_least_mhz": 1900, "gpu_clock_most_mhz": 1980, "gpu_throttled_by": "", "gpu_processes": 1}
    assert cautions() == cautions(row(0)) == cautions(row(0, **sound), row(1, **gpu)) == []


@pytest.mark.parametrize(
    ("seen", "code", "message"),
    [
        (
            {"steal_share": 0.042, "steal_ns": 10**8},
            "stolen_time",
            "a hypervisor took up to 4.2 % of the machine's processor time",
        ),
        ({"others_share": 0.8}, "busy_machine", "others computed on up to 80 % of the machine's processor time"),
        (
            {"throttled_share": 0.25},
            "cpu_quota",
            "its control group stood still for want of quota, up to 25.0 % of the time measured",
        ),
        ({"swapped_mb": 0.004}, "swapping", "up to 0.0 MB were swapped in and out"),
        ({"gpu_throttled_by": "power cap, heat"}, "gpu_throttled", "the GPU's clock was held down by power cap, heat"),
        (
            {"gpu_clock_least_mhz": 1200, "gpu_clock_most_mhz": 1300},
            "gpu_clocks",
            "the GPU's clock fell to 1,200 MHz, of 1,980 at its highest",
        ),
        ({"gpu_processes": 3}, "gpu_shared", "up to 2 other processes were on the GPU"),
    ],
)
def test_what_happened_names_the_visits_that_it_touched(seen: dict[str, Any], code: str, message: str) -> None:
    sound = row(0, gpu_clock_least_mhz=1980, gpu_clock_most_mhz=1980)
    (one,) = cautions(sound, row(1, **seen))
    assert (one.code, one.message) == (code, f"{message} in 1 of 2 visits: b/r01")
    (five,) = cautions(sound, *(row(number, **seen) for number in range(1, 6)))
    assert five.message == f"{message} in 5 of 6 visits: b/r01, b/r02, b/r03 and 2 more"
    assert one.hint


def test_a_tick_of_a_short_visit_is_not_stolen_time() -> None:
    assert cautions(row(0, steal_share=0.5, steal_ns=10_000_000)) == []
    assert cautions(row(0, others_share=1.0, processor_ns=20_000_000)) == []


def kept(**findings: str) -> str:
    return json.dumps(findings)


def test_what_was_sound_when_the_worker_began_and_then_was_not_is_told() -> None:
    began = json.dumps({"doctor": {"governor": "ok", "swap": "caution: 1 MB", "boost": "unknown: none", "disk": "ok"}})
    rows = [
        row(0, environment=began, findings=kept(governor="ok", swap="caution: 2 MB", boost="caution: on", disk="ok")),
        row(1, environment=began, findings=kept(governor="caution: powersave on 2 of 2 cores", disk="unknown: gone")),
        row(2, environment=began, findings=kept(governor="caution: powersave on 1 of 2 cores")),
    ]
    (one,) = cautions(*rows)
    assert (one.code, one.message) == (
        "machine_changed",
        "governor was as it should be when the worker began, and then was not (powersave on 1 of 2 cores) in 2 of 3 "
        "visits: b/r01, b/r02",
    )


@pytest.mark.parametrize("odd", ["[", "[1]", "{}", '{"doctor": 3}', None, '{"doctor": {"a": 3}}', "[" * 100_000])
def test_what_is_no_such_json_says_nothing(odd: Any) -> None:
    good = json.dumps({"doctor": {"a": "ok"}})
    assert cautions(row(0, environment=odd, findings=kept(a="caution: x"))) == []
    assert cautions(row(0, environment=good, findings=odd), row(1, environment=good, findings='{"a": [1]}')) == []


def test_they_are_among_the_cautions_of_a_run_and_its_conditions_a_view(tmp_path: Path) -> None:
    def conditions(round_index: int) -> dict[str, Any]:
        if not round_index:
            return {}
        stolen = {"processor_ns": 4 * 10**9, "steal_ns": 10**9, "others_cpu_ns": 2 * 10**9, "throttled_ns": 0}
        return stolen | {"swapped_bytes": 3_000_000, "warmup_ns": 10**9, "timing_ns": 10**9}

    tables = Tables(loaded(load_loaded(tmp_path, HEAD + at(FULL, 2)), tmp_path, conditions=conditions))
    first, second = tables.rows("FROM visit_conditions ORDER BY round")
    assert (first["steal_share"], first["others_share"], first["swapped_mb"]) == (None, None, None)
    told = {
        name: second[name] for name in ("measured_s", "steal_share", "others_share", "throttled_share", "swapped_mb")
    }
    assert told == {
        "measured_s": 2.0,
        "steal_share": 0.25,
        "others_share": 0.5,
        "throttled_share": 0.0,
        "swapped_mb": 3.0,
    }
    codes = ("stolen_time", "busy_machine", "swapping")
    rows = tables.rows(f"FROM cautions WHERE code IN {codes} ORDER BY code")
    assert [(one["configuration"], one["code"]) for one in rows] == [(None, code) for code in sorted(codes)]
    assert rows[1]["message"].endswith(f" in 1 of 2 visits: {second['visit']}")
