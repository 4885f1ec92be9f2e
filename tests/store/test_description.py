"""What run.json may say, and what a person is told where it says something else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raybench.store.description import Description
from raybench.store.documents import validated
from raybench.store.storage import StoreError

RUN = json.loads((Path(__file__).parents[1] / "analysis" / "version2" / "run" / "run.json").read_text())


def test_every_value_is_there_by_its_name() -> None:
    run = validated(Description, RUN, Path("run.json"))
    assert (run.run_id, run.schema_version) == ("version2", 2)
    assert run.created_at == datetime(2026, 11, 28, 1, 7, 43, tzinfo=UTC)
    assert (run.plan.name, run.plan.rounds, run.plan.requests, run.plan.margin) == ("small", 2, 4, 0.02)
    assert (run.plan.references, run.plan.claims) == (("full_ft", "lora_separate"), ())
    assert (run.model.name, run.model.kind, run.model.location) == ("micro", "preset_device", None)
    multi = run.configurations[-1]
    assert (multi.name, multi.role, multi.deployment) == ("multi_lora_2_adapters", "multi_lora", "Multi-adapter (2)")
    assert (multi.tasks, multi.adapters, multi.block) == (("mrpc", "sst2"), ("mrpc_seed42", "sst2_seed42"), multi.name)
    assert [(c.reference_strategy, c.via) for c in run.comparisons if c.configuration == multi.name] == [
        ("full_ft", "lora_separate"),
        ("lora_separate", None),
    ]
    assert run.environment.driver.versions["duckdb"] == "2.0.0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("plan"), "plan: Field required"),
        (lambda d: d.update(plan="none"), "plan: Input should be an object"),
        (lambda d: d["plan"].update(margin=0), "plan.margin: Input should be greater than 0"),
        (lambda d: d["plan"].update(margin="0.02"), "plan.margin: Input should be a valid number"),
        (lambda d: d["plan"].update(rounds=10**12), "plan.rounds: Input should be less than or equal to 1000000"),
        (lambda d: d["plan"].update(rounds=2.5), "plan.rounds: Input should be a valid integer"),
        (lambda d: d["plan"].update(requests=True), "plan.requests: Input should be a valid integer"),
        (lambda d: d["plan"].update(references=[]), "plan.references: .*at least 1 item"),
        (lambda d: d.update(created_at="soon"), "created_at: Input should be a valid datetime"),
        (lambda d: d.update(created_at="2026-01-01T00:00:00"), "created_at: Input should have timezone info"),
        (lambda d: d.update(configurations=[]), "configurations: .*at least 1 item"),
        (lambda d: d["configurations"][0].update(name="a\x1b[2J"), r"configurations.0.name: .*found 'a\\x1b\[2J'"),
        (lambda d: d["configurations"].append(d["configurations"][0]), "'fullft_mrpc_seed42' is there twice"),
        (lambda d: d["configurations"][0].update(tasks=[]), "configurations.0.tasks: .*at least 1 item"),
        (lambda d: d["comparisons"][0].update(configuration="x"), "comparisons name 'x', which is no configuration"),
        (lambda d: d["comparisons"][0]["references"][0].update(block="y"), "comparisons name 'y', which is no block"),
        (lambda d: d["model"].update(kind="checkpoint"), "a model of kind checkpoint has a location"),
        (
            lambda d: d["configurations"][0].update(load={}),
            "configurations.0.load: .*one of concurrency, rate_per_s and",
        ),
        (
            lambda d: d["configurations"][0].update(load={"concurrency": 2, "rate_per_s": 1.0}),
            "configurations.0.load: .*a load has one of concurrency, rate_per_s and trace",
        ),
        (lambda d: d["configurations"][0].update(load={"concurrency": 0}), "concurrency: .*greater than or equal to 1"),
        (lambda d: d["plan"].update(goodput={"ttft_ms": 0.0, "tpot_ms": None}), "goodput.ttft_ms: .*greater than 0"),
        (lambda d: d["model"].update(kind="pickle"), "model.kind: Input should be 'preset_files'"),
        (lambda d: d["environment"].update(workers=[1]), "environment.workers.0: Input should be an object"),
        (lambda d: [d["plan"].pop(k) for k in ("name", "design", "rounds", "margin")], "; and 1 more"),
    ],
)
def test_what_cannot_be_is_named_in_one_line(change: Callable[[dict[str, Any]], object], message: str) -> None:
    document = copy.deepcopy(RUN)
    change(document)
    with pytest.raises(StoreError, match=rf"^run\.json: .*{message}.*restore it from a copy") as raised:
        validated(Description, document, Path("run.json"))
    assert "\n" not in str(raised.value)


def test_further_keys_are_left_alone() -> None:
    document = copy.deepcopy(RUN)
    document["plan"]["later"] = document["later"] = {"anything": [1]}
    assert validated(Description, document, Path("run.json")) == validated(Description, RUN, Path("run.json"))


def test_the_engine_of_version_8_is_the_only_entry_of_servers() -> None:
    document = copy.deepcopy(RUN)
    document["plan"]["engine"] = {"preset": "vllm", "command": []}
    assert validated(Description, document, Path("run.json")).plan.servers == ({"preset": "vllm", "command": []},)
    document["plan"]["engine"] = None
    assert validated(Description, document, Path("run.json")).plan.servers == ()


def test_loads_and_limits_are_there_by_their_names() -> None:
    document = copy.deepcopy(RUN)
    document["plan"] |= {"servers": [{"name": "servers", "url": None}], "goodput": {"ttft_ms": 200, "tpot_ms": None}}
    for place, load in enumerate([{"concurrency": 8}, {"rate_per_s": 2.5, "burstiness": 1.0}, None]):
        document["configurations"][place] |= {"servers": "servers", "load": load}
    run = validated(Description, document, Path("run.json"))
    assert run.plan.goodput is not None
    assert (run.plan.goodput.ttft_ms, run.plan.goodput.tpot_ms) == (200, None)
    loads = [(load.concurrency, load.rate_per_s) for c in run.configurations[:3] if (load := c.load) is not None]
    assert loads == [(8, None), (None, 2.5)]
