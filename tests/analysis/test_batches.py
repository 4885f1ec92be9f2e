"""Neighbours are looked at together as far as they fit."""

from __future__ import annotations

import pytest

from raybench.analysis import batches


@pytest.mark.parametrize(
    ("counts", "at_once", "expected"),
    [
        ([], 5, []),
        ([3], 1, [(0, 0)]),
        ([3, 2, 1, 6, 0, 4], 5, [(0, 1), (2, 2), (3, 3), (4, 5)]),
        ([0, 0], 5, [(0, 1)]),
    ],
)
def test_neighbours_are_read_together_as_far_as_they_fit(
    counts: list[int], at_once: int, expected: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ROWS_AT_ONCE", at_once)
    assert list(batches.batches(counts)) == expected
