"""In what two runs differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compare.compared_runs import Edit, Make, opened
from raybench.analysis.tables import Tables
from raybench.compare.differences import differences


def test_settings_that_differ_are_named(make: Make, edit: Edit) -> None:
    a = make()

    def other(d: dict[str, Any]) -> None:
        d["plan"]["margin"] = 0.05
        d["model"]["name"] = "macro"
        d["configurations"][2]["dtype"] = "float16"
        d["environment"]["driver"]["versions"]["torch"] = "1.0"
        d["environment"]["driver"]["machine"]["host"] = "elsewhere"

    torch, host = (opened(a).document["environment"]["driver"][k] for k in ("versions", "machine"))
    assert differences(opened(a), opened(edit(a, other))) == [
        "plan.margin: 0.02 in A, 0.05 in B",
        "model.name: 'micro' in A, 'macro' in B",
        "configurations.lora_mrpc_seed42.dtype: 'auto' in A, 'float16' in B",
        f"machine.host: {host['host']} in A, elsewhere in B",
        f"versions.torch: {torch['torch']} in A, 1.0 in B",
    ]


def test_the_workload_is_named_where_it_differs(make: Make, edit: Edit) -> None:
    b = edit(make(), lambda d: d["workload"].update(seed=7))
    assert differences(opened(make()), opened(b)) == ["workload.seed: 0 in A, 7 in B"]


def test_configurations_of_one_run_only_are_named(incomplete_pair: tuple[Path, Path]) -> None:
    a, b = incomplete_pair
    assert differences(opened(a), opened(b))[:2] == [
        "configurations only in A: fullft_old",
        "configurations only in B: fullft_mrpc_seed42",
    ]


def test_devices_and_workers_that_differ_are_named(make: Make, edit: Edit) -> None:
    a, b = make(), make(devices=2)
    worker = {"device": "cpu", "gpu": {"uuid": "GPU-1", "cuda": "12.8"}, "versions": {"torch": "2.13"}}
    newer = {"device": "cpu", "gpu": {"uuid": "GPU-2", "cuda": "13.0"}, "versions": {"torch": "2.13"}}
    a = edit(a, lambda d: d["environment"].update(workers=[worker, worker]))
    b = edit(b, lambda d: d["environment"].update(workers=[worker, newer]))
    assert differences(opened(a), opened(b)) == [
        "gpu.cuda: 12.8 in A, 12.8, 13.0 in B",
        "devices: 1 x fake device in A, 2 x fake device in B",
    ]
    tables = Tables(a)
    tables.connection.execute("CREATE OR REPLACE VIEW visits AS SELECT 'fake device' AS device_name, 'x' AS device")
    assert differences(opened(a), tables) == ["devices: 1 x fake device in both, but not the same ones"]


def test_what_an_older_run_does_not_say_is_what_it_was(make: Make, edit: Edit) -> None:
    def older(d: dict[str, Any]) -> None:
        del d["model"]["task_type"]
        for c in d["configurations"]:
            del c["batch"], c["kv_cache"], c["quantization"], c["dtype"]

    assert differences(opened(make()), opened(edit(make(), older))) == []
    b = edit(make(), lambda d: d["configurations"][0].update(batch=8))
    assert differences(opened(edit(make(), older)), opened(b)) == [
        "configurations.fullft_mrpc_seed42.batch: 1 in A, 8 in B"
    ]


def test_claims_that_differ_are_said_in_words(make: Make, edit: Edit) -> None:
    claims = [{"strategy": "lora_separate", "reference": "full_ft"}, {"strategy": "multi_lora", "reference": "full_ft"}]
    a, b = edit(make(), lambda d: d["plan"].update(claims=claims)), edit(make(), lambda d: d["plan"].update(claims=[]))
    assert differences(opened(a), opened(b)) == [
        "plan.claims: lora_separate against full_ft, multi_lora against full_ft in A, none in B"
    ]
