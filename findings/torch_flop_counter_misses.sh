#!/usr/bin/env bash
# torch 2.13.0: FlopCounterMode says nothing of the attention of a CPU's scaled_dot_product_attention, nor of products that
# are added in place (addmm_, baddbmm_): they count 0, without a warning.
#
# The same Llama once with attention as two products ("eager"), once by scaled_dot_product_attention ("sdpa", the default):
# the second seems to need fewer FLOPs, by exactly those of the attention. And a product added to a matrix, as an adapter's
# up-projection is: addmm counts, addmm_ does not.
#
# Seen, with torch==2.13.0, transformers==5.23.0:
#     FLOPs of one forward: eager 12582912, sdpa 11534336; of its attention 1048576
#     FLOPs of one product added: addmm 210, addmm_ 0; baddbmm 420, baddbmm_ 0
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import sys
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaModel

LAYERS, HEADS, SIZE, TOKENS = 2, 4, 32, 32
sizes = {"hidden_size": HEADS * SIZE, "intermediate_size": 64, "num_hidden_layers": LAYERS, "vocab_size": 64}
ids = torch.arange(TOKENS)[None]


def flops(call: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def forward(attention: str) -> int:
    config = LlamaConfig(**sizes, num_attention_heads=HEADS, attn_implementation=attention)
    model = LlamaModel(config).eval()
    return flops(lambda: model(ids))


of_attention = LAYERS * HEADS * 2 * 2 * TOKENS * TOKENS * SIZE  # queries times keys, and shares times values
eager, sdpa = forward("eager"), forward("sdpa")
print(f"FLOPs of one forward: eager {eager}, sdpa {sdpa}; of its attention {of_attention}")

x, a, y = torch.randn(3, 5), torch.randn(5, 7), torch.randn(3, 7)
pairs, weights, sums = torch.randn(2, 3, 5), torch.randn(2, 5, 7), torch.randn(2, 3, 7)
added, added_in_place = flops(lambda: torch.addmm(y, x, a)), flops(lambda: y.addmm_(x, a))
batched, batched_in_place = flops(lambda: torch.baddbmm(sums, pairs, weights)), flops(lambda: sums.baddbmm_(pairs, weights))
print(f"FLOPs of one product added: addmm {added}, addmm_ {added_in_place}; baddbmm {batched}, baddbmm_ {batched_in_place}")
sys.exit(0 if eager - sdpa == of_attention and added_in_place == batched_in_place == 0 < min(added, batched) else 1)
PYTHON
