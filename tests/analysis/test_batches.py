"""Neighbours are looked at together as far as they fit, and nothing else meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from generated_runs import even_cost, generated, load_generated
from raybench.analysis import batches
from raybench.analysis.tables import Tables, Views
from raybench.store import RunStore

RUN = Path(__file__).parent / "version2" / "run"


@pytest.mark.parametrize(
    ("counts", "at_once", "expected"),
    [
        ([], 5, []),
        ([3], 1, [[0]]),
        ([3, 2, 1, 6, 0, 4], 5, [[0, 1], [2], [3], [4, 5]]),
        ([0, 0], 5, [[0, 1]]),
    ],
)
def test_neighbours_are_looked_at_together_as_far_as_they_fit(
    counts: list[int], at_once: int, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", at_once)
    assert list(batches.batches("round", dict(enumerate(counts)))) == expected
    tripled = {number: 3 * count for number, count in enumerate(counts)}
    assert list(batches.batches("position", tripled)) == expected


@pytest.mark.parametrize("compacted", [False, True])
def test_only_what_lies_between_them_is_shown_meanwhile(compacted: bool, tmp_path: Path) -> None:
    root = generated(load_generated(tmp_path), tmp_path, even_cost) if compacted else RUN
    if compacted:
        with RunStore.resume(root) as store:
            store.compact()
    views = Views(root)
    of_visit = "SELECT DISTINCT block, round FROM samples ORDER BY ALL"
    every = views.rows(of_visit)
    entries = [{(visit.block, visit.round) for visit in entry.visits} for entry in RunStore.open(root).entries()]
    place = {row["block"]: row["position"] for row in views.rows("FROM configurations")}
    for block in ("mrpc_seed42", "sst2_seed42"):
        with batches.narrowed(views.query, "position", [place[block]]):
            shown = [(row["block"], row["round"]) for row in views.rows(of_visit)]
        assert shown == [(row["block"], row["round"]) for row in every if row["block"] == block]
    for rounds in ([0], [1], [7], [7, 0], [2, 1]):
        with batches.narrowed(views.query, "round", rounds):
            shown = [(row["block"], row["round"]) for row in views.rows(of_visit)]
        of_files = set().union(*(entry for entry in entries if not {r for _, r in entry}.isdisjoint(rounds)))
        found = {r for _, r in of_files}.intersection(rounds)
        assert shown == sorted((b, r) for b, r in of_files if min(found) <= r <= max(found))
    assert views.rows(of_visit) == every


def test_tables_of_many_batches_are_those_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = generated(load_generated(tmp_path), tmp_path, even_cost, devices=2)
    names = ("by_configuration", "by_measure", "visit_ratios", "overhead", "percentiles", "diagnostics", "cautions")
    found = []
    for at_once in (1, 10**9):
        monkeypatch.setattr(batches, "ROWS_AT_ONCE", at_once)
        tables = Tables(root)
        found.append({name: repr(tables.rows(f"FROM {name}")) for name in names})
    assert found[0] == found[1]
