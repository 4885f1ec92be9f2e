#!/usr/bin/env bash
# peft 0.21.2: merge_and_unload of an adapter with layer_replication merges every copy's change into the one weight that
# the copies share, so the merged model computes something else; nothing is said.
#
# layer_replication builds a deeper model whose layers share the base's weights and have adapters of their own. Merged,
# each shared weight holds the sum of all its copies' changes.
#
# Seen, with torch==2.13.0, transformers==5.23.0, peft==0.21.2:
#     logits merged against unmerged: 0.97 (relative); without replication: 0.000001
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
cd "$folder"
HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 venv/bin/python -W ignore - <<'PYTHON'
import sys
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

warnings.simplefilter("ignore")
shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
ids = torch.arange(12)[None]


def error(**settings):
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(LlamaConfig(**shape, initializer_range=0.2)).eval()
    targets = {"target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    model = get_peft_model(base, LoraConfig(**targets, **settings)).eval()
    with torch.no_grad():
        unmerged = model(ids, use_cache=False).logits
        merged = model.merge_and_unload()(ids, use_cache=False).logits
    return float((merged - unmerged).norm() / unmerged.norm())


replicated, plain = error(layer_replication=[[0, 2], [0, 2]]), error()
print(f"logits merged against unmerged: {replicated:.2f} (relative); without replication: {plain:.6f}")
sys.exit(0 if replicated > 0.1 and plain < 1e-4 else 1)
PYTHON
