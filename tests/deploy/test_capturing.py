"""A forward as CUDA graphs, up to the device: captured by recording on a CPU, replayed on other requests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    GPT2ForSequenceClassification,
    LlamaForSequenceClassification,
)

from deploy.forms import LINEAR, adapted, family_folders, name_of, several
from deploy.recorded_graphs import recorded_graphs
from deploy.shapes import difference
from model.family_checkpoints import Family
from model.small_checkpoints import (
    adapter_at,
    bert_config,
    deploying,
    gpt2_config,
    llama_config,
    plan_of,
    save_adapter,
    save_model,
)
from raybench.cluster.agenda import Agenda, Job
from raybench.deploy.capturing import captured
from raybench.deploy.execution import executed
from raybench.deploy.fused_form import fused
from raybench.deploy.remerge_form import remerge
from raybench.deploy.stacked_form import stacked
from raybench.deploy.strategy import Deployment
from raybench.machine.device import CpuDevice
from raybench.model.lengths import Lengths
from raybench.model.prepare import Recipe
from raybench.model.weights import resolve_model
from raybench.records import RaybenchError
from raybench.visit.messages import Failed, Loaded
from raybench.visit.visit import run_visit

__all__ = ["family_folders", "recorded_graphs"]

CLASSIFIERS = [case for case in LINEAR if case.task_type == "SEQ_CLS"]
BY_NAME = {case.name: case for case in CLASSIFIERS}


def inputs(tokens: int, rows: int = 1) -> dict[str, torch.Tensor]:
    """The first row is one token shorter where there are several."""
    ids = torch.randint(4, 56, (rows, tokens), generator=torch.Generator().manual_seed(tokens))
    mask = torch.ones_like(ids)
    if rows > 1:
        ids[0, -1], mask[0, -1] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def check(forward: Any, model: Any, rows: int = 1) -> None:
    """Lengths of two buckets, each replayed after others: all logits are the model's own."""
    for tokens in (12, 5, 20, 16, 12):
        given = inputs(tokens, rows)
        assert difference(forward(**given).logits, model(**given).logits) < 1e-5
    assert len(forward) == 2


@pytest.mark.usefixtures("recorded_graphs")
@pytest.mark.parametrize("case", CLASSIFIERS, ids=name_of)
def test_every_family_is_replayed_as_it_computes(case: Family, family_folders: Any) -> None:
    model = adapted(case, family_folders(case))
    with torch.inference_mode():
        check(captured(model), model)
        check(captured(model), model, rows=3)
        own = fused(model)
        check(captured(own), own)


@pytest.mark.usefixtures("recorded_graphs")
def test_a_switch_that_writes_into_tensors_is_followed(family_folders: Any) -> None:
    case = BY_NAME["llama"]
    base, _ = family_folders(case)
    names = ["one", "other"]
    for form in (stacked, remerge):
        model, switch = form(several(case, base, {name: {} for name in names}), names)
        forward = captured(model)
        found = {}
        with torch.inference_mode():
            forward(**inputs(9))
            for name in (*names, *names):
                switch(name)
                found[name] = forward(**inputs(9)).logits.clone()
                assert difference(found[name], model(**inputs(9)).logits) < 1e-5
        assert len(forward) == 1
        assert difference(found["one"], found["other"]) > 1e-3


@pytest.mark.usefixtures("recorded_graphs")
def test_a_mixed_batch_is_replayed_with_other_adapters_in_its_rows(family_folders: Any) -> None:
    case = BY_NAME["llama"]
    names = ["one", "other"]
    model, switch = stacked(several(case, family_folders(case)[0], {name: {} for name in names}), names)
    forward, given = captured(model), inputs(9, rows=3)
    with torch.inference_mode():
        for rows in (["one", "other", "one"], ["other", "other", "one"]):
            with switch.mixed(rows):
                assert difference(forward(**given).logits, model(**given).logits) < 1e-5
    assert len(forward) == 1


