"""Batches whose rows are of several adapters: each row as its adapter gives it alone, or refused by name before Ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.shapes import answers, difference, read_from, rows, save_adapter_of, save_shape, task_type, up
from model.small_checkpoints import deploying
from model.test_problems import plan_of
from raybench.deploy import strategies
from raybench.deploy.strategies import Deployment
from raybench.model.problems import check_files
from raybench.model.weights import resolve_model
from raybench.model.workload import glue_tasks
from raybench.plan import file as plan_file
from raybench.records import InputError, SeveralProblemsError

NAMES = ["a", "b", "b", "a"]
Q = {"target_modules": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, Any]]:
    """Of a shape and the settings of its adapters "a" and "b": the base and a configuration that mixes them."""
    bases: dict[str, str] = {}

    def made(shape: str, *settings: dict[str, Any]) -> tuple[str, Any]:
        if shape not in bases:
            bases[shape] = save_shape(shape, tmp_path_factory.mktemp(shape))
        folder = tmp_path_factory.mktemp("adapters")
        adapters = [
            read_from(save_adapter_of(shape, bases[shape], folder / name, seed, **given), name)
            for seed, (name, given) in enumerate(zip("ab", settings * (3 - len(settings)), strict=True))
        ]
        return bases[shape], deploying(*adapters, strategy="multi_lora", routing="mixed", batch=4)

    return made


def problems(base: str, shape: str, configuration: Any) -> tuple[str, ...]:
    plan = dataclasses.replace(plan_of(configuration), task_type=task_type(shape))
    return check_files(plan, resolve_model(base, task_type(shape)), None).problems


def mixed_rows(deployment: Deployment, names: list[str] = NAMES) -> torch.Tensor:
    assert deployment.mixed is not None
    with deployment.mixed(names):
        return answers(deployment)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ("llama", Q),
        ("llama", Q | {"task_type": None}),
        ("bert", {"target_modules": ["query"]}),
        ("gpt2", {"target_modules": ["c_attn"]}),
        ("llama-lm", Q | {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}),
        ("llama-lm", Q | {"lora_bias": True}),
        ("llama-lm", {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
        ("llama-lm", Q | {"modules_to_save": ["embed_tokens", "lm_head"]}),
        ("gpt2-lm", {"target_modules": ["c_attn", "wte"]}),
        ("gemma3-lm", Q | {"trainable_token_indices": [1, 5, 7]}),
    ],
)
def test_each_row_is_as_its_adapter_gives_it_alone(make: Any, shape: str, settings: dict[str, Any]) -> None:
    base, configuration = make(shape, settings)
    assert problems(base, shape, configuration) == ()
    alone = {a.name: answers(up(deploying(a), base, shape)) for a in configuration.adapters}
    assert difference(alone["a"], alone["b"]) > 0.1
    deployment = up(configuration, base, shape)
    assert deployment.switch is None
    expected = torch.stack([alone[name][i] for i, name in enumerate(NAMES)])
    for active in "ab":  # whichever was active before
        deployment.model.set_adapter(active)
        assert difference(mixed_rows(deployment), expected) < 1e-6
        assert difference(answers(deployment), alone[active]) < 1e-6


@pytest.mark.parametrize(
    ("shape", "settings", "why"),
    [
        ("llama-lm", [Q | {"use_dora": True}], "adapter a is a DoRA adapter (use_dora)"),
        (
            "mixtral-lm",
            [{"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}],
            "adapter a changes parameters of experts (target_parameters)",
        ),
        (
            "llama-lm",
            [Q | {"modules_to_save": ["norm"]}],
            "adapter a brings its own model.norm, which is no single layer with a matrix",
        ),
        (
            "roberta",
            [{"target_modules": ["query"]}],
            "adapter a brings its own classifier, which is no single layer with a matrix",
        ),
        (
            "llama",
            [Q, Q | {"task_type": None}],
            "adapter a brings its own score, adapter b does not, and PEFT takes none for its rows",
        ),
        (
            "llama-lm",
            [Q, Q | {"trainable_token_indices": [3]}],
            "adapter b brings its own model.embed_tokens, adapter a does not, and PEFT takes none for its rows",
        ),
    ],
)
def test_what_peft_cannot_mix_is_refused_by_name_where_peft_raises(
    make: Any, shape: str, settings: list[dict[str, Any]], why: str
) -> None:
    base, configuration = make(shape, *settings)
    assert problems(base, shape, configuration)[0] == (
        f"configuration chosen: {why}: PEFT computes no batch of several adapters with it (adapter_names); take "
        'routing = "round_robin"'
    )
    in_turn = deploying(*configuration.adapters, strategy="multi_lora")
    assert problems(base, shape, in_turn) == ()
    assert up(in_turn, base, shape).mixed is None
    deployment = up(configuration, base, shape)
    with pytest.raises((KeyError, TypeError, ValueError)):
        mixed_rows(deployment)


def hooks(deployment: Deployment) -> int:
    return sum(len(module._forward_pre_hooks) for module in deployment.model.modules())


def test_after_a_forward_that_raised_nothing_is_left_of_its_names(make: Any) -> None:
    """PEFT alone leaves its hooks: a later batch of the same size would be computed by the names of this one."""
    base, configuration = make("llama-lm", Q)
    deployment = up(configuration, base, "llama-lm")
    assert deployment.mixed is not None
    before = answers(deployment)
    with pytest.raises(ValueError, match="Length of `adapter_names` should be the same as the number of inputs"):
        mixed_rows(deployment, ["a", "b"])
    with pytest.raises(KeyError, match="nobody"):
        mixed_rows(deployment, ["a", "nobody", "a", "a"])
    with pytest.raises(KeyboardInterrupt), deployment.mixed(NAMES):  # type: ignore[misc]
        raise KeyboardInterrupt
    assert hooks(deployment) == 0
    assert torch.equal(answers(deployment), before)


def test_hooks_are_put_on_once_around_all_forwards_of_a_request(make: Any) -> None:
    base, configuration = make("llama-lm", Q)
    deployment = up(configuration, base, "llama-lm")
    assert deployment.mixed is not None
    with deployment.mixed(NAMES):
        there = hooks(deployment)
        assert there == 4  # a hook on each layer with adapters: two layers of q_proj and v_proj
        first, then = answers(deployment), answers(deployment, rows(tokens=1))
        assert (first.shape, then.shape, hooks(deployment)) == ((4, 12, 64), (4, 1, 64), there)


def test_only_a_strategy_that_mixes_takes_mixed_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
name = "p"
[[adapters]]
name = "{task}"
tasks = ["mrpc", "sst2"]
seeds = [1]
alpha = 8
[[configurations]]
name = "m"
strategy = "multi_lora"
seed = 1
batch = 2
routing = "mixed"
adapters = ["mrpc", "sst2"]
"""
    path = tmp_path / "p.toml"
    path.write_text(text)
    plan, _ = plan_file.load_plan(str(path), strategies.all_traits(), glue_tasks())
    assert plan.configurations[0].routing == "mixed"

    class InTurn(strategies.MultiLora):
        traits = strategies.StrategyTraits("in_turn", "In turn", 2, 4)

    monkeypatch.setitem(strategies.STRATEGIES, "in_turn", InTurn)
    path.write_text(text.replace("multi_lora", "in_turn"))
    with pytest.raises((InputError, SeveralProblemsError)) as caught:
        plan_file.load_plan(str(path), strategies.all_traits(), glue_tasks())
    assert str(caught.value) == (
        f"{path}: configurations[0].routing: in_turn serves no batch of several adapters; multi_lora does"
    )
