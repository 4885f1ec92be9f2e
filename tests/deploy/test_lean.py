"""The form lean gives PEFT's logits, on every family, without a module of PEFT."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
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
from deploy.shapes import difference, read_from, save_adapter_of, save_shape, up
from deploy.test_families import prompts
from deploy.test_generation import by_generate
from deploy.test_quantization import WAYS
from model.family_checkpoints import Family
from model.small_checkpoints import deploying
from raybench.deploy.gate import TOLERANCE
from raybench.deploy.generation import Generator, generate
from raybench.deploy.lean_form import LeanBeside, LeanLinear
from raybench.deploy.strategies import Deployment

folders = family_folders


@pytest.mark.parametrize("case", LINEAR, ids=name_of)
def test_every_family_gives_pefts_logits(case: Family, folders: Any) -> None:
    model = adapted(case, folders(case))
    expected = by_peft(model, ["default"])
    plain = raybench.lean(model)
    assert no_peft_in(plain)
    assert any(isinstance(module, LeanLinear) for module in plain.modules())
    assert difference(expected[""], expected["default"]) > 1e-2
    assert difference(logits(plain), expected["default"]) < TOLERANCE["float32"]


@pytest.mark.parametrize("case", [f for f in LINEAR if f.task_type == "CAUSAL_LM"], ids=name_of)
def test_language_models_generate_the_same_tokens(case: Family, folders: Any) -> None:
    asked, model = prompts(case.task_type), adapted(case, folders(case))
    expected = by_generate(model, asked)
    plain = raybench.lean(model)
    with torch.inference_mode():
        assert torch.equal(generate(Generator(Deployment(plain, plain)), asked), expected)


@pytest.mark.parametrize("case", LINEAR[6:8] + LINEAR[-2:], ids=name_of)
def test_in_bfloat16(case: Family, folders: Any) -> None:
    model = adapted(case, folders(case), torch.bfloat16)
    expected = by_peft(model, ["default"])
    plain = raybench.lean(model)
    assert {weight.dtype for weight in plain.parameters()} == {torch.bfloat16}
    assert difference(logits(plain), expected["default"]) < TOLERANCE["bfloat16"]


@pytest.mark.parametrize("case", OTHER, ids=name_of)
def test_adapters_of_other_layers_are_refused(case: Family, folders: Any) -> None:
    kind = "ParamWrapper on" if "experts" in str(case.adapter) else "Embedding on Embedding"
    assert f" adapter default has a layer of kind {kind}" in refusal(raybench.lean, adapted(case, folders(case)))


def test_the_active_one_of_several_adapters_is_taken(folders: Any) -> None:
    case = LINEAR[6]
    settings = {"a": {"r": 2}, "b": {"target_modules": ["k_proj", "v_proj"]}, "c": {}}
    model = several(case, folders(case)[0], settings)
    expected = by_peft(model, ["a", "c", "b"])
    plain = raybench.lean(model)
    assert difference(expected["c"], expected["b"]) > 1e-2
    assert difference(logits(plain), expected["b"]) < TOLERANCE["float32"]
    assert type(plain.model.layers[0].self_attn.q_proj) is torch.nn.Linear


def test_whole_numbers_are_exact() -> None:
    model, x, expected = whole_numbers()
    plain = raybench.lean(model)
    assert torch.equal(plain(x), expected)


def test_a_layer_that_is_no_plain_one_is_called_as_it_is(folders: Any) -> None:
    case = LINEAR[6]
    model = adapted(case, folders(case))
    expected = by_peft(model, ["default"])["default"]
    called = []
    base = model.get_base_model().model.layers[0].self_attn.q_proj.base_layer
    base.register_forward_hook(lambda *_: called.append(1))
    plain = raybench.lean(model)
    layer = plain.model.layers[0].self_attn.q_proj
    assert type(layer) is LeanBeside
    assert layer.weight is base.weight
    assert difference(logits(plain), expected) < TOLERANCE["float32"]
    assert called == [1]


@pytest.mark.parametrize("way", WAYS)
def test_beside_a_quantized_base(way: str, tmp_path: Path) -> None:
    base = save_shape("llama-wide", tmp_path / "base")
    adapters = [
        read_from(save_adapter_of("llama-wide", base, tmp_path / name, seed), name) for seed, name in enumerate("ab")
    ]
    configuration = deploying(*adapters, strategy="multi_lora", quantization=way)
    model = up(configuration, base, "llama-wide").model
    expected = {}
    for name in "ab":
        model.set_adapter(name)
        expected[name] = logits(model)
    assert difference(expected["a"], expected["b"]) > 1e-2
    packed = "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight is quantized, and "
    assert refusal(raybench.fused, model) == packed + "its rows cannot be put beside others: use form lean"
    line = packed + "an adapter cannot be merged into it: use form lean or stacked"
    assert refusal(raybench.remerge, model, ["a"]) == line
    stacked, switch = raybench.stacked(copy.deepcopy(model), ["a", "b"])
    for name in "ab":
        switch(name)
        assert difference(logits(stacked), expected[name]) < TOLERANCE["float32"]
    with switch.mixed("aba"):
        rows = torch.stack([expected[name][row] for row, name in enumerate("aba")])
        assert difference(logits(stacked), rows) < TOLERANCE["float32"]
    plain = raybench.lean(model)
    assert isinstance(plain.model.layers[0].self_attn.q_proj, LeanBeside)
    assert difference(logits(plain), expected["b"]) < TOLERANCE["float32"]


def test_importing_raybench_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys, raybench; print('torch' in sys.modules); raybench.lean; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "False\nTrue\n"
