"""Models of every family are loaded as their files say, and compute what transformers and PEFT alone compute."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch

from model.family_checkpoints import FAMILIES, Family, weights_in
from model.small_checkpoints import adapter_at, deploying, logits, plan_of
from raybench.machine.device import CpuDevice
from raybench.model.families import family
from raybench.model.problems import check_files
from raybench.model.weights import Noticed, Weights, resolve_model
from raybench.plan.plan import Adapter, Configuration


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda f: f"{f.task_type}-{f.name}")
def case(request: pytest.FixtureRequest) -> Family:
    chosen: Family = request.param
    return chosen


@pytest.fixture(scope="module")
def folders(case: Family, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return case.save(tmp_path_factory.mktemp(case.name))


def unstated(path: str) -> Adapter:
    return adapter_at(path, r=None, alpha=None, target_modules=None)


def test_a_base_has_the_weights_of_its_files_and_the_logits_of_transformers(
    case: Family, folders: tuple[str, str]
) -> None:
    base, _ = folders
    weights = Weights(resolve_model(base, case.task_type), CpuDevice())
    model: Any = weights.base(deploying())
    found, stored = dict(model.named_parameters()), weights_in(base)
    assert found.keys() == stored.keys()  # of weights that are tied both have one
    assert all(torch.equal(found[name], weight.float()) for name, weight in stored.items())
    plain = case.plain(base)
    assert type(model) is type(plain)
    assert model.config.to_dict() == plain.config.to_dict()
    assert torch.equal(logits(model), logits(plain))
    assert weights.noticed() == Noticed(None, None)
    assert logits(model).shape == ((1, 3) if case.task_type == "SEQ_CLS" else (1, 12, 64))


def test_an_adapter_has_the_logits_of_peft(case: Family, folders: tuple[str, str]) -> None:
    base, path = folders
    weights = Weights(resolve_model(base, case.task_type), CpuDevice())
    adapter = unstated(path)
    configuration = deploying(adapter)
    plain = weights.base(configuration)
    before = logits(plain)
    model = weights.attach(plain, adapter, configuration)
    assert isinstance(model, peft.PeftModel)
    assert torch.equal(logits(model), logits(case.plain_peft(base, path)))
    assert float((logits(model) - before).norm() / before.norm()) > 0.05
    assert not any(module.training for module in model.modules())


def test_its_files_fit_each_other_before_anything_is_started(case: Family, folders: tuple[str, str]) -> None:
    base, path = folders
    configurations = (
        Configuration("full", "full_ft", 0, ("mrpc",)),
        deploying(unstated(path)),
        Configuration("merged", "lora_merged", 0, ("mrpc",), (unstated(path),)),
    )
    found = check_files(plan_of(*configurations, task_type=case.task_type), resolve_model(base, case.task_type), None)
    assert (found.problems, found.notes) == ((), ())
    labels = 3 if case.task_type == "SEQ_CLS" else None
    assert {c.num_labels for c in found.plan.configurations} == {labels}


def test_there_is_a_family_for_each_task_type() -> None:
    classifier, generating = family("SEQ_CLS"), family("CAUSAL_LM")
    assert classifier.class_of("bert") == "BertForSequenceClassification"
    assert generating.class_of("gpt2") == "GPT2LMHeadModel"
    assert classifier.class_of("vit") is generating.class_of("vit") is None
    assert generating.has_class("GPT2LMHeadModel")
    assert generating.has_class("MineForCausalLM")
    assert not generating.has_class("BertForSequenceClassification")
    assert classifier.has_class("MineForSequenceClassification")
