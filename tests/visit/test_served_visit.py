"""Visits of servers: real processes with real models behind OpenAI's interface, started, checked, timed and ended."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from raybench.cluster.agenda import Agenda, Job
from raybench.deploy import strategies
from raybench.machine.device import CpuDevice
from raybench.model.lengths import Lengths
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import resolve_model
from raybench.plan import file as plan_file
from raybench.schemas import LOADS, SAMPLES
from raybench.serve.answers import Answer
from raybench.store.rows import check_columns, check_nulls
from raybench.visit.messages import Failed, Finished, Loaded, Message, Samples
from raybench.visit.served_times import served
from raybench.visit.spec import VisitSpec
from raybench.visit.visit import run_visit

ENGINE = Path(__file__).with_name("small_engine.py")
OUTPUT = 6
PLAN = """
name = "served"
task_type = "CAUSAL_LM"
rounds = 1
requests = 4
warmups = 1

[workload]
prompt_tokens = 9
output_tokens = {output}

[[servers]]
command = {command}
options = {options}
ready_within_s = 120
answer_within_s = 2
{keys}

[[adapters]]
name = "a{{number}}"
tasks = ["service"]
seeds = [1]
alpha = 64
count = 2
{configurations}
"""
FULL = '\n[[configurations]]\nname = "full"\nstrategy = "full_ft"\ntask = "service"\nseed = 1\n'


def of(name: str, strategy: str, adapters: str) -> str:
    return f'\n[[configurations]]\nname = "{name}"\nstrategy = "{strategy}"\nseed = 1\nadapters = ["{adapters}"]\n'


def spec_of(
    tmp_path: Path,
    configurations: str,
    *options: str,
    keys: str = "",
    output: int = OUTPUT,
    block: str = "",
) -> VisitSpec:
    command = json.dumps([sys.executable, str(ENGINE), "{model}", "{port}", "{key_file}", "{adapters}"])
    path = tmp_path / "plan.toml"
    path.write_text(
        PLAN.format(
            output=output,
            command=command,
            options=json.dumps(options),
            configurations=configurations,
            keys=keys,
        )
    )
    plan, _ = plan_file.load_plan(str(path), strategies.all_traits(), ())
    recipe = Recipe.of("micro-lm", plan)
    model = prepared(resolve_model("micro-lm", "CAUSAL_LM"), recipe)
    agenda = Agenda(Job(plan, Lengths([6, 9, 12], output, 0), model, recipe, "cpu"))
    spec = agenda.next()
    while spec is not None and block and spec.block != block:
        spec = agenda.next()
    assert spec is not None
    return spec


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "cache"))


def visited(
    spec: VisitSpec, *others: int
) -> tuple[list[Message], list[dict[str, Any]], dict[str, dict[str, Any]], dict[str, str]]:
    """All messages; samples; loads, and what failed, by configuration. No server of it is left, besides ``others``."""
    messages = list(run_visit(spec, CpuDevice(), lambda _: None))
    assert isinstance(messages[-1], Finished)
    samples = pa.Table.from_batches([m.batch for m in messages if isinstance(m, Samples)], SAMPLES).to_pylist()
    loads = {m.row["configuration"]: m.row for m in messages if isinstance(m, Loaded)}
    failed = {m.configuration: f"{m.kind}: {m.message}" for m in messages if isinstance(m, Failed)}
    # Of this test: what a server serves is in its cache. A server and its keeper say it.
    left = [p for p in psutil.process_iter() if any(os.environ["RAYBENCH_CACHE"] in word for word in _command(p))]
    assert not [p for p in left if p.pid not in others and not {c.pid for c in p.children()} & {*others}]
    return messages, samples, loads, failed


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_each_way_is_served_checked_and_timed_and_nothing_is_left(tmp_path: Path) -> None:
    beside = of("several", "multi_lora", "a{number}") + of("base", "base_beside_lora", "a{number}")
    spec = spec_of(tmp_path, of("merged", "lora_merged", "a1") + beside)
    messages, samples, loads, failed = visited(spec)
    assert failed == {}
    rows = pa.Table.from_pylist(list(loads.values()), LOADS)
    check_columns("loads", rows.schema, "here")
    check_nulls("loads", rows, "here")
    assert set(loads) == {"merged", "several", "base"}
    assert loads["several"]["load_ns"] == loads["base"]["load_ns"] > 0  # one server serves both
    assert loads["several"]["adapter_bytes"] > loads["merged"]["adapter_bytes"] == 0
    for name in ("merged", "several"):
        assert 0 <= loads[name]["gate_error"] < loads[name]["gate_tolerance"]
        assert loads[name]["adapter_effect"] > 0.01
        assert loads[name]["argmax_agreement"] == 1.0
    assert loads["base"]["adapter_effect"] is None
    timed = [row for row in samples if row["phase"] == "timed"]
    asked = {name: [r["adapter"] for r in timed if r["configuration"] == name] for name in loads}
    assert asked["merged"] == asked["base"] == [None] * 4
    assert sorted(asked["several"]) == ["a1", "a1", "a2", "a2"]
    for row in timed:
        assert row["output_tokens"] == OUTPUT == 1 + len(row["decode_wall_ns"])
        together = sum(step == 1 for step in row["decode_wall_ns"])
        assert 0 <= row["prefill_wall_ns"] + sum(row["decode_wall_ns"]) - row["wall_ns"] <= together
        assert (row["switch_ns"], row["device_ns"]) == (None, None)
    assert messages[-1].row["process_peak_bytes"] > 0  # type: ignore[union-attr]
    servers = json.loads(messages[-1].row["environment"])["servers"]  # type: ignore[union-attr]
    assert [server["metrics"]["asked_total"] > 0 for server in servers] == [True, True]
    assert all(str(ENGINE) in server["command"] for server in servers)
    assert all(row["prompt_tokens"] == row["tokens"] for row in timed)
    assert {row["late_ns"] for row in timed} == {None}


def test_adapters_of_several_tasks_serve_each_its_own(tmp_path: Path) -> None:
    own = '\n[[adapters]]\nname = "{task}"\ntasks = ["sales", "support"]\nseeds = [1]\nalpha = 64\n'
    separate = (
        '\n[[matrix]]\nname = "only_{task}"\nstrategy = "lora_separate"\ntasks = ["sales", "support"]\nseeds = [1]\n'
    )
    both = of("both", "multi_lora", "sales").replace('["sales"]', '["sales", "support"]')
    spec = spec_of(tmp_path, own + both + separate + 'adapters = ["{task}"]\n', block="both")
    _, samples, loads, failed = visited(spec)
    assert failed == {}
    assert set(loads) == {"both", "only_sales", "only_support"}  # the two are guests, on servers of their own
    assert len({row["load_ns"] for row in loads.values()}) == 3
    timed = [row for row in samples if row["phase"] == "timed"]
    served = {(row["configuration"], row["task"], row["adapter"]) for row in timed}
    assert served == {(name, task, task) for task in ("sales", "support") for name in ("both", f"only_{task}")}


def test_a_server_that_leaves_its_adapters_out_is_stopped(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, of("separate", "lora_separate", "a1"), "--fault=base-only")
    _, samples, loads, failed = visited(spec)
    assert failed["separate"].startswith("gate: separate: the server chose token ")
    assert "nats less likely by adapter a1 alone" in failed["separate"]
    assert (samples, loads) == ([], {})


def test_a_server_that_mixes_adapters_up_is_stopped(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, of("several", "multi_lora", "a{number}"), "--fault=sticky")
    _, _, _, failed = visited(spec)
    assert failed["several"].startswith("gate: several: asked again, after others, ")
    assert failed["several"].endswith("the server mixes adapters up")


@pytest.mark.parametrize("fault", ["dies", "leaves"])
def test_a_server_that_ends_fails_what_it_serves_and_the_rest_goes_on(tmp_path: Path, fault: str) -> None:
    spec = spec_of(tmp_path, FULL + of("separate", "lora_separate", "a1"), f"--fault={fault}")
    _, samples, loads, failed = visited(spec)
    assert failed["separate"].startswith("crashed: ServerError: server of separate: died: exit code 3; ")
    assert ("the engine has had enough" in failed["separate"]) == (fault == "dies")
    assert set(loads) == {"full", "separate"}
    assert {row["configuration"] for row in samples if row["phase"] == "timed"} >= {"full"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hangs", "server of separate: the server sent nothing of its answer within 2 s"),
        ("busy", "server of separate: the server refuses: 503: "),
    ],
)
def test_a_server_that_answers_no_more_is_one_failure(tmp_path: Path, fault: str, words: str) -> None:
    _, _, loads, failed = visited(spec_of(tmp_path, of("separate", "lora_separate", "a1"), f"--fault={fault}"))
    assert words in failed["separate"]
    assert set(loads) == {"separate"}


def test_a_key_that_is_refused_is_a_failure_of_what_would_be_served(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, of("separate", "lora_separate", "a1"), "--fault=key")
    _, samples, loads, failed = visited(spec)
    assert "server of separate: the server answered with an error: 401: " in failed["separate"]
    assert (samples, loads) == ([], {})


def test_a_key_in_a_command_is_not_kept(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, FULL)
    servers = tuple(dataclasses.replace(table, command=(*table.command, "--key={key}")) for table in spec.servers)
    spec = dataclasses.replace(spec, servers=servers)
    messages, _, _, failed = visited(spec)
    assert failed == {}
    (server,) = json.loads(messages[-1].row["environment"])["servers"]  # type: ignore[union-attr]
    assert server["command"].endswith(" --key=***")


def test_an_answer_that_is_too_short_is_none(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, of("separate", "lora_separate", "a1"), "--fault=short")
    _, _, _, failed = visited(spec)
    assert "server of separate: 5 tokens came, 6 were asked for" in failed["separate"]


def test_a_server_that_does_not_stream_is_stopped(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, of("separate", "lora_separate", "a1"), "--fault=whole", output=16)
    _, _, _, failed = visited(spec)
    assert failed["separate"].startswith("gate: separate: all tokens of each answer came at once")


def test_tokens_that_came_together_took_no_time_of_their_own() -> None:
    answer = Answer(100, 900, first_ns=200, token_ns=(200, 500, 500, 900), tokens=(1, 2, 1, 1), output_tokens=5)
    found = served(answer)
    assert (found.whole.wall_ns, found.prefill and found.prefill.wall_ns) == (800, 100)
    assert [step.wall_ns for step in found.decode] == [300, 1, 1, 400]
    counted = dataclasses.replace(answer, tokens=(1, 1, 1, 1), output_tokens=6)
    assert [step.wall_ns for step in served(counted).decode] == [300, 1, 400, 1, 1]


def test_a_server_that_does_not_start_fails_what_it_would_serve(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, of("separate", "lora_separate", "a1"))
    command = (sys.executable, "-c", "raise SystemExit('no')", "{adapters}")
    servers = tuple(dataclasses.replace(table, command=command) for table in spec.servers)
    _, _, _, failed = visited(dataclasses.replace(spec, servers=servers))
    assert list(failed) == ["separate"]
    assert "no" in failed["separate"]
