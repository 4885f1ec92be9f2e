#!/usr/bin/env bash
# peft 0.21.2: LoRA on lm_head with trainable_token_indices, tied embeddings: merge_and_unload returns a model that is merged in part.
#
# The trained tokens are put into the head as well, since it is tied, and the LoRA layer around them. Merging adds the adapter's change to
# a temporary matrix, takes the LoRA layer away and leaves the layer of the tokens: the model computes something else, without a word.
#
# Seen, with torch==2.13.0, transformers==5.23.0, peft==0.21.2:
#     in the merged model lm_head is a TrainableTokensWrapper; relative difference of the logits: 0.6
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import sys
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

warnings.simplefilter("ignore")
sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
config = LlamaConfig(vocab_size=64, tie_word_embeddings=True, initializer_range=0.2, **sizes)
torch.manual_seed(0)
settings = {"target_modules": ["lm_head"], "trainable_token_indices": [1, 3, 5], "init_lora_weights": False}
adapted = get_peft_model(LlamaForCausalLM(config).eval(), LoraConfig(r=4, **settings)).eval()
with torch.no_grad():
    for name, parameter in adapted.named_parameters():
        if "trainable_tokens_delta" in name:
            parameter.add_(torch.randn_like(parameter) * 0.3)
    ids = torch.arange(1, 13)[None]
    separate = adapted(ids).logits
    merged = adapted.merge_and_unload()
    difference = float((merged(ids).logits - separate).norm() / separate.norm())
left = type(merged.lm_head).__name__
print(f"in the merged model lm_head is a {left}; relative difference of the logits: {difference:.1f}")
sys.exit(0 if left != "Linear" and difference > 0.1 else 1)
PYTHON
