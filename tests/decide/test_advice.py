"""The advice as JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from decide.advising import MB, advise, by_way
from raybench.analysis.tables import Tables
from raybench.decide.advice import Comparison, advice_to_dict


def test_what_is_unbounded_is_null_in_json(known_tables: Tables) -> None:
    unbounded = dataclasses.replace(
        advise(known_tables), comparisons=(Comparison("a", "b", 1.0, 0.0, math.inf, "inconclusive", False),)
    )
    assert advice_to_dict(unbounded)["comparisons"][0]["high"] is None


def test_numbers_are_seconds_and_bytes_in_json(known_tables: Tables) -> None:
    advice = advise(known_tables, tasks=40, gpu_memory_bytes=1130 * MB, requests_per_second=0.1)
    assert advice.way == "separate_swapped"
    way = by_way(advice)["separate_swapped"]
    numbers: list[dict[str, Any]] = advice_to_dict(advice)["numbers"]
    assert {number["unit"] for number in numbers} == {"s", "bytes"}
    of_way = [(n["value"], n["unit"]) for n in numbers if n["what"].startswith(way.label)]
    assert of_way == [(way.p95_s, "s"), (0, "bytes"), (1130 * MB, "bytes"), (0.03, "s")]
