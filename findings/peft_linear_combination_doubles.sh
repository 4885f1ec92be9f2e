#!/usr/bin/env bash
# peft 0.21.2: add_weighted_adapter(combination_type="linear") of two equal adapters at 0.5 each is twice the adapter.
#
# The factors are added, not the products: A is the sum of sqrt(0.5) A twice, B likewise, and B A comes out doubled. "cat"
# and "svd" give the adapter itself, as an average of a thing and itself should.
#
# Seen, with torch==2.13.0, transformers==5.23.0, peft==0.21.2:
#     size of the combined change relative to the adapter's: linear 2.000, cat 1.000, svd 1.000
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

torch.manual_seed(0)
config = LoraConfig(r=4, lora_alpha=8, target_modules=["0"])
model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(32, 32)), config)
model.add_adapter("second", config)
layer = model.base_model.model[0]
with torch.no_grad():
    layer.lora_B["default"].weight.normal_()
    for factors in (layer.lora_A, layer.lora_B):
        factors["second"].weight.copy_(factors["default"].weight)
for kind in ("linear", "cat", "svd"):
    options = {"svd_rank": 4} if kind == "svd" else {}
    model.add_weighted_adapter(["default", "second"], [0.5, 0.5], kind, combination_type=kind, **options)
adapter = layer.get_delta_weight("default").norm()
sizes = {kind: float(layer.get_delta_weight(kind).norm() / adapter) for kind in ("linear", "cat", "svd")}
print("size of the combined change relative to the adapter's: " + ", ".join(f"{k} {v:.3f}" for k, v in sizes.items()))
sys.exit(0 if [round(size, 3) for size in sizes.values()] == [2, 1, 1] else 1)
PYTHON
