"""The advice as text and as JSON."""

from __future__ import annotations

import dataclasses
import math

from rich.console import Console

from advising import advise
from raybench.advice import Comparison, advice_to_dict, render
from raybench.tables import Tables


def test_a_way_without_a_price_has_no_cost_column(known_tables: Tables) -> None:
    console = Console(width=160, record=True, quiet=True)
    render(advise(known_tables), console)
    assert "cost" not in console.export_text()


def test_what_is_unbounded_is_null_in_json(known_tables: Tables) -> None:
    unbounded = dataclasses.replace(
        advise(known_tables), numbers=(Comparison("a", "b", 1.0, 0.0, math.inf, "inconclusive", False),)
    )
    assert advice_to_dict(unbounded)["numbers"][0]["high"] is None
