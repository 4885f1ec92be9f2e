"""What a load did, as people read it."""

from __future__ import annotations

import io
from pathlib import Path

from generated_runs import even_cost, generated, load_generated
from loaded_runs import ADAPTERS, FULL, GOODPUT, HEAD, at, beside, load_loaded, loaded
from raybench.analysis.tables import Tables
from raybench.plan.plan import Configuration
from raybench.report.load import load_tables
from raybench.report.screen import Screen
from raybench.report.tables import print_everything

PLAN = ADAPTERS + at(FULL, 1, 2) + at(beside("several", "multi_lora", "a{number}"), 1, 2)


def cost(configuration: Configuration, round_index: int, place: int) -> tuple[float, float]:
    """In steps of a nanosecond no visit is like another."""
    return (1.0, 2.0) if place == 1 else (4.0 + round_index, 3.0 + 1e-5 * round_index)


def shown(tables: Tables, everything: bool = False) -> str:
    out = io.StringIO()
    (print_everything if everything else load_tables)(tables, Screen(out, width=250))
    return out.getvalue()


def test_a_load_has_a_table_of_rates_and_of_what_was_good(tmp_path: Path) -> None:
    root = loaded(load_loaded(tmp_path, HEAD + GOODPUT + PLAN), tmp_path, cost, late_ns=lambda c: 20_000)
    text = shown(Tables(root))
    assert "Under load (95 % interval over visits; TTFT and TPOT in milliseconds)" in text
    lines = {line.split("  ")[1]: line.split() for line in text.splitlines() if "FT" in line and "TTFT" not in line}
    assert lines["Full FT"][2:5] == ["8", "-", "-"]
    # Two in 10 ms, and in 11.00002: 5.25 ms a request in the mean
    assert lines["Full FT (2 at once)"][5:7] == ["8", "190.48"]
    assert lines["Full FT (2 at once)"][-1] == "0.020"
    assert "Good: a request within TTFT of 5 ms and TPOT of 2 ms. Goodput: good requests a second." in text
    assert "Without rates: asked one at a time, each request after the one before." in text


def test_it_is_left_out_where_nothing_came_under_a_load_or_had_limits(tmp_path: Path) -> None:
    assert shown(Tables(generated(load_generated(tmp_path), tmp_path, even_cost))) == ""
    plan = load_loaded(tmp_path, HEAD + at(FULL, 1))
    assert shown(Tables(loaded(plan, tmp_path, cost, "alone"))) == ""


def test_all_tables_of_a_run_of_servers_say_loads_and_nothing_of_calibrations(tmp_path: Path) -> None:
    text = shown(Tables(loaded(load_loaded(tmp_path, HEAD + PLAN), tmp_path, cost)), everything=True)
    assert "Multi-adapter (2, 2 at once) against Full FT (2 at once)" in text
    assert "Multi-adapter (2) against Full FT:" in text
    assert "Each against the reference of its own batch, data type, cache and load." in text
    assert "By load (wall time, milliseconds)" in text
    assert "goodput/s" not in text
    assert not any(word in text for word in ("predict", "calibrat", "counted"))


def test_why_a_percentile_is_not_shown_is_said_once(tmp_path: Path) -> None:
    def at_once(configuration: Configuration, round_index: int, place: int) -> tuple[float, float]:
        steps = (10.0, 1e-6) if place == 1 else (4.0, 3.0)  # of half of its requests no step can be told
        return steps if configuration.name == "full_c1" else cost(configuration, round_index, place)

    plan = load_loaded(tmp_path, HEAD.replace("\nrequests = 4", "\nrequests = 22") + at(FULL, 1, 2))
    tables = Tables(loaded(plan, tmp_path, at_once))
    lines = [line.strip() for line in shown(tables, everything=True).splitlines() if "Not shown: p9" in line]
    assert lines == [
        f"Not shown: p{p} needs {needed:,} samples, there are 22 to 44."
        for p, needed in (("90", 64), ("95", 130), ("99", 662), ("99.9", 6636))
    ]
