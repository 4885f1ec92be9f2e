"""Checkpoints of every family, deployed: greedy tokens are those of ``generate()``, and the gate lets them pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deploy.test_generation import by_generate
from model.family_checkpoints import FAMILIES, LANGUAGE_MODELS, Family
from model.small_checkpoints import adapter_at, deploying
from raybench.deploy.gate import TOLERANCE, Gate
from raybench.deploy.generation import Generator, generate
from raybench.deploy.strategies import Deployment, LoadCosts, deploy
from raybench.machine.device import CpuDevice
from raybench.model.prompts import Prompts, as_tensors
from raybench.model.weights import Weights, resolve_model
from raybench.model.workload import Request

OUTPUT, VOCABULARY = 6, 60


@pytest.fixture(autouse=True)
def _inference() -> Any:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The base and the adapter of a family, made once."""
    made: dict[tuple[str, str], tuple[str, str]] = {}

    def of(case: Family) -> tuple[str, str]:
        key = case.task_type, case.name
        if key not in made:
            made[key] = case.save(tmp_path_factory.mktemp(case.name))
        return made[key]

    return of


def prompts(task_type: Any, batch: int = 2) -> Prompts:
    output = OUTPUT if task_type == "CAUSAL_LM" else 0
    rows = tuple(Request("mrpc", i, 4 + 3 * i) for i in range(batch))
    request = Request("mrpc", 0, sum(r.tokens for r in rows), None, output, rows)
    return as_tensors(request, task_type, "cpu", vocabulary_size=VOCABULARY, pad_token_id=0, avoid=(0, 1, 2))


@pytest.mark.parametrize("case", LANGUAGE_MODELS, ids=lambda f: f.name)
def test_an_adapter_generates_what_peft_alone_does(case: Family, folders: Any) -> None:
    base, path = folders(case)
    adapter = adapter_at(path, r=None, alpha=None, target_modules=None)
    weights = Weights(resolve_model(base, case.task_type), CpuDevice())
    configuration = deploying(adapter)
    model = weights.attach(weights.base(configuration), adapter, configuration)
    asked = prompts(case.task_type)
    tokens = generate(Generator(Deployment(model, model)), asked)
    assert tokens.shape == (2, OUTPUT)
    assert torch.equal(tokens, by_generate(case.plain_peft(base, path), asked))


@pytest.mark.parametrize("strategy", ["lora_separate", "lora_merged"])
@pytest.mark.parametrize("case", FAMILIES, ids=lambda f: f"{f.task_type}-{f.name}")
def test_the_gate_lets_every_family_pass(case: Family, strategy: str, folders: Any) -> None:
    base, path = folders(case)
    configuration = deploying(adapter_at(path, r=None, alpha=None, target_modules=None), strategy=strategy)
    weights = Weights(resolve_model(base, case.task_type), CpuDevice())
    deployment = deploy(configuration, weights, LoadCosts(weights.device))
    found = Gate(weights, {"mrpc": [prompts(case.task_type, 1), prompts(case.task_type, 3)]}, {}).check(
        configuration, deployment
    )
    assert found.effect is not None
    assert found.effect > 1e-3
    if strategy == "lora_merged":
        assert found.error is not None
        assert found.error < TOLERANCE["float32"]
        assert found.agreement == 1.0
