#!/usr/bin/env bash
# transformers 5.23.0 with peft 0.21.2: a folder that holds a whole model and an adapter_config.json beside it is loaded
# with that adapter switched on.
#
# from_pretrained returns the model's own class, and says nothing. Who trains into the base's folder and then measures
# "the base" measures it with LoRA: other answers, and slower.
#
# Seen, with torch==2.13.0, transformers==5.23.0, peft==0.21.2:
#     LlamaForCausalLM has 8 LoRA parameters; relative difference to the base that was saved 1.216, to the adapter 0
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
torch.manual_seed(0)
base = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
ids = torch.arange(10)[None]
with torch.no_grad():
    base.save_pretrained("model")
    of_base = base(ids).logits
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.normal_(0, 0.5)
    adapted.save_pretrained("model")  # an adapter, beside the model's own files
    of_adapted = adapted.eval()(ids).logits
    loaded = AutoModelForCausalLM.from_pretrained("model").eval()
    logits = loaded(ids).logits
count = sum("lora_" in name for name, _ in loaded.named_parameters())
off = [float((logits - other).norm() / other.norm()) for other in (of_base, of_adapted)]
print(
    f"{type(loaded).__name__} has {count} LoRA parameters; relative difference to the base that was saved {off[0]:.3f}, "
    f"to the adapter {off[1]:.0f}"
)
sys.exit(0 if count == 8 and off[0] > 0.1 and off[1] < 1e-5 else 1)
PYTHON
