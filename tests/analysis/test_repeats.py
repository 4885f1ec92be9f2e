"""Few texts and many requests: what a percentile rests on is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from raybench.analysis.repeats import repeat_cautions
from raybench.analysis.tables import Tables
from raybench.deploy.strategies import all_traits
from raybench.model.text_files import Column
from raybench.model.texts import Texts, Tokens, read_texts
from raybench.model.workload import glue_tasks, request_of
from raybench.plan import file as plan_file
from raybench.plan.plan import Plan
from raybench.sweep.describe import describe
from runs import MODEL, measure

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
        lambda: lambda text: Tokens([ord(text)]),
        column=Column("text"),
        task_column=None,
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


BATCHED = """
name = "batched"
rounds = 2
requests = 6
warmups = 0

[[adapters]]
name = "{task}"
tasks = ["a", "b"]
seeds = [1]
alpha = 8

[[matrix]]
name = "full_{task}_{batch}"
strategy = "full_ft"
tasks = ["a", "b"]
seeds = [1]
batch = [1, 2, 4]

[[configurations]]
name = "turns"
strategy = "multi_lora"
seed = 1
adapters = ["a", "b"]
batch = 2

[[configurations]]
name = "mixed"
strategy = "multi_lora"
seed = 1
adapters = ["a", "b"]
batch = 2
routing = "mixed"

[workload]
texts = "t.jsonl"
"""


def served_texts(plan: Plan, texts: Texts, name: str) -> list[tuple[Any, ...]]:
    """The texts of each request that a configuration serves, as the driver makes them."""
    (c,) = (c for c in plan.configurations if c.name == name)
    (block,) = (block for block in plan.blocks if c in block.members)
    served = [r for first in (0, 6) for r in block.requests(c, first, 6)]
    requests = [request_of(texts, task, i, c.batch, block.mixed_tasks) for task, i in served]
    return [tuple((p.task, p.token_ids) for p in request.prompts) for request in requests]


@pytest.mark.parametrize(("of_a", "of_b"), [(5, 3), (8, 100), (1, 1), (100, 100)])
def test_batches_of_ones_own_texts_are_as_many_as_the_texts_fill(tmp_path: Path, of_a: int, of_b: int) -> None:
    """Over a run of no more than its description and samples."""
    path = tmp_path / "p.toml"
    path.write_text(BATCHED)
    plan, _ = plan_file.load_plan(str(path), all_traits(), glue_tasks())
    texts = Texts("t", {"a": [[i] for i in range(of_a)], "b": [[i] for i in range(of_b)]}, 0)
    counted = distinct_requests(plan, texts, tmp_path)
    assert set(counted) == {c.name for c in plan.configurations}
    for c in plan.configurations:
        served = served_texts(plan, texts, c.name)
        samples, distinct = counted[c.name]
        assert samples == len(served) == 12
        # No more are counted than differ, nor than the texts fill if each is in one batch only.
        apart = [set(served)] if c.routing == "mixed" else [{r for r in served if r[0][0] == task} for task in c.tasks]
        of = [of_a + of_b] if c.routing == "mixed" else [{"a": of_a, "b": of_b}[task] for task in c.tasks]
        assert distinct == sum(min(len(d), -(-n // c.batch)) for d, n in zip(apart, of, strict=True))
    assert counted["full_a_1"][1] == min(12, of_a)
    assert counted["mixed"][1] == min(12, -(-(of_a + of_b) // 2))


def distinct_requests(plan: Plan, texts: Texts, folder: Path) -> dict[str, tuple[int, int]]:
    """Samples and distinct requests by configuration, of a run in which each request took 1 ms."""
    rows = [
        {"visit": "v", "block": block.name, "configuration": c.name, "round": 0, "task": task, "request": index}
        for block in plan.blocks
        for c in block.members
        for first in (0, 6)
        for task, index in block.requests(c, first, 6)
    ]
    with duckdb.connect() as db:
        described = json.dumps(describe("r", plan, texts, MODEL, [], all_traits()))
        db.execute("SET VARIABLE raybench_description = ?", [described])
        for table in ("samples", "visits", "loads", "failures", "attempts"):
            db.execute(f"SET VARIABLE raybench_{table} = []::VARCHAR[]")
        db.execute(sql_file("raw"))
        db.register("rows", pa.Table.from_pylist(rows))
        db.execute("CREATE OR REPLACE VIEW timed AS FROM rows")
        db.execute(sql_file("completeness"))
        db.execute(sql_file("distinct_requests"))
        return {name: (n, distinct) for name, n, distinct in db.sql("FROM distinct_requests").fetchall()}


def sql_file(name: str) -> str:
    return resources.files("raybench").joinpath("analysis", "sql", f"{name}.sql").read_text()
