#!/usr/bin/env bash
# peft 0.21.2: loading an adapter costs more with each one that is resident, so that loading N costs N squared.
#
# Counted are Python calls, which do not depend on the machine.
#
# Seen, with torch==2.13.0, transformers==5.23.0, peft==0.21.2:
#     Python calls to load the nth adapter: {4: 31134, 32: 151478, 128: 564086}
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

layers = torch.nn.Sequential(*(torch.nn.Linear(32, 32) for _ in range(8)))
config = LoraConfig(r=4, target_modules=[str(i) for i in range(8)])
model = get_peft_model(layers, config, "a1")
calls = {}
for number in range(2, 129):
    profile = cProfile.Profile()
    profile.runcall(model.add_adapter, f"a{number}", config)
    calls[number] = pstats.Stats(profile).total_calls
seen = {number: calls[number] for number in (4, 32, 128)}
print(f"Python calls to load the nth adapter: {seen}")
sys.exit(0 if seen[128] > 5 * seen[4] else 1)
PYTHON
