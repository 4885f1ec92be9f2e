"""What loading found, as cautions."""

from __future__ import annotations

from typing import Any

from raybench.analysis.diagnostics import Caution
from raybench.analysis.loading import load_cautions


def row(configuration: str = "one", **changes: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("random_weights", "unused_adapter", "adapter_effect", "gate_tolerance"))
    return {"configuration": configuration} | nothing | changes


def test_a_load_like_any_is_no_caution() -> None:
    assert load_cautions([]) == []
    assert load_cautions([row(), row("two", adapter_effect=1e-3), row("three", gate_tolerance=1.0)]) == []
    assert load_cautions([row(adapter_effect=2e-4, gate_tolerance=1e-4)]) == []


def test_what_was_drawn_is_told_once_for_all_that_have_it() -> None:
    rows = [
        row("one", random_weights="base: score.weight"),
        row("two", random_weights="base: score.weight"),
        row("three", random_weights="/models/a: b: pooler.dense.bias, classifier.weight"),
    ]
    first, second = load_cautions(rows)
    hint = "times do not depend on what was drawn, answers do: none of this model's means anything"
    drawn = "drawn at random, the same for all"
    assert first == (
        None,
        Caution("random_weights", f"/models/a: b has no pooler.dense.bias, classifier.weight: {drawn}", hint),
    )
    assert second == (None, Caution("random_weights", f"base has no score.weight: {drawn}", hint))


def test_an_adapter_that_lies_beside_a_model_is_told_once() -> None:
    (found,) = load_cautions([row(name, unused_adapter="owner/name") for name in ("one", "two")])
    message = "owner/name holds an adapter beside the model: the model was loaded without it"
    assert found[0] is None
    assert (found[1].code, found[1].message) == ("unused_adapter", message)


def test_an_adapter_within_the_gates_tolerance_is_told_by_its_weakest_load() -> None:
    rows = [row(adapter_effect=effect, gate_tolerance=0.05) for effect in (0.03, 0.0123, 0.06)]
    (found,) = load_cautions([row("two", adapter_effect=0.06, gate_tolerance=0.05), *rows])
    message = "an adapter changes the logits by 0.012 (relative), the gate's tolerance is 0.05"
    assert found[0] == "one"
    assert (found[1].code, found[1].message) == ("weak_adapter", message)
