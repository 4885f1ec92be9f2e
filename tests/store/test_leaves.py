"""Where two JSON values differ."""

from __future__ import annotations

from raybench.store.leaves import differing


def test_the_innermost_places_are_named_and_what_either_has_there() -> None:
    a = {"same": [1, {"x": 2}], "list": [1, {"y": 2}], "longer": [1], "gone": None, "only": 3}
    b = {"same": [1, {"x": 2}], "list": [1, {"y": 5}], "longer": [1, 2], "new": "n", "only": [3]}
    assert differing("plan", a, b) == [
        ("plan.list[1].y", 2, 5),
        ("plan.longer", [1], [1, 2]),
        ("plan.new", None, "n"),
        ("plan.only", 3, [3]),
    ]
    assert differing("plan", a, a) == []
    assert differing("plan", 1, None) == [("plan", 1, None)]
