"""Visits of many adapters that share a task: each request by the adapter that its routing says, all of them checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from raybench.cluster.agenda import Agenda, Job
from raybench.deploy import gate, strategies
from raybench.deploy.switch import Switch
from raybench.machine.device import CpuDevice
from raybench.model.lengths import Lengths
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import resolve_model
from raybench.plan import file as plan_file
from raybench.plan.plan import Plan
from raybench.schemas import SAMPLES
from raybench.visit.messages import Failed, Loaded, Message, Samples
from raybench.visit.spec import VisitSpec
from raybench.visit.visit import run_visit

PLAN = """
name = "many"
rounds = 1
requests = 12
warmups = 1
references = ["lora_merged"]
workload = {prompt_tokens = 9}

[[adapters]]
name = "a{number}"
tasks = ["support"]
seeds = [1]
alpha = 8
count = 7

[[matrix]]
name = "merged_b{batch}"
strategy = "lora_merged"
tasks = ["support"]
seeds = [1]
adapters = ["a1"]
batch = [1, 3]

[[matrix]]
name = "stacked_{resident}"
strategy = "multi_lora"
form = "stacked"
routing = "zipf"
tasks = ["support"]
seeds = [1]
adapters = ["a{number}"]
resident = [1, 7]

[[configurations]]
name = "peft"
strategy = "multi_lora"
seed = 1
adapters = ["a{number}"]
resident = 2

[[configurations]]
name = "mixed_stacked"
strategy = "multi_lora"
form = "stacked"
routing = "mixed"
seed = 1
adapters = ["a{number}"]
batch = 3

[[configurations]]
name = "mixed_peft"
strategy = "multi_lora"
routing = "mixed"
seed = 1
adapters = ["a{number}"]
resident = 4
batch = 3
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("plan") / "plan.toml"
    path.write_text(PLAN)
    return plan_file.load_plan(str(path), strategies.all_traits(), ())[0]


@pytest.fixture
def specs(plan: Plan) -> dict[str, VisitSpec]:
    recipe = Recipe.of("micro", plan)
    job = Job(plan, Lengths(9, None, 0), prepared(resolve_model("micro"), recipe), recipe, "cpu")
    return {spec.block: spec for spec in iter(Agenda(job).next, None)}


def measured(spec: VisitSpec) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]], list[Failed]]:
    """Timed samples, in order, and loads by configuration; and what failed."""
    messages: list[Message] = list(run_visit(spec, CpuDevice(), lambda _: None))
    samples = pa.Table.from_batches([m.batch for m in messages if isinstance(m, Samples)], SAMPLES).to_pylist()
    timed = sorted((r for r in samples if r["phase"] == "timed"), key=lambda r: r["request"])
    loads = {m.row["configuration"]: m.row for m in messages if isinstance(m, Loaded)}
    return timed, loads, [m for m in messages if isinstance(m, Failed)]


def test_each_request_is_served_by_the_adapter_that_its_routing_says(plan: Plan, specs: dict[str, VisitSpec]) -> None:
    rows, loads, failed = measured(specs["support_seed1"])
    assert failed == []
    served = {name: [r["adapter"] for r in rows if r["configuration"] == name] for name in loads}
    drawn = next(c for c in plan.configurations if c.name == "stacked_7").adapter_places(0, 12)
    assert served == {
        "merged_b1": ["a1"] * 12,
        "stacked_1": ["a1"] * 12,
        "stacked_7": [f"a{place + 1}" for place in drawn],
        "peft": ["a1", "a2"] * 6,
    }
    assert len(set(served["stacked_7"])) > 2
    assert {(r["task"], r["request"]) for r in rows} == {("support", i) for i in range(12)}
    assert Counter(r["switch_ns"] is None for r in rows) == {True: 12, False: 36}
    assert all(row["gate_error"] < 1e-4 and row["adapter_effect"] > 1e-3 for row in loads.values())
    assert {name for name, row in loads.items() if row["adapter_add_ns"] and row["adapter_remove_ns"]} == {
        "stacked_1",
        "stacked_7",
        "peft",
    }


def test_mixed_batches_are_of_one_adapter_after_the_other(
    specs: dict[str, VisitSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ...]] = []
    mixed = Switch.mixed

    def listening(self: Switch, names: Any) -> Any:
        told.append(tuple(names))
        return mixed(self, names)

    monkeypatch.setattr(Switch, "mixed", listening)
    rows, loads, failed = measured(specs["support_seed1_batch3"])
    assert failed == []
    assert set(loads) == {"merged_b3", "mixed_stacked", "mixed_peft"}
    assert {r["adapter"] for r in rows if r["configuration"] != "merged_b3"} == {None}
    assert {r["batch"] for r in rows} == {3}
    assert all(len(set(names)) == 3 for names in told)
    assert told[-1] == tuple(f"a{(11 * 3 + row) % 7 + 1}" for row in range(3))
    assert all(row["gate_error"] < 1e-4 for row in loads.values())


def test_of_many_adapters_the_gate_checks_the_first_the_last_and_two_others(plan: Plan) -> None:
    by_name = {c.name: c for c in plan.configurations}
    names = [a.name for a in gate.checked_adapters(by_name["stacked_7"], 0)]
    assert (len(names), names[0], names[-1]) == (4, "a1", "a7")
    assert names == sorted(set(names))
    assert names == [a.name for a in gate.checked_adapters(by_name["stacked_7"], 0)]
    drawn = {a.name for round_ in range(20) for a in gate.checked_adapters(by_name["stacked_7"], round_)}
    assert drawn == {f"a{number}" for number in range(1, 8)}
    assert [a.name for a in gate.checked_adapters(by_name["mixed_peft"], 0)] == ["a1", "a2", "a3", "a4"]


@pytest.mark.parametrize("block", ["support_seed1", "support_seed1_batch3"])
def test_a_request_that_goes_through_the_wrong_adapter_is_stopped(
    block: str, specs: dict[str, VisitSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    place: Callable[[Switch, str], int] = Switch._place
    monkeypatch.setattr(Switch, "_place", lambda self, name: max(place(self, name) - 1, 0))
    _, _, failed = measured(specs[block])
    name = {"support_seed1": "stacked_7", "support_seed1_batch3": "mixed_stacked"}[block]
    (message,) = (one.message for one in failed if (one.configuration, one.kind) == (name, "gate"))
    assert "logits differ from adapter" in message
