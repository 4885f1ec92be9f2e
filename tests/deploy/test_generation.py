"""The own loop generates what ``generate()`` does, with either cache, in padded and in mixed batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from raybench.deploy.generation import Generator, generate, logits_after, within_peft
from raybench.deploy.strategies import Deployment
from raybench.model.prompts import Prompts, as_tensors
from raybench.model.workload import Request
from raybench.records import RaybenchError

VOCABULARY, OUTPUT, POSITIONS = 97, 12, 64
_LLAMA_LIKE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": POSITIONS,
}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
    "gemma2": {**_LLAMA_LIKE, "sliding_window": 8},
    "gemma3_text": {**_LLAMA_LIKE, "sliding_window": 8},
    "mixtral": {**_LLAMA_LIKE, "num_local_experts": 4},
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": POSITIONS,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
}


def causal_model(shape: str) -> Any:
    """Seeded, and of weights (untied: else the last token comes again) by which its tokens are of many kinds."""
    torch.manual_seed(len(shape))
    config = transformers.AutoConfig.for_model(shape, tie_word_embeddings=False, **SHAPES[shape])
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model.eval()


def with_adapters(model: Any, *names: str) -> Any:
    targets = ["c_attn"] if type(model).__name__.startswith("GPT2") else ["q_proj", "v_proj"]
    settings = LoraConfig(r=4, lora_alpha=32, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        if hasattr(model, "peft_config"):
            model.add_adapter(name, settings)
        else:
            model = get_peft_model(model, settings, name)
    return model.eval()


def prompts(batch: int, tasks: tuple[str, ...] = ("a",), output_tokens: int = OUTPUT) -> Prompts:
    """Prompts of 5, 8, 11, ... tokens."""
    rows = tuple(Request(tasks[i % len(tasks)], i, 5 + 3 * i) for i in range(batch))
    request = Request(tasks[0], 0, sum(r.tokens for r in rows), None, output_tokens, rows)
    return as_tensors(request, "CAUSAL_LM", "cpu", vocabulary_size=VOCABULARY, pad_token_id=None)


def by_generate(model: Any, asked: Prompts, **settings: Any) -> torch.Tensor:
    ids = asked.values["input_ids"]
    count = asked.output_tokens
    found: torch.Tensor = model.generate(
        input_ids=ids,
        attention_mask=asked.values["attention_mask"][:, : ids.shape[1]],
        do_sample=False,
        max_new_tokens=count,
        min_new_tokens=count,
        eos_token_id=None,
        pad_token_id=0,
        **settings,
    )
    return found[:, ids.shape[1] :]


@pytest.fixture(autouse=True)
def _inference() -> Any:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("kv_cache", ["dynamic", "static"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_tokens_are_those_of_generate(shape: str, batch: int, kv_cache: Any) -> None:
    model, asked = causal_model(shape), prompts(batch)
    generator = Generator(Deployment(model, model), kv_cache, POSITIONS)
    static = {"cache_implementation": "static", "disable_compile": True} if kv_cache == "static" else {}
    expected = by_generate(model, asked, **static)
    assert len(set(expected.flatten().tolist())) > 2
    assert torch.equal(generate(generator, asked), expected)
    assert torch.equal(generate(generator, asked), expected)  # nothing is left in the cache
    # The logits that they are chosen from, in one forward.
    logits = logits_after(generator, asked, expected)
    assert logits.shape == (batch, OUTPUT, VOCABULARY)
    assert torch.equal(logits.argmax(-1), expected)
    assert torch.equal(logits_after(generator, asked, None).argmax(-1), expected[:, :1])


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_an_adapter_beside_its_base_generates_what_peft_does(shape: str) -> None:
    model, asked = with_adapters(causal_model(shape), "a"), prompts(2)
    generator = Generator(Deployment(model, model))
    expected = by_generate(model, asked)
    assert torch.equal(generate(generator, asked), expected)
    assert generator.forward is within_peft(model)
    with model.disable_adapter():
        assert not torch.equal(by_generate(model, asked), expected)


def test_a_row_of_a_mixed_batch_generates_by_its_own_adapter() -> None:
    model = with_adapters(causal_model("llama"), "a", "b")
    asked = prompts(4, ("a", "b"))

    def mixed(names: Any) -> Any:
        return model._enable_peft_forward_hooks(adapter_names=list(names))

    generator = Generator(Deployment(model, model, mixed=mixed))
    expected = by_generate(model, asked, adapter_names=list(asked.tasks))
    got = generate(generator, asked, names=asked.tasks)
    assert torch.equal(got, expected)
    for name in ("a", "b"):
        model.set_adapter(name)
        alone = by_generate(model, asked)
        rows = [row for row, task in enumerate(asked.tasks) if task == name]
        assert torch.equal(got[rows], alone[rows])


def test_what_a_mixed_batch_puts_around_its_steps_is_gone_after_one_that_failed() -> None:
    model = with_adapters(causal_model("llama"), "a", "b")
    asked, inner = prompts(2, ("a", "b")), within_peft(model)
    hooks = [module for module in model.modules() if hasattr(module, "lora_A")]

    def forward(**values: Any) -> Any:
        assert all(len(module._forward_pre_hooks) == 1 for module in hooks)
        if values["input_ids"].shape[1] == 1:
            raise RuntimeError("no")
        return inner(**values)

    mixed = lambda names: model._enable_peft_forward_hooks(adapter_names=list(names))  # noqa: E731
    with pytest.raises(RuntimeError, match="no"):
        generate(Generator(Deployment(forward, model, mixed=mixed)), asked, names=asked.tasks)
    assert not any(module._forward_pre_hooks for module in hooks)


def test_an_end_token_ends_nothing() -> None:
    model, asked = causal_model("llama"), prompts(1)
    tokens = generate(Generator(Deployment(model, model)), asked)
    model.config.eos_token_id = model.generation_config.eos_token_id = int(tokens[0, 2])
    assert torch.equal(generate(Generator(Deployment(model, model)), asked), tokens)


def test_a_model_without_a_cache_is_told() -> None:
    model, asked = causal_model("llama"), prompts(1)

    def forward(**values: Any) -> Any:
        return model(**{**values, "use_cache": False, "past_key_values": None})

    with pytest.raises(RaybenchError, match="the model returns no past_key_values: it keeps no KV cache"):
        generate(Generator(Deployment(forward, model)), asked)
