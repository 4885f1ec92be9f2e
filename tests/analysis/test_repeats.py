"""Few texts and many requests: what a percentile rests on is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raybench.analysis.repeats import repeat_cautions
from raybench.analysis.tables import Tables
from raybench.model.workload import Texts, read_texts
from runs import measure

Known = Callable[..., None]


def row(samples: int, distinct: int) -> dict[str, Any]:
    return {"configuration": "one", "samples": samples, "distinct_requests": distinct}


def test_a_percentile_of_samples_over_two_texts_is_cautioned() -> None:
    ((name, caution),) = repeat_cautions([row(200, 2)])
    assert name == "one"
    assert caution.code == "few_requests"
    assert caution.message == "200 samples serve 2 distinct requests again and again: too few for a tail (p50 needs 11)"


@pytest.mark.parametrize(
    ("samples", "distinct", "percent"),
    [
        (129, 64, None),  # no percentile is given that 20 requests could not carry
        (130, 64, "p95"),
        (130, 130, None),
        (700, 661, "p99"),
        (700, 662, None),
        (4, 1, None),
    ],
)
def test_the_first_percentile_that_the_requests_cannot_carry_is_named(
    samples: int, distinct: int, percent: str | None
) -> None:
    found = [caution.message.rpartition("(")[2].split()[0] for _, caution in repeat_cautions([row(samples, distinct)])]
    assert found == ([percent] if percent else [])


def test_requests_of_ones_own_texts_are_counted_by_text(
    known_latencies: Known, load_plan: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a whole run: of three texts two are equal; without texts each request is an input of its own."""
    known_latencies(
        dict.fromkeys(("full_ft", "lora_separate", "lora_merged", "multi_lora"), lambda tokens, calls: (1, 2, None))
    )
    plan = load_plan(rounds=4, requests=10)
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in ("a", "b", "a")))
    texts = read_texts(
        str(tmp_path / "texts.jsonl"),
        plan.tasks(),
        lambda text, most: [ord(text)],
        text_column="text",
        task_column=None,
        max_tokens=8,
        seed=0,
    )
    assert texts.describe()["distinct_texts"] == {"mrpc": 2, "sst2": 2}
    plain = Tables(measure(plan, tmp_path, "plain"))
    assert {(r["samples"], r["distinct_requests"]) for r in plain.rows("FROM distinct_requests")} == {(40, 40)}
    assert plain.rows("FROM cautions WHERE code = 'few_requests'") == []
    monkeypatch.setattr("runs.GlueLengths", lambda seed: texts)
    own = Tables(measure(plan, tmp_path, "own"))
    counted = {r["configuration"]: (r["samples"], r["distinct_requests"]) for r in own.rows("FROM distinct_requests")}
    assert counted.pop("multi_lora_2_adapters") == (40, 4)
    assert set(counted.values()) == {(40, 2)}
    messages = {r["configuration"]: r["message"] for r in own.rows("FROM cautions WHERE code = 'few_requests'")}
    assert set(messages) == {"multi_lora_2_adapters", *counted}
    assert messages["fullft_mrpc_seed42"].startswith("40 samples serve 2 distinct requests again and again: too few")


def test_texts_that_all_differ_are_described_as_before() -> None:
    """A run of an earlier version goes on."""
    assert set(Texts("f", {"a": [[1], [2]]}, 0).describe()) == {"source", "seed", "texts", "token_ids_sha256"}