@pytest.mark.usefixtures("recorded_graphs")
def test_mixed_and_not_mixed_batches_have_graphs_of_their_own(family_folders: Any) -> None:
    case = BY_NAME["llama"]
    names = ["one", "other"]
    model, switch = stacked(several(case, family_folders(case)[0], {name: {} for name in names}), names)
    forward, given = captured(model), inputs(9, rows=2)
    with torch.inference_mode():
        for name in names:
            switch(name)
            assert difference(forward(**given).logits, model(**given).logits) < 1e-5
            with switch.mixed(["other", "one"]):
                assert difference(forward(**given).logits, model(**given).logits) < 1e-5
        with switch.mixed([*names, "one"]), pytest.raises(RaybenchError, match="has 2 rows, adapters are named for 3"):
            forward(**given)
    assert len(forward) == 2


@pytest.mark.usefixtures("recorded_graphs")
def test_of_several_adapters_of_peft_none_is_captured(family_folders: Any) -> None:
    case = BY_NAME["llama"]
    model = several(case, family_folders(case)[0], {"one": {}, "other": {}})
    with pytest.raises(RaybenchError, match="keeps the adapter that is active of one, other: stack them first"):
        captured(model)


@pytest.mark.usefixtures("recorded_graphs")
@pytest.mark.parametrize(
    ("made", "config", "tokens"),
    [
        (BertForSequenceClassification, bert_config(max_position_embeddings=40), 38),
        (GPT2ForSequenceClassification, gpt2_config(n_positions=48), 40),
    ],
    ids=["bert", "gpt2"],
)
def test_a_row_is_padded_to_the_last_position_and_no_further(made: Any, config: Any, tokens: int) -> None:
    torch.manual_seed(0)
    model = made(config).eval()
    forward, given = captured(model), inputs(tokens)
    with torch.inference_mode():
        assert difference(forward(**given).logits, model(**given).logits) < 1e-5


@pytest.mark.usefixtures("recorded_graphs")
def test_without_a_token_to_pad_with_it_is_refused() -> None:
    model = LlamaForSequenceClassification(llama_config(num_hidden_layers=1))
    model.config.pad_token_id = None
    with pytest.raises(RaybenchError, match="names no pad_token_id"):
        captured(model)


def test_on_a_cpu_it_is_refused_by_the_configuration_s_name() -> None:
    model = LlamaForSequenceClassification(llama_config(num_hidden_layers=1))
    with pytest.raises(RaybenchError, match=r"^chosen: a CUDA graph is captured on a GPU, the model is on cpu;"):
        executed(Deployment(model, model), deploying(strategy="full_ft", execution="cudagraph"))


@pytest.mark.usefixtures("recorded_graphs")
def test_a_visit_captures_before_it_times_and_says_what_it_took(tmp_path: Path) -> None:
    base = save_model(LlamaForSequenceClassification, llama_config(initializer_range=0.2), tmp_path / "base")
    path = save_adapter(base, tmp_path / "mine", AutoModelForSequenceClassification, 0, task_type="SEQ_CLS")
    usual = deploying(adapter_at(path))
    graph = dataclasses.replace(usual, name="graph", form="fused", execution="cudagraph", role="graph")
    job = Job(plan_of(usual, graph), Lengths([5, 9, 20], None, 0), resolve_model(base), Recipe("", (), ()), "cpu")
    spec = Agenda(job).next()
    assert spec is not None
    messages = list(run_visit(spec, CpuDevice(), lambda _: None))
    assert [m for m in messages if isinstance(m, Failed)] == []
    loads: dict[str, Any] = {m.row["configuration"]: m.row for m in messages if isinstance(m, Loaded)}
    usual_row, row = loads["chosen"], loads["graph"]
    assert (usual_row["compile_ns"], usual_row["compile_bytes"], usual_row["compiled_shapes"]) == (None, None, None)
    assert (row["compiled_shapes"], type(row["compile_bytes"])) == (2, int)
    assert row["compile_ns"] > 0
    assert row["gate_error"] < row["gate_tolerance"]
