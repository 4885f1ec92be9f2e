"""Plans on real engines: a visit in which a server is killed in a turn, and a sweep from checkpoints to verdicts."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from engines.engines import clean_machine, python_of
from raybench.analysis.tables import Tables
from raybench.cluster.agenda import Agenda, Job
from raybench.deploy import strategies
from raybench.machine.device import CpuDevice
from raybench.model.lengths import Lengths
from raybench.model.prepare import Recipe, prepared
from raybench.model.weights import resolve_model
from raybench.plan import file as plan_file
from raybench.schemas import SAMPLES
from raybench.visit.messages import Failed, Finished, Loaded, Message, Samples
from raybench.visit.spec import VisitSpec
from raybench.visit.visit import run_visit

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

OUTPUT = 6
PLAN = """
name = "killed"
task_type = "CAUSAL_LM"
rounds = 1
requests = 16
warmups = 1
[workload]
prompt_tokens = 40
output_tokens = {output}
[[servers]]
preset = "{engine}"
python = "{python}"
{keys}
[[adapters]]
name = "a{{number}}"
tasks = ["service"]
seeds = [1]
alpha = 64
count = 2
[[configurations]]
name = "merged"
strategy = "lora_merged"
seed = 1
adapters = ["a1"]
[[configurations]]
name = "several_{{load}}"
strategy = "multi_lora"
seed = 1
adapters = ["a{{number}}"]
concurrency = [1, 4]
[[configurations]]
name = "base_{{load}}"
strategy = "base_beside_lora"
seed = 1
adapters = ["a{{number}}"]
concurrency = [1, 4]
"""
KEYS = {
    "vllm": "cores = [[0]]\nkv_cache_gib = 1\neager = true\nstreams = 4\nload_adapters = true",
    "llama.cpp": "cores = [[0]]\nstreams = 4",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "cache"))


def spec_of(tmp_path: Path, engine: str) -> VisitSpec:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.format(engine=engine, python=python_of(engine), keys=KEYS[engine], output=OUTPUT))
    plan, _ = plan_file.load_plan(str(path), strategies.all_traits(), ())
    recipe = Recipe.of("small-lm", plan)
    model = prepared(resolve_model("small-lm", "CAUSAL_LM"), recipe)
    spec = Agenda(Job(plan, Lengths([40], OUTPUT, 0), model, recipe, "cpu")).next()
    assert spec is not None
    return spec


def pid_of_merged() -> int:
    """Of the server of the merged model, the one that has no adapters: its own first process."""
    for process in psutil.Process().children(recursive=True):
        words = process.cmdline()
        settings = Path(process.cwd(), "settings.json")
        if "keeper.py" in " ".join(words):
            continue
        if "vllm.entrypoints.openai.api_server" in words and "--enable-lora" not in words:
            return process.pid
        if settings.exists() and json.loads(settings.read_text())["adapters"] == []:
            return process.pid
    raise AssertionError("there is no server of the merged model")


@pytest.mark.parametrize("engine", ["llama.cpp", "vllm"])
def test_a_server_that_is_killed_in_a_turn_is_one_failure_and_the_rest_goes_on(tmp_path: Path, engine: str) -> None:
    spec = spec_of(tmp_path, engine)
    messages: list[Message] = []
    with clean_machine():
        for message in run_visit(spec, CpuDevice(), lambda _: None):
            if isinstance(message, Samples) and not any(isinstance(one, Samples) for one in messages):
                os.kill(pid_of_merged(), signal.SIGKILL)
            messages.append(message)
    failed = {m.configuration: f"{m.kind}: {m.message}" for m in messages if isinstance(m, Failed)}
    # vLLM 0.32 on a CPU answers a request for the base by an adapter where the batch has requests for adapters, too.
    wrong = {"base_c4"} if engine == "vllm" else set()
    assert set(failed) == {"merged"} | wrong, failed
    assert all(failed[name].startswith(f"gate: {name}: the server chose token ") for name in wrong)
    assert failed["merged"].startswith("killed: ServerError: server of merged: died: signal SIGKILL; ")
    loads = {m.row["configuration"]: m.row for m in messages if isinstance(m, Loaded)}
    assert set(loads) == {"merged", "several_c1", "several_c4", "base_c1", "base_c4"} - wrong
    for row in loads.values():
        assert 0 <= row["gate_error"] < row["gate_tolerance"]
        assert (row["adapter_add_ns"] is not None) == (engine == "vllm" and row["configuration"] != "merged")
    samples = pa.Table.from_batches([m.batch for m in messages if isinstance(m, Samples)], SAMPLES).to_pylist()
    for name in ("several_c1", "several_c4", "base_c1"):
        timed = [row for row in samples if row["configuration"] == name and row["phase"] == "timed"]
        assert sorted(row["request"] for row in timed) == list(range(16))
        assert {(row["prompt_tokens"], row["cached_tokens"] or 0, row["output_tokens"]) for row in timed} == {
            (40, 0, OUTPUT)
        }
    assert isinstance(messages[-1], Finished)
    (first, *_) = json.loads(messages[-1].row["environment"])["servers"]
    assert first["versions"]
    assert first["metrics"]


@pytest.mark.parametrize(("engine", "plan"), [("llama.cpp", "served-llama"), ("vllm", "served")])
def test_a_sweep_goes_from_checkpoints_to_verdicts(tmp_path: Path, engine: str, plan: str) -> None:
    words = [sys.executable, "-m", "raybench.sweep", "--plan", plan, "--engine-python", python_of(engine)]
    size = ["--rounds", "1", "--requests", "4", "--results", str(tmp_path / "runs"), "--run-id", "mine"]
    with clean_machine(beside=("ray", f"torchinductor_{getpass.getuser()}")) as temporary:
        done = subprocess.run(
            [*words, *size],
            env={**os.environ, "TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "5 of 5 configurations complete." in done.stdout
    tables = Tables(tmp_path / "runs" / "mine")
    compared: list[dict[str, Any]] = tables.rows("SELECT DISTINCT deployment, reference_deployment FROM by_strategy")
    assert {"deployment": "Base beside LoRA (2)", "reference_deployment": "Full FT"} in compared
    measured = {row["measure"] for row in tables.rows("SELECT DISTINCT measure FROM by_strategy")}
    assert measured == {"ttft", "tpot", "end_to_end"}
