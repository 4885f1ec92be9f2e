"""The gate lets the real deployments pass, and stops those that went wrong as they do go wrong."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from model.small_checkpoints import adapter_at, deploying, llama_config, save_adapter, save_model
from raybench.deploy.gate import TOLERANCE, Gate, GateError, GateResult
from raybench.deploy.strategies import Deployment, LoadCosts, deploy
from raybench.machine.device import CpuDevice
from raybench.model.adapters import peft_name
from raybench.model.prepare import Recipe, prepared
from raybench.model.prompts import Prompts, as_tensors
from raybench.model.weights import Weights, resolve_model
from raybench.model.workload import GlueLengths
from raybench.plan.plan import Configuration, Plan
from raybench.records import RaybenchError

DTYPES = ["float32", "bfloat16"]
NAMES = ["fullft_mrpc_seed42", "lora_mrpc_seed42", "lora_merged_mrpc_seed42", "multi_lora_2_adapters"]


class Counted(Weights):
    """Counts the base models that were loaded."""

    loads = 0

    def base(self, configuration: Configuration) -> torch.nn.Module:
        self.loads += 1
        return super().base(configuration)


@pytest.fixture
def plan(load_plan: Callable[..., Plan]) -> Plan:
    return load_plan()


@pytest.fixture
def weights(plan: Plan) -> Counted:
    return Counted(prepared(resolve_model("micro"), Recipe.of("micro", plan)), CpuDevice())


@pytest.fixture(scope="module")
def probes() -> Mapping[str, list[Prompts]]:
    def probe(task: str, index: int) -> Prompts:
        request = GlueLengths(0).request(task, index)
        return as_tensors(request, "SEQ_CLS", "cpu", vocabulary_size=1024, pad_token_id=0)

    return {task: [probe(task, i) for i in range(2)] for task in ("mrpc", "sst2")}


@pytest.fixture(autouse=True)
def _inference() -> Any:
    with torch.inference_mode():
        yield


def named(plan: Plan, chosen: str, **changes: Any) -> Configuration:
    return dataclasses.replace(next(c for c in plan.configurations if c.name == chosen), **changes)


def up(configuration: Configuration, weights: Weights) -> Deployment:
    return deploy(configuration, weights, LoadCosts(weights.device))


def adapted(configuration: Configuration, weights: Weights, adapter: int = 0) -> Any:
    return weights.attach(weights.base(configuration), configuration.adapters[adapter], configuration)


@pytest.mark.parametrize("adapter_dtype", ["float32", "same"])
@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_the_real_deployments_pass(
    plan: Plan, weights: Weights, probes: Any, name: str, dtype: str, adapter_dtype: str
) -> None:
    configuration = named(plan, name, dtype=dtype, adapter_dtype=adapter_dtype)
    result = Gate(weights, probes, {}).check(configuration, up(configuration, weights))
    if name == "fullft_mrpc_seed42":
        assert result == GateResult(None, None, None)
        return
    assert result.effect is not None
    assert 0.2 < result.effect < 1
    if name == "lora_mrpc_seed42":
        assert result == GateResult(None, None, result.effect)
    else:
        assert result.tolerance == TOLERANCE[dtype]
        assert result.error is not None
        assert result.error < result.tolerance
        # A merge rounds, so something differs; an adapter beside another is computed as alone.
        assert (result.error > 0) == (name == "lora_merged_mrpc_seed42")


def test_the_effect_is_the_error_had_the_adapter_not_been_applied(plan: Plan, weights: Weights, probes: Any) -> None:
    """So an effect below the tolerance says that the gate could not have told."""
    effects = {
        name: Gate(weights, probes, {}).check(named(plan, name), up(named(plan, name), weights)).effect
        for name in ("lora_mrpc_seed42", "lora_sst2_seed42", "lora_merged_mrpc_seed42", "multi_lora_2_adapters")
    }
    separate = [effects["lora_mrpc_seed42"], effects["lora_sst2_seed42"]]
    assert effects["lora_merged_mrpc_seed42"] == separate[0]
    assert effects["multi_lora_2_adapters"] == min(separate)
    configuration = named(plan, "lora_merged_mrpc_seed42")
    model = never_merged(configuration, weights).eval()
    with pytest.raises(GateError, match=rf"alone by {separate[0]:.3g} \(relative"):
        Gate(weights, probes, {}).check(configuration, Deployment(model, model))


# Adapters that change nothing


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("strategy", ["lora_separate", "lora_merged", "multi_lora"])
def test_an_adapter_that_was_never_trained_is_stopped(
    weights: Counted, probes: Any, strategy: str, use_dora: bool, dtype: str, tmp_path: Path
) -> None:
    """A fresh DoRA adapter changes logits of a short type, by rounding."""
    base = str(Path(weights.spec.location or "", "base"))
    trained = adapter_at(save_adapter(base, tmp_path / "trained"), "trained", task="sst2")
    settings: dict[str, Any] = {"init_lora_weights": True, "use_dora": use_dora}
    fresh = adapter_at(save_adapter(base, tmp_path / "fresh", **settings), "fresh")
    adapters = (trained, fresh) if strategy == "multi_lora" else (fresh,)
    configuration = deploying(*adapters, strategy=strategy, dtype=dtype)
    with pytest.raises(GateError) as caught:
        Gate(weights, probes, {}).check(configuration, up(configuration, weights))
    told = re.fullmatch(
        r"chosen: adapter fresh changes nothing: with it and without it the first probe has logits (\[.*\]); its LoRA "
        r"weights are 0, as in one that was never trained, or do not reach the logits",
        str(caught.value),
    )
    assert told is not None


def test_another_head_alone_is_no_effect(weights: Counted, probes: Any, tmp_path: Path) -> None:
    base = str(Path(weights.spec.location or "", "base"))
    adapter = adapter_at(save_adapter(base, tmp_path / "fresh", init_lora_weights=True))
    configuration = deploying(adapter)
    deployment = up(configuration, weights)
    plain = weights.base(configuration)(**probes["mrpc"][0].values).logits
    assert not torch.equal(deployment.forward(**probes["mrpc"][0].values).logits, plain)
    with pytest.raises(GateError, match="adapter mine changes nothing"):
        Gate(weights, probes, {}).check(configuration, deployment)


def test_a_head_of_zeros_is_stopped_as_what_it_is(plan: Plan, weights: Weights, probes: Any) -> None:
    configuration = named(plan, "lora_mrpc_seed42")
    deployment = up(configuration, weights)
    deployment.model.base_model.model.score.modules_to_save["mrpc_seed42"].weight.zero_()
    with pytest.raises(GateError, match=r"lora_mrpc_seed42: adapter mrpc_seed42 gives logits of 0 alone, .*the head"):
        Gate(weights, probes, {}).check(configuration, deployment)


def test_a_separate_deployment_is_as_it_was_after_its_check(plan: Plan, weights: Weights, probes: Any) -> None:
    configuration = named(plan, "lora_mrpc_seed42")
    deployment = up(configuration, weights)
    before = deployment.forward(**probes["mrpc"][0].values).logits
    Gate(weights, probes, {}).check(configuration, deployment)
    assert torch.equal(deployment.forward(**probes["mrpc"][0].values).logits, before)
    assert not any(parameter.requires_grad for parameter in deployment.model.parameters())


# A base without a head


@pytest.mark.parametrize("strategy", ["lora_merged", "multi_lora"])
def test_adapters_on_a_language_model_pass(strategy: str, probes: Any, tmp_path: Path) -> None:
    """Its head is drawn, the same for the deployment and for what it is compared with; the adapters bring none."""
    base = save_model(LlamaForCausalLM, llama_config(vocab_size=1024), tmp_path / "base")
    weights = Weights(resolve_model(base), CpuDevice())
    adapters = [
        adapter_at(save_adapter(base, tmp_path / task, seed=seed, task_type=None), task, task=task)
        for seed, task in enumerate(("mrpc", "sst2"))
    ]
    used = adapters if strategy == "multi_lora" else adapters[:1]
    configuration = deploying(*used, strategy=strategy)
    result = Gate(weights, probes, {}).check(configuration, up(configuration, weights))
    assert result.error is not None
    assert result.error < 1e-5
    assert result.effect is not None
    assert result.effect > 1e-3


# An adapter that takes its first weights out of the base


@pytest.mark.parametrize("strategy", ["lora_separate", "lora_merged"])
@pytest.mark.parametrize("trained", [True, False])
def test_the_effect_of_an_adapter_that_changes_the_base_is_told_by_the_base_as_it_was(
    strategy: str, trained: bool, probes: Any, tmp_path: Path
) -> None:
    """What is left of the base differs by far from both, also where the adapter has learned nothing."""
    shape = llama_config(vocab_size=1024, initializer_range=0.2)
    base = save_model(LlamaForSequenceClassification, shape, tmp_path / "base")
    path = save_adapter(base, tmp_path / "adapter", init_lora_weights="pissa")
    file = Path(path, "adapter_model.safetensors")
    stored = load_file(file)
    if trained:
        draws = torch.Generator().manual_seed(0)
        moved = {n: w + 0.05 * torch.randn(w.shape, generator=draws) for n, w in stored.items() if ".lora_" in n}
        save_file(stored | moved, file, {"format": "pt"})
    weights = Counted(resolve_model(base), CpuDevice())
    configuration = deploying(adapter_at(path), strategy=strategy)
    deployment = up(configuration, weights)
    result = Gate(weights, probes, {}).check(configuration, deployment)
    assert weights.loads == (2 if strategy == "lora_separate" else 3)
    plain: Any = weights.base(configuration)
    plain.score.weight.copy_(stored["base_model.model.score.weight"])
    with_it, without = (
        torch.cat([model.forward(**probe.values).logits for probe in probes["mrpc"]])
        for model in (up(deploying(adapter_at(path)), weights), Deployment(plain, plain))
    )
    assert result.effect == pytest.approx(float((with_it - without).norm() / with_it.norm()), rel=1e-4, abs=1e-7)
    assert result.effect is not None
    assert result.effect > 1e-3 if trained else result.effect < 1e-5
    if strategy == "lora_merged":
        assert result.error is not None
        assert result.error < 1e-5


# What goes wrong with one merged adapter: each makes a deployment out of the configuration.


def merged_twice(configuration: Configuration, weights: Weights) -> Any:
    """Merged into a base that had it already."""
    once = adapted(configuration, weights).merge_and_unload()
    return weights.attach(once, configuration.adapters[0], configuration).merge_and_unload()


def alpha_doubled(configuration: Configuration, weights: Weights) -> Any:
    return _scaled(configuration, weights, 2.0)


def alpha_halved(configuration: Configuration, weights: Weights) -> Any:
    return _scaled(configuration, weights, 0.5)


def _scaled(configuration: Configuration, weights: Weights, factor: float) -> Any:
    model = adapted(configuration, weights)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.scaling[peft_name(configuration.adapters[0].name)] *= factor
    return model.merge_and_unload()


def never_merged(configuration: Configuration, weights: Weights) -> Any:
    """Unloaded instead of merged: the base is served."""
    return adapted(configuration, weights).unload()


def one_layer_missed(configuration: Configuration, weights: Weights) -> Any:
    model = adapted(configuration, weights)
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    layers[-1].lora_B[peft_name(configuration.adapters[0].name)].weight.zero_()
    return model.merge_and_unload()


def subtracted(configuration: Configuration, weights: Weights) -> Any:
    """Unmerged from a base that never had it."""
    return _scaled(configuration, weights, -1.0)


WRONG = [merged_twice, alpha_doubled, alpha_halved, never_merged, subtracted]


# bfloat16's own error of a merge is as large as one layer of sixteen.
@pytest.mark.parametrize(
    ("sabotage", "dtype"), [(one_layer_missed, "float32"), *((s, dtype) for s in WRONG for dtype in DTYPES)]
)
def test_a_wrong_merge_is_stopped_with_the_numbers(
    plan: Plan, weights: Weights, probes: Any, sabotage: Callable[..., Any], dtype: str
) -> None:
    configuration = named(plan, "lora_merged_mrpc_seed42", dtype=dtype)
    model = sabotage(configuration, weights).eval()
    with pytest.raises(GateError) as caught:
        Gate(weights, probes, {}).check(configuration, Deployment(model, model))
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert message.startswith("lora_merged_mrpc_seed42: logits differ from adapter mrpc_seed42 alone by ")
    told = re.search(r"by (\S+) \(relative; tolerance (\S+)\), first probe (\[.*\]) instead of (\[.*\])$", message)
    assert told is not None
    assert float(told[1]) > float(told[2]) == TOLERANCE[dtype]
    # The numbers are those of the two deployments.
    values = probes["mrpc"][0].values
    right = adapted(configuration, weights)
    for text, deployed in ((told[3], model), (told[4], right)):
        shown = [float(number) for number in text.strip("[]").split(", ")]
        assert shown == pytest.approx(deployed(**values).logits.float()[0].tolist(), abs=6e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_another_adapter_in_its_place_is_stopped(plan: Plan, weights: Weights, probes: Any, dtype: str) -> None:
    configuration = named(plan, "lora_merged_mrpc_seed42", dtype=dtype)
    wrong = up(named(plan, "lora_merged_sst2_seed42", dtype=dtype), weights)
    with pytest.raises(GateError, match="lora_merged_mrpc_seed42: logits differ from adapter mrpc_seed42"):
        Gate(weights, probes, {}).check(configuration, wrong)


# What goes wrong with several: which adapter is active.


def never(model: Any, names: list[str]) -> Callable[[str], None]:
    return lambda name: None


def always_the_last(model: Any, names: list[str]) -> Callable[[str], None]:
    return lambda name: model.set_adapter(peft_name(names[-1]), inference_mode=True)


def the_other(model: Any, names: list[str]) -> Callable[[str], None]:
    return lambda name: model.set_adapter(peft_name(names[1 - names.index(name)]), inference_mode=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("switch", "adapter"), [(never, "sst2"), (always_the_last, "mrpc"), (the_other, "mrpc")])
def test_a_wrong_adapter_active_is_stopped(
    plan: Plan, weights: Weights, probes: Any, switch: Callable[..., Any], adapter: str, dtype: str
) -> None:
    configuration = named(plan, "multi_lora_2_adapters", dtype=dtype)
    model = up(configuration, weights).model
    model.set_adapter(peft_name("mrpc_seed42"), inference_mode=True)
    deployment = Deployment(model, model, switch(model, ["mrpc_seed42", "sst2_seed42"]))
    with pytest.raises(GateError, match=rf"logits differ from adapter {adapter}_seed42 alone by 0\.\d+ .*instead of"):
        Gate(weights, probes, {}).check(configuration, deployment)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_resident_adapter_that_another_overwrote_is_stopped(
    plan: Plan, weights: Weights, probes: Any, dtype: str
) -> None:
    configuration = named(plan, "multi_lora_2_adapters", dtype=dtype)
    deployment = up(configuration, weights)
    mrpc, sst2 = peft_name("mrpc_seed42"), peft_name("sst2_seed42")
    for module in deployment.model.modules():
        if hasattr(module, "lora_A"):
            module.lora_B[sst2].weight.copy_(module.lora_B[mrpc].weight)
            module.lora_A[sst2].weight.copy_(module.lora_A[mrpc].weight)
    with pytest.raises(GateError, match="logits differ from adapter sst2_seed42 alone"):
        Gate(weights, probes, {}).check(configuration, deployment)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_head_that_does_not_follow_its_adapter_is_stopped(
    plan: Plan, weights: Weights, probes: Any, dtype: str
) -> None:
    configuration = named(plan, "multi_lora_2_adapters", dtype=dtype)
    model = up(configuration, weights).model

    def lora_only(name: str) -> None:
        model.set_adapter(peft_name(name), inference_mode=True)
        model.base_model.model.score.set_adapter(peft_name("mrpc_seed42"))

    with pytest.raises(GateError, match="logits differ from adapter sst2_seed42 alone"):
        Gate(weights, probes, {}).check(configuration, Deployment(model, model, lora_only))


# Weights that are no numbers


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_no_numbers_are_stopped_in_every_strategy(
    plan: Plan, weights: Weights, probes: Any, name: str, dtype: str, value: float
) -> None:
    configuration = named(plan, name, dtype=dtype)
    deployment = up(configuration, weights)
    next(p for n, p in deployment.model.named_parameters() if "layers.3" in n and "v_proj" in n)[0] = value
    with pytest.raises(GateError, match=rf"{name}: logits are not finite on task mrpc: \[nan, nan\]"):
        Gate(weights, probes, {}).check(configuration, deployment)


# What it is compared with


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_blocks_own_separate_deployment_is_the_reference_where_there_is_one(
    plan: Plan, weights: Counted, probes: Any, dtype: str
) -> None:
    separate = named(plan, "lora_mrpc_seed42", dtype=dtype)
    merged = named(plan, "lora_merged_mrpc_seed42", dtype=dtype)
    loaded = {c.name: (c, up(c, weights)) for c in (separate, merged)}
    before = weights.loads
    assert Gate(weights, probes, loaded).check(merged, loaded[merged.name][1]).error is not None
    assert weights.loads == before
    assert Gate(weights, probes, {}).check(merged, loaded[merged.name][1]).error is not None
    assert weights.loads == before + 1


@pytest.mark.parametrize("change", [{"dtype": "bfloat16"}, {"adapter_dtype": "same"}])
def test_a_separate_deployment_of_another_type_is_no_reference(
    plan: Plan, weights: Counted, probes: Any, change: dict[str, str]
) -> None:
    separate = named(plan, "lora_mrpc_seed42", **change)
    merged = named(plan, "lora_merged_mrpc_seed42", dtype="float32")
    loaded = {c.name: (c, up(c, weights)) for c in (separate, merged)}
    before = weights.loads
    result = Gate(weights, probes, loaded).check(merged, loaded[merged.name][1])
    assert weights.loads == before + 1
    assert result.tolerance == TOLERANCE["float32"]


def test_a_gate_error_is_a_problem_of_the_run_and_not_of_the_input() -> None:
    assert issubclass(GateError, RaybenchError)
    assert GateError.exit_code == 1
