"""The form remerge: a merged model after each switch, bit for bit the same whatever came before."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

import raybench
from deploy.forms import (
    LINEAR,
    OTHER,
    adapted,
    by_peft,
    family_folders,
    logits,
    name_of,
    no_peft_in,
    refusal,
    several,
    whole_numbers,
)
from deploy.shapes import difference
from deploy.test_families import prompts
from deploy.test_generation import by_generate
from deploy.test_stacked import CLASSIFIER, HEADED, LLAMA, NAMES, ROBERTA, WHOLE, settings
from model.family_checkpoints import Family
from raybench.deploy.gate import TOLERANCE
from raybench.deploy.generation import Generator, generate
from raybench.deploy.strategies import Deployment
from raybench.model.own_memory import take_own_memory

folders = family_folders


@pytest.mark.parametrize("case", LINEAR, ids=name_of)
def test_every_family_gives_pefts_logits(case: Family, folders: Any) -> None:
    model = several(case, folders(case)[0], settings(case))
    expected = by_peft(model, NAMES)
    kinds = [type(module) for module in case.plain(folders(case)[0]).modules()]
    plain, switch = raybench.remerge(model, NAMES)
    assert no_peft_in(plain)
    assert [type(module) for module in plain.modules()] == kinds
    assert difference(logits(plain), expected["a"]) < TOLERANCE["float32"]
    for name in ("c", "a", "b"):
        switch(name)
        assert difference(logits(plain), expected[name]) < TOLERANCE["float32"]
        others = [other for other in ("a", "b", "c", "") if other != name]
        assert all(difference(expected[other], expected[name]) > 1e-2 for other in others)


@pytest.mark.parametrize("case", [f for f in LINEAR if f.task_type == "CAUSAL_LM"], ids=name_of)
def test_language_models_generate_the_same_tokens(case: Family, folders: Any) -> None:
    asked, model = prompts(case.task_type), several(case, folders(case)[0], settings(case))
    expected = {}
    for name in NAMES:
        model.set_adapter(name)
        expected[name] = by_generate(model, asked)
    plain, switch = raybench.remerge(model, NAMES)
    for name in ("b", "c", "a"):
        switch(name)
        with torch.inference_mode():
            assert torch.equal(generate(Generator(Deployment(plain, plain)), asked), expected[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_ten_thousand_switches_do_not_drift(dtype: torch.dtype) -> None:
    model, _, _ = whole_numbers(a={}, b={"r": 3}, c={"target_modules": ["k", "v"]})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    plain, switch = raybench.remerge(model.to(dtype), NAMES)
    fresh = {}
    for name in NAMES:
        switch(name)
        fresh[name] = {key: value.clone() for key, value in plain.state_dict().items()}
    assert not torch.equal(fresh["a"]["0.q.weight"], fresh["b"]["0.q.weight"])
    draw = random.Random(0)
    for name in draw.choices(NAMES, k=10_000):
        switch(name)
    for name in NAMES:
        switch(name)
        assert all(torch.equal(value, fresh[name][key]) for key, value in plain.state_dict().items())


def test_whole_numbers_are_exact() -> None:
    model, x, expected = whole_numbers(**WHOLE)
    plain, switch = raybench.remerge(model, NAMES)
    assert torch.equal(plain(x), expected["a"])
    for name in ("c", "b", "a"):
        switch(name)
        assert torch.equal(plain(x), expected[name])
    take_own_memory(plain)  # its weights lie elsewhere then, and are what a switch writes to all the same
    for name in NAMES:
        switch(name)
        assert torch.equal(plain(x), expected[name])
    kept = 6 * (8 + 4 + 8) + 20 * 5
    adapters = 2 * (2 * (6 + 8) + 20 + 5) + 3 * (6 + 4) + 2 * (6 + 8 + 20 + 5)
    assert switch.kept_bytes == 4 * (kept + adapters)


@pytest.mark.parametrize(
    ("case", "own"),
    [(CLASSIFIER, ["score"]), (ROBERTA, ["classifier"]), (LLAMA, ["embed_tokens", "lm_head"])],
    ids=str,
)
def test_modules_that_adapters_bring_come_with_them(case: Family, own: list[str], folders: Any) -> None:
    brought = {"a": {"modules_to_save": own}, "b": {"modules_to_save": own, "r": 2}, "c": {}}
    if case.task_type == "SEQ_CLS":  # PEFT saves a classifier's head whatever it is told
        brought = {name: changes | {"task_type": None} for name, changes in brought.items()}
    model = several(case, folders(case)[0], brought)
    expected = by_peft(model, NAMES)
    plain, switch = raybench.remerge(model, NAMES)
    for name in ("b", "c", "a"):
        switch(name)
        assert difference(logits(plain), expected[name]) < TOLERANCE["float32"]


def test_a_weight_that_is_shared_becomes_the_layers_own(folders: Any) -> None:
    model = several(HEADED, folders(HEADED)[0], {"a": {}, "b": {}})
    embeddings = model.get_input_embeddings().weight.detach().clone()
    plain, switch = raybench.remerge(model, ["a", "b"])
    switch("b")
    assert torch.equal(plain.get_input_embeddings().weight, embeddings)
    assert not torch.equal(plain.lm_head.weight, embeddings)
    assert plain.config.tie_word_embeddings is False


def test_what_is_refused() -> None:
    model, _, _ = whole_numbers(a={}, b={})
    _, switch = raybench.remerge(model, ["a", "b"])
    assert refusal(switch, "mine") == "no adapter mine is kept; there are a, b"
    model, _, _ = whole_numbers(a={})
    model.get_base_model()[0].q.base_layer.register_forward_hook(lambda *_: None)
    line = "0.q has a forward or hooks of its own: use form lean or stacked"
    assert refusal(raybench.remerge, model, ["a"]) == line


@pytest.mark.parametrize("case", OTHER, ids=name_of)
def test_adapters_of_other_layers_are_refused(case: Family, folders: Any) -> None:
    model = adapted(case, folders(case))
    assert " adapter default has a layer of kind " in refusal(raybench.remerge, model, ["default"])
