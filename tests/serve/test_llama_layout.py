"""Names and order of rows as llama.cpp has them, so that its rotation computes what transformers' does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from model.small_checkpoints import llama_config, save_adapter, save_model
from raybench.records import InputError
from raybench.serve import gguf_files
from raybench.serve.llama_layout import LlamaLayout
from raybench.serve.rope import rope_factors, rope_of

HERE = Path("/models/base")


def config(**changes: Any) -> dict[str, Any]:
    return llama_config(**changes).to_dict()


def test_names_are_llama_cpps() -> None:
    layout = LlamaLayout(config(), HERE)
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "lm_head.weight": "output.weight",
        "model.layers.1.self_attn.o_proj.weight": "blk.1.attn_output.weight",
        "model.layers.0.mlp.gate_proj.bias": "blk.0.ffn_gate.bias",
        "model.layers.0.post_attention_layernorm.weight": "blk.0.ffn_norm.weight",
    }
    assert {name: layout.gguf_name(name)[0] for name in names} == names
    assert all(layout.gguf_name(name)[1](rows) is rows for name in names for rows in [torch.ones(2)])


@pytest.mark.parametrize(
    "name", ["model.layers.2.mlp.up_proj.weight", "model.layers.0.mlp.router.weight", "score.weight"]
)
def test_a_tensor_without_a_place_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"has no place for {name}"):
        LlamaLayout(config(), HERE).gguf_name(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "only llama is written"),
        ({"hidden_act": "gelu"}, "llama.cpp computes silu"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers '2', which is no size"),
        ({"vocab_size": 0}, "no vocab_size"),
    ],
)
def test_an_odd_configuration_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LlamaLayout(config() | changes, HERE)


@pytest.mark.parametrize("name", ["q_proj", "k_proj"])
def test_rotating_neighbours_of_reordered_rows_is_rotating_halves(name: str) -> None:
    """Scores of queries and keys are sums over a head, so that its order does not matter as long as both have it."""
    made = llama_config(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    heads = {"q_proj": 4, "k_proj": 2}[name]
    draws = torch.Generator().manual_seed(0)
    weight, inputs = torch.randn(heads * 8, 32, generator=draws), torch.randn(1, 5, 32, generator=draws)
    cos, sin = LlamaRotaryEmbedding(made)(inputs, torch.arange(5)[None])
    states = (inputs @ weight.T).view(1, 5, heads, 8).transpose(1, 2)
    rotated, _ = apply_rotary_pos_emb(states, states, cos, sin)
    _, ordered = LlamaLayout(made.to_dict(), HERE).gguf_name(f"model.layers.0.self_attn.{name}.weight")
    pairs = (inputs @ ordered(weight).T).view(1, 5, heads, 4, 2).transpose(1, 2)
    turn = torch.polar(torch.ones(5, 4), torch.arange(5)[:, None] / 10000.0 ** (torch.arange(0, 8, 2) / 8))
    neighbours = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)  # (1, heads, 5, 4, 2)
    halves = torch.cat([neighbours[..., 0], neighbours[..., 1]], -1)
    torch.testing.assert_close(halves, rotated, rtol=1e-5, atol=1e-5)


def test_llama3s_frequencies_are_those_of_transformers() -> None:
    scaled = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    made = llama_config(head_dim=32, max_position_embeddings=512, rope_parameters=scaled)
    plain = 1.0 / 10000.0 ** (torch.arange(0, 32, 2) / 32)
    factors = rope_factors(made.to_dict(), 32, HERE)
    torch.testing.assert_close(plain / factors, LlamaRotaryEmbedding(made).inv_freq)
    between = [1.293976, 2.765173, 7.667385]  # by the rule as published, of the wavelengths 19.9, 35.3 and 62.8
    torch.testing.assert_close(factors, torch.tensor([*[1.0] * 2, *between, *[8.0] * 11]), rtol=1e-6, atol=0)


def test_rotary_embeddings_of_old_and_new_files() -> None:
    assert rope_of({"rope_theta": 500000.0}, HERE) == (500000.0, None, "default")
    assert rope_of({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}, HERE) == (1e6, None, "default")
    linear = {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2}}
    assert rope_of(linear, HERE) == (1e4, 2.0, "linear")
    assert rope_factors(linear, 8, HERE) is None
    with pytest.raises(InputError, match="'yarn'; default, linear and llama3 are written"):
        rope_of({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, HERE)
    with pytest.raises(InputError, match="rope_theta -1, which is no size"):
        rope_of({"rope_theta": -1}, HERE)


def test_without_gguf_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(InputError, match=r"pip install 'raybench\[gguf\]'"):
        gguf_files.gguf_model(tmp_path, "float32")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"alpha_pattern": {"q_proj": 3}}, "an alpha of its own for some modules"),
        ({"modules_to_save": ["lm_head"]}, "whole modules of its own"),
        ({"target_modules": ["embed_tokens"]}, "embeddings"),
    ],
)
def test_an_adapter_that_is_more_than_lora_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], kind: str
) -> None:
    monkeypatch.setattr(gguf_files, "_gguf", lambda: None)
    base = save_model(AutoModelForCausalLM.from_config, llama_config(), tmp_path / "base")
    adapter = save_adapter(base, tmp_path / "adapter", AutoModelForCausalLM, **changes)
    with pytest.raises(InputError, match=f"llama.cpp computes plain LoRA only; this one has {kind}"):
        gguf_files.gguf_adapter(Path(adapter), Path(base))
