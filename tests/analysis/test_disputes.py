"""Means against the requests' own ratios: a run whose stalls are known, one without, and one slower throughout."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raybench.analysis.disputes import disputes
from raybench.analysis.tables import Tables
from raybench.plan.plan import Plan
from raybench.report.study import verdict_lines
from runs import measure

MS = 1_000_000
Known = Callable[..., None]


def costs(separate_ms: float, every: int | None) -> dict[str, Callable[..., tuple[int, int, None]]]:
    """All take 4 ms but ``lora_separate``; it stalls for 8 ms in one request out of ``every``."""
    rng = np.random.default_rng(0)

    def cost(ms: float, stalls: bool) -> Callable[..., tuple[int, int, None]]:
        def one(tokens: int, calls: int) -> tuple[int, int, None]:
            stall = 8 * MS if stalls and every and calls % every == 0 else 0
            ns = int(ms * MS * rng.lognormal(0, 0.01)) + stall
            return ns, ns, None

        return one

    of = {"full_ft": 4.0, "lora_merged": 4.0, "multi_lora": 4.0, "lora_separate": separate_ms}
    return {name: cost(ms, name == "lora_separate") for name, ms in of.items()}


def tables_of(
    costs_: dict[str, Any], known_latencies: Known, load_plan: Callable[..., Plan], folder: Path
) -> tuple[Tables, dict[str, Any]]:
    known_latencies(costs_)
    tables = Tables(measure(load_plan(rounds=8, requests=40), folder))
    rows = tables.rows("FROM by_strategy WHERE strategy = 'lora_separate' AND reference_strategy = 'full_ft'")
    return tables, {row["clock"]: row for row in rows}


def test_a_difference_that_a_few_stalls_make_is_disputed_and_inconclusive(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    tables, by_clock = tables_of(costs(4.0, 7), known_latencies, load_plan, tmp_path)
    wall, paired = by_clock["wall"], by_clock["wall paired"]
    assert wall["p_holm"] < 1e-3
    assert wall["ratio"] > 1.2
    assert wall["disputed"] is True
    assert wall["verdict"] == "inconclusive"
    assert paired["ratio"] == pytest.approx(1, abs=0.005)
    assert paired["verdict"] == "equivalent"
    assert paired["disputed"] is None
    messages = [r["message"] for r in tables.rows("FROM cautions WHERE code = 'disputed' AND configuration IS NULL")]
    (one,) = [message for message in messages if message.startswith("LoRA Separate against Full FT")]
    assert ": the means differ by +" in one
    said = next(line for line in verdict_lines(tables) if line.startswith("LoRA Separate against Full FT"))
    assert "is inconclusive" in said
    assert re.search(
        r"; some requests make the difference of the means: request by request it is \S+ % \[.*\], within the margin$",
        said,
    )
    (hint,) = {row["hint"] for row in tables.rows("FROM cautions WHERE code = 'disputed'")}
    assert hint.startswith("some requests make the difference, slow or long ones, and most do not show it: ")
    assert any(line.startswith("Caution: 2 of 7 configurations had many requests") for line in verdict_lines(tables))


def test_a_deployment_that_is_slower_in_every_request_is_slower(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    tables, by_clock = tables_of(costs(4.4, None), known_latencies, load_plan, tmp_path)
    assert {clock: by_clock[clock]["verdict"] for clock in ("wall", "wall paired")} == {
        "wall": "slower",
        "wall paired": "slower",
    }
    assert by_clock["wall"]["disputed"] is False
    assert by_clock["wall paired"]["ratio"] == pytest.approx(1.1, abs=0.005)
    assert tables.rows("FROM cautions WHERE code = 'disputed'") == []
    assert not [line for line in verdict_lines(tables) if line.startswith("Caution")]


def test_stalls_of_a_deployment_that_is_slower_throughout_dispute_nothing(
    known_latencies: Known, load_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    _, by_clock = tables_of(costs(4.4, 7), known_latencies, load_plan, tmp_path)
    assert by_clock["wall"]["verdict"] == "slower"
    assert by_clock["wall"]["disputed"] is False
    assert by_clock["wall paired"]["ratio"] == pytest.approx(1.1, abs=0.005)


@pytest.mark.parametrize(
    ("verdict", "hint"),
    [
        ("equivalent", "some requests make the difference, slow or long ones, and most do not show it"),
        ("faster", "some requests make the difference, slow or long ones, and most do not show it"),
        ("inconclusive", "the means show it after Holm's adjustment, the requests' own ratios not surely enough"),
    ],
)
def test_what_only_the_means_are_sure_of_is_not_laid_to_some_requests(verdict: str, hint: str) -> None:
    row = {"deployment": "B", "reference_strategy": "A", "reference_deployment": "A", "measure": "end_to_end"}
    wall = row | {"clock": "wall", "ratio": 1.267, "low": 1.098, "high": 1.462, "disputed": True}
    paired = row | {"clock": "wall paired", "ratio": 1.285, "low": 1.065, "high": 1.552, "verdict": verdict}
    ((name, caution),) = disputes([wall, paired])
    assert name is None
    assert caution.message == (
        "B against A: the means differ by +26.7 % [+9.8 %, +46.2 %], request by request it is +28.5 % [+6.5 %, +55.2 %]"
    )
    assert caution.hint.startswith(f"{hint}: ")


def test_what_is_not_disputed_has_no_caution() -> None:
    row = {"deployment": "B", "reference_strategy": "A", "measure": "end_to_end", "clock": "wall", "ratio": 1.1}
    assert list(disputes([row | {"disputed": False}, row | {"disputed": None}, row])) == []
