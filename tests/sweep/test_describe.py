"""A run's description: what it says, and what must be the same for a run to be gone on with."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest

from raybench.deploy import strategies
from raybench.machine import environment
from raybench.model.texts import Texts
from raybench.model.weights import ModelSpec
from raybench.model.workload import GlueLengths, glue_tasks
from raybench.plan import file as plan_file
from raybench.plan.plan import Plan
from raybench.store.description import Description
from raybench.sweep.describe import deployment, describe, differences

MODEL = ModelSpec("mine", "checkpoint", "/models/mine")
WORKERS = [{"host": "a", "device": "cpu"}]


@pytest.fixture
def plan(load_plan: Callable[..., Plan]) -> Plan:
    return load_plan()


def of(plan: Plan, model: ModelSpec = MODEL, workload: Any = None) -> dict[str, Any]:
    return describe("run-1", plan, workload or GlueLengths(0), model, WORKERS, strategies.all_traits())


def changed(plan: Plan, index: int, **values: Any) -> Plan:
    configurations = list(plan.configurations)
    configurations[index] = dataclasses.replace(configurations[index], **values)
    return dataclasses.replace(plan, configurations=tuple(configurations))


def test_it_goes_through_json_unchanged(plan: Plan) -> None:
    description = of(plan)
    assert json.loads(json.dumps(description)) == description


def test_it_names_the_run_the_plan_the_model_and_where_it_ran(plan: Plan) -> None:
    description = of(plan)
    assert description["run_id"] == "run-1"
    made = datetime.datetime.fromisoformat(description["created_at"])
    assert made.utcoffset() == datetime.timedelta(0)
    assert {k: description["plan"][k] for k in ("name", "design", "rounds", "requests", "warmups", "margin")} == {
        "name": "small",
        "design": "paired",
        "rounds": 2,
        "requests": 4,
        "warmups": 1,
        "margin": 0.02,
    }
    assert description["model"]["name"] == "mine"
    assert description["workload"] == {"source": "glue_token_lengths", "seed": 0}
    assert description["environment"]["driver"] == {
        "machine": environment.describe_machine(),
        "versions": environment.package_versions(),
    }
    assert description["environment"]["workers"] == WORKERS


def test_every_configuration_is_there_with_what_it_deploys_and_its_home(plan: Plan) -> None:
    found = {c["name"]: c for c in of(plan)["configurations"]}
    assert list(found) == [c.name for c in plan.configurations]
    multi = found["multi_lora_2_adapters"]
    assert (multi["strategy"], multi["tasks"], multi["adapters"], multi["block"]) == (
        "multi_lora",
        ["mrpc", "sst2"],
        ["mrpc_seed42", "sst2_seed42"],
        "multi_lora_2_adapters",
    )
    assert [(lora["r"], lora["alpha"], lora["target_modules"]) for lora in multi["lora"]] == [
        (8, 8, ["q_proj", "v_proj"])
    ] * 2
    guest = found["lora_mrpc_seed42"]
    assert (guest["block"], guest["dtype"], guest["adapter_dtype"]) == ("mrpc_seed42", "auto", "float32")


def test_comparisons_are_those_of_the_plan(plan: Plan) -> None:
    found = of(plan)["comparisons"]
    assert len(found) == len(plan.comparisons) == 10
    chained = next(c for c in found if c["via"])
    assert chained == {
        "configuration": "multi_lora_2_adapters",
        "block": "multi_lora_2_adapters",
        "reference_strategy": "full_ft",
        "references": [
            {"configuration": f"lora_{task}_seed42", "block": "multi_lora_2_adapters"} for task in ("mrpc", "sst2")
        ],
        "via": "lora_separate",
    }


def test_a_configurations_row_in_the_studys_table_is_its_strategy_and_how_many_adapters_where_that_varies() -> None:
    rq2, _ = plan_file.load_plan("rq2", strategies.all_traits(), glue_tasks())
    rows = {deployment(c, strategies.all_traits()) for c in rq2.configurations}
    assert rows == {"Full FT", "LoRA Merged", "LoRA Separate", "Multi-adapter (2)", "Multi-adapter (3)"}


# What keeps a run from being gone on with


def test_the_same_run_described_again_differs_in_nothing(plan: Plan) -> None:
    later = of(plan) | {"run_id": "another", "created_at": "2000-01-01T00:00:00+00:00"}
    later["environment"]["workers"] = []
    later["environment"]["driver"]["machine"] = {"host": "elsewhere"}
    assert differences(json.loads(json.dumps(of(plan))), later) == []


MINE = ModelSpec("mine", "checkpoint", "/elsewhere/mine")
PATH = "/another/adapter"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda p: of(dataclasses.replace(p, order_seed=5)), ["plan.order_seed: 0, now 5"], id="order"),
        pytest.param(lambda p: of(dataclasses.replace(p, rounds=9)), ["plan.rounds: 2, now 9"], id="rounds"),
        pytest.param(lambda p: of(dataclasses.replace(p, requests=9)), ["plan.requests: 4, now 9"], id="requests"),
        pytest.param(lambda p: of(dataclasses.replace(p, warmups=0)), ["plan.warmups: 1, now 0"], id="warmups"),
        pytest.param(
            lambda p: of(dataclasses.replace(p, turn_requests=2)), ["plan.turn_requests: 1, now 2"], id="turn"
        ),
        pytest.param(lambda p: of(dataclasses.replace(p, margin=0.5)), ["plan.margin: 0.02, now 0.5"], id="margin"),
        pytest.param(
            lambda p: of(dataclasses.replace(p, design="independent")),
            ["plan.design: 'paired', now 'independent'"],
            id="design",
        ),
        pytest.param(
            lambda p: of(dataclasses.replace(p, accelerator_type="L4")),
            ["plan.accelerator_type: None, now 'L4'"],
            id="accelerator",
        ),
        pytest.param(
            lambda p: of(dataclasses.replace(p, references=("full_ft",))),
            ["plan.references: 2 entries, now 1"],
            id="references",
        ),
        pytest.param(
            lambda p: of(p, ModelSpec("other", "checkpoint", "/models/mine")),
            ["model.name: 'mine', now 'other'"],
            id="model",
        ),
        pytest.param(lambda p: of(p, MINE), ["model.location: '/models/mine', now '/elsewhere/mine'"], id="model-path"),
        pytest.param(lambda p: of(p, workload=GlueLengths(1)), ["workload.seed: 0, now 1"], id="workload-seed"),
        pytest.param(
            lambda p: of(changed(p, 0, dtype="bfloat16")),
            ["configurations[0].dtype: 'auto', now 'bfloat16'"],
            id="dtype",
        ),
        pytest.param(
            lambda p: of(changed(p, 6, routing="blocked")),
            ["configurations[6].routing: 'round_robin', now 'blocked'"],
            id="routing",
        ),
        pytest.param(
            lambda p: of(changed(p, 0, checkpoint="/full")),
            ["configurations[0].checkpoint: None, now '/full'"],
            id="checkpoint",
        ),
        pytest.param(
            lambda p: of(
                changed(p, 2, adapters=(dataclasses.replace(p.configurations[2].adapters[0], alpha=16, path=PATH),))
            ),
            ["configurations[2].lora[0].alpha: 8.0, now 16", f"configurations[2].lora[0].path: None, now '{PATH}'"],
            id="adapter",
        ),
        pytest.param(
            lambda p: of(dataclasses.replace(p, configurations=p.configurations[:-1])),
            ["configurations: 7 entries, now 6"],
            id="configurations",
        ),
        pytest.param(
            lambda p: of(dataclasses.replace(p, comparisons=p.comparisons[:-1])),
            ["comparisons: 10 entries, now 9"],
            id="comparisons",
        ),
    ],
)
def test_each_thing_that_must_be_the_same_is_found_where_it_is_not(
    plan: Plan, change: Callable[[Plan], dict[str, Any]], expected: list[str]
) -> None:
    assert differences(of(plan), change(plan)) == expected


def test_texts_instead_of_lengths_are_a_difference(plan: Plan) -> None:
    texts = Texts("/t.jsonl", {"mrpc": [[1]], "sst2": [[1], [2]]}, 0)
    assert differences(of(plan), of(plan, workload=texts)) == [
        "workload.source: 'glue_token_lengths', now '/t.jsonl'",
        "workload.texts: None, now {'mrpc': 1, 'sst2': 2}",
        f"workload.token_ids_sha256: None, now '{texts.describe()['token_ids_sha256']}'",
    ]
    edited = Texts("/t.jsonl", {"mrpc": [[2]], "sst2": [[1], [2]]}, 0)
    (difference,) = differences(of(plan, workload=texts), of(plan, workload=edited))
    assert difference.startswith("workload.token_ids_sha256: ")


def test_another_version_of_what_measures_is_a_difference(plan: Plan) -> None:
    old, new = of(plan), of(plan)
    new["environment"] = copy.deepcopy(new["environment"])
    new["environment"]["driver"]["versions"]["torch"] = "0.1"
    torch = environment.package_versions()["torch"]
    assert differences(old, new) == [f"versions.torch: {torch!r}, now '0.1'"]


def test_another_version_of_a_strategy_from_outside_is_a_difference(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "_SOURCES", {"multi_lora": "outside 1.2"})
    old = of(plan)
    monkeypatch.setattr(strategies, "_SOURCES", {"multi_lora": "outside 1.3"})
    (found,) = differences(old, of(plan))
    assert found.endswith(".strategy_source: 'outside 1.2', now 'outside 1.3'")


def test_all_differences_are_found_and_not_only_the_first(plan: Plan) -> None:
    new = of(dataclasses.replace(plan, rounds=9, margin=0.5), MINE, GlueLengths(1))
    assert len(differences(of(plan), new)) == 4


def test_it_keeps_which_python_had_the_engine_and_another_may_go_on(plan: Plan) -> None:
    asked = ("run-1", plan, GlueLengths(0), MODEL, WORKERS, strategies.all_traits())
    described = describe(*asked, engine_python="/x/python")
    assert Description.model_validate_json(
        json.dumps(described | {"schema_version": 10})
    ).environment.engine_python == ("/x/python")
    assert differences(described, of(plan)) == []
