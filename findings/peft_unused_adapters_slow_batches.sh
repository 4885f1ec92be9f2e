#!/usr/bin/env bash
# peft 0.21.2: a batch with adapter_names costs more with each adapter that is resident, though none of those is used.
#
# The same two rows with the same two adapters; only how many others were loaded differs. Counted are Python calls, which
# do not depend on the machine. A forward without adapter_names stays as it was.
#
# Seen, with torch==2.13.0, transformers==5.23.0, peft==0.21.2:
#     Python calls of a forward by resident adapters: with adapter_names {2: 7118, 32: 30158, 128: 103886}, without {2: 1809,
#     32: 1809, 128: 1809}
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import cProfile
import pstats
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 64}
config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
model = get_peft_model(LlamaForCausalLM(LlamaConfig(**sizes)), config, "a0").eval()
ids = torch.arange(10)[None].repeat(2, 1)


def calls(**options: object) -> int:
    profile = cProfile.Profile()
    with torch.no_grad():
        model(ids, **options)
        profile.runcall(model, ids, **options)
    return pstats.Stats(profile).total_calls


mixed, plain = {}, {}
for resident in (2, 32, 128):
    for number in range(len(model.peft_config), resident):
        model.add_adapter(f"a{number}", config)
    mixed[resident] = calls(adapter_names=["a0", "a1"])
    plain[resident] = calls()
print(f"Python calls of a forward by resident adapters: with adapter_names {mixed}, without {plain}")
sys.exit(0 if mixed[128] > 10 * mixed[2] and plain[128] < 1.1 * plain[2] else 1)
PYTHON
