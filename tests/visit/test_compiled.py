"""A visit with a compiled configuration: compiled before anything is timed, and what it took is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

from model.small_checkpoints import adapter_at, deploying, llama_config, plan_of, save_adapter, save_model
from raybench.cluster.agenda import Agenda, Job
from raybench.machine.device import CpuDevice
from raybench.model.lengths import Lengths
from raybench.model.prepare import Recipe
from raybench.model.weights import resolve_model
from raybench.schemas import SAMPLES
from raybench.visit.messages import Calibrated, Counted, Failed, Finished, Loaded, Message, Samples
from raybench.visit.visit import run_visit


@pytest.fixture
def messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    monkeypatch.setenv("RAYBENCH_CACHE", str(tmp_path / "cache"))
    base = save_model(
        LlamaForSequenceClassification, llama_config(initializer_range=0.2, num_hidden_layers=1), tmp_path / "base"
    )
    path = save_adapter(base, tmp_path / "mine", AutoModelForSequenceClassification, 0, task_type="SEQ_CLS")
    usual = deploying(adapter_at(path))
    compiled = dataclasses.replace(usual, name="compiled", form="fused", execution="compile", role="compiled")
    job = Job(plan_of(usual, compiled), Lengths([5, 9, 12], None, 0), resolve_model(base), Recipe("", (), ()), "cpu")
    spec = Agenda(job).next()
    assert spec is not None
    return list(run_visit(spec, CpuDevice(), lambda _: None))


def test_it_is_compiled_first_and_then_serves_as_it_is(messages: list[Message], tmp_path: Path) -> None:
    assert [m for m in messages if isinstance(m, Failed)] == []
    assert isinstance(messages[-1], Finished)
    loads: dict[str, Any] = {m.row["configuration"]: m.row for m in messages if isinstance(m, Loaded)}
    assert (loads["chosen"]["compile_ns"], loads["chosen"]["form_ns"]) == (None, None)
    assert loads["compiled"]["compile_ns"] > 0
    assert loads["compiled"]["form_ns"] > 0
    assert loads["compiled"]["gate_error"] < loads["compiled"]["gate_tolerance"]
    counted = {row["configuration"]: row for m in messages if isinstance(m, Counted) for row in m.rows}
    eager, compiled = counted["chosen"], counted["compiled"]
    assert (eager["generated"], eager["not_counted"]) == (0, None)
    assert compiled["not_counted"] == "bytes are those of the uncompiled model: compiled, less is moved"
    assert 0 < compiled["generated"] < compiled["operations"] < eager["operations"]
    assert compiled["attention"] == eager["attention"] > 0
    assert compiled["instructions"] < eager["instructions"]
    samples = pa.Table.from_batches([m.batch for m in messages if isinstance(m, Samples)], SAMPLES).to_pylist()
    timed = [row["configuration"] for row in samples if row["phase"] == "timed"]
    assert (timed.count("chosen"), timed.count("compiled")) == (10, 10)
    kept = {folder.name for folder in (tmp_path / "cache" / "compiled").iterdir()}
    assert kept - {".instruction-sets"} == {"compiled", ".calibration"}
    calibrated = {m.row["place"]: m.row for m in messages if isinstance(m, Calibrated)}
    assert (calibrated["before"]["generated_ns"], calibrated["after"]["not_calibrated"]) == (None, None)
    assert calibrated["after"]["generated_ns"] > 0
