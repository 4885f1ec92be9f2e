#!/usr/bin/env bash
# peft 0.21.2: an adapter with embed_tokens among its targets brings the embedding of the base that it was trained on, and
# loading it puts that in the place of the base's own: every adapter that is already there then answers otherwise.
#
# save_pretrained writes the base's own embedding beside the LoRA factors wherever a target is an embedding layer (it says
# so in a warning). load_adapter copies it into the base that all adapters share, and names no key as unexpected.
#
# Seen, with torch==2.13.0, transformers==5.23.0, peft==0.21.2:
#     unexpected keys: none; logits of the adapter that was there first: 0.96 (relative) from what they were
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
cd "$folder"
HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 venv/bin/python -W ignore - <<'PYTHON'
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils import logging

logging.disable_progress_bar()
torch.manual_seed(0)
folder = tempfile.mkdtemp(dir=".")
shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
AutoModelForCausalLM.from_config(LlamaConfig(**shape, initializer_range=0.2)).save_pretrained(f"{folder}/base")


def base():
    return AutoModelForCausalLM.from_pretrained(f"{folder}/base")


def save(model, name, *targets):
    config = LoraConfig(target_modules=list(targets), init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(f"{folder}/{name}")


save(base(), "first", "q_proj")
trained_further = base()
with torch.no_grad():
    embedding = trained_further.get_input_embeddings().weight
    embedding += 0.1 * torch.randn_like(embedding)
save(trained_further, "second", "q_proj", "embed_tokens")

model = PeftModel.from_pretrained(base(), f"{folder}/first", "first").eval()
ids = torch.arange(12)[None]
with torch.no_grad():
    before = model(ids).logits
    found = model.load_adapter(f"{folder}/second", "second")
    model.set_adapter("first")
    after = model(ids).logits
change = float((after - before).norm() / before.norm())
print(
    f"unexpected keys: {', '.join(found.unexpected_keys) or 'none'}; logits of the adapter that was there first: "
    f"{change:.2f} (relative) from what they were"
)
sys.exit(0 if not found.unexpected_keys and change > 0.1 else 1)
PYTHON
