"""What a message means for who watches."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import LlamaForCausalLM

from model.small_checkpoints import llama_config, save_model
from raybench.analysis.tables import Tables, write_views
from raybench.cluster.agenda import Agenda, Job
from raybench.deploy.strategies import all_traits
from raybench.machine.device import CpuDevice
from raybench.model.prepare import Recipe
from raybench.model.weights import resolve_model
from raybench.model.workload import GlueLengths
from raybench.plan.plan import Plan
from raybench.store.store import RunStore
from raybench.sweep.describe import describe
from raybench.sweep.progress import RunProgress
from raybench.sweep.reactions import react
from raybench.sweep.recorder import Recorder
from raybench.visit.messages import Failed, Loaded
from raybench.visit.visit import run_visit
from runs import job_of


def test_what_a_load_found_of_the_model_is_said_once(load_plan: Callable[..., Plan]) -> None:
    agenda = Agenda(job_of(load_plan()))
    spec = agenda.next()
    assert spec is not None
    log = io.StringIO()
    recorder: Any = None  # nothing is recorded of a load before its visit is over
    nothing = dict.fromkeys(("random_weights", "unused_adapter", "adapter_effect", "gate_tolerance"))
    weak = {"adapter_effect": 1e-5, "gate_tolerance": 1e-4}
    with RunProgress(Console(file=log, width=200), total=1, rounds=1, clock=lambda: 0.0) as progress:
        for found in (
            {"random_weights": "base: score.weight"},
            {"random_weights": "base: score.weight"} | weak,
            {"unused_adapter": "/models/mine"},
            {},
            {"random_weights": "base: score.weight", "unused_adapter": "/models/mine"},
        ):
            react(spec, Loaded({"configuration": "one"} | nothing | found), agenda, recorder, progress)
    assert log.getvalue().splitlines() == [
        "[00:00] Caution: base has no score.weight: drawn at random, the same for all",
        "[00:00] Caution: /models/mine holds an adapter beside the model: the model was loaded without it",
    ]


def test_what_several_failed_of_is_said_once_and_without_where_in_the_code(load_plan: Callable[..., Plan]) -> None:
    agenda = Agenda(job_of(load_plan()))
    spec = agenda.next()
    assert spec is not None
    log = io.StringIO()
    recorder: Any = None
    names = [c.name for c in spec.configurations]
    with RunProgress(Console(file=log, width=200), total=1, rounds=1, clock=lambda: 0.0) as progress:
        for name in names:
            react(spec, Failed(name, "error", "RuntimeError: no luck (x.py:7)"), agenda, recorder, progress)
    first, *others = log.getvalue().splitlines()
    assert first == f"[00:00] {names[0]} failed in {spec.visit} (error): RuntimeError: no luck"
    assert others == [f"[00:00] {name} failed in {spec.visit} (error): as said above" for name in names[1:]]
    assert len(others) == 2


def test_what_loading_found_becomes_a_caution_of_the_tables(load_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan = load_plan(rounds=1, requests=2)
    model = resolve_model(save_model(LlamaForCausalLM, llama_config(vocab_size=1024), tmp_path / "base"))
    job = Job(plan, GlueLengths(0), model, Recipe("", (), ()), "cpu")
    spec = Agenda(job).next()
    assert spec is not None
    description = describe("run", plan, job.workload, model, [], all_traits())
    with RunStore.create(tmp_path, "run", description) as store:
        write_views(store.root)
        recorder = Recorder(store)
        for message in run_visit(spec, CpuDevice(), lambda index: None):
            recorder.add(spec, message)
        recorder.commit()
    (caution,) = Tables(tmp_path / "run").rows("FROM cautions WHERE code = 'random_weights'")
    assert caution["configuration"] is None
    assert caution["message"] == "base has no score.weight: drawn at random, the same for all"
