#!/usr/bin/env bash
# llama.cpp (xllamacpp 2026.10.11549): keys and values that are kept in float32 are rounded to float16 whenever its
# default, flash attention, reads them.
#
# Asked for a float32 cache beside a float32 model it takes the memory of one, and answers as with a float16 cache, to the
# last bit. Without flash attention (flash_attn_type 0) the two differ. Nothing says so.
#
# Seen, with xllamacpp==2026.10.11549, gguf==0.19.0:
#     a float32 cache and a float16 one are 0 apart; without flash attention 0.0003
#     with a float32 cache flash attention is 0.0004 off what it is without
# (the largest difference of log probabilities, in nats, of a random model of two layers)
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet xllamacpp==2026.10.11549 gguf==0.19.0
cd "$folder"
venv/bin/python - 2> server.txt <<'PYTHON' || { status=$?; tail -n 5 server.txt >&2; exit "$status"; }
import json
import sys
import urllib.request

import gguf
import numpy
import xllamacpp

WORDS, HIDDEN, WIDE, HEADS = 64, 64, 128, 2
draw = numpy.random.default_rng(0)
writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_context_length(256)
writer.add_embedding_length(HIDDEN)
writer.add_block_count(1)
writer.add_feed_forward_length(WIDE)
writer.add_head_count(HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_tokenizer_model("llama")
writer.add_token_list(["<unk>", *(f"\u2581t{word}" for word in range(1, WORDS))])
writer.add_token_scores([0.0] * WORDS)
writer.add_token_types([gguf.TokenType.UNKNOWN] + [gguf.TokenType.NORMAL] * (WORDS - 1))
square, up = (HIDDEN, HIDDEN), (WIDE, HIDDEN)
block = {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square, "ffn_gate": up, "ffn_up": up}
block |= {"ffn_down": (HIDDEN, WIDE), "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}
shapes = {f"blk.0.{name}": shape for name, shape in block.items()}
shapes |= {"token_embd": (WORDS, HIDDEN), "output": (WORDS, HIDDEN), "output_norm": (HIDDEN,)}
for name, shape in shapes.items():
    writer.add_tensor(f"{name}.weight", draw.normal(0, 0.3, shape).astype("float32"))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
PROMPT = draw.integers(1, WORDS, 100).tolist()


def log_probabilities(cache: str, flash: int) -> numpy.ndarray:
    """Of each token after the prompt; ``flash``: 0 for none, -1 for what llama.cpp does by itself."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = "model.gguf"
    parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 256, 1, 1
    parameters.cache_type_k = parameters.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{cache}")
    parameters.flash_attn_type = flash
    server = xllamacpp.Server(parameters)
    url = f"http://127.0.0.1:{server.listening_address.rpartition(':')[2]}/completion"
    body = json.dumps({"prompt": PROMPT, "n_predict": 1, "n_probs": WORDS}).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as answer:
        (first,) = json.load(answer)["completion_probabilities"]
    by_token = {told["id"]: told["logprob"] for told in first["top_logprobs"]}
    assert len(by_token) == WORDS
    return numpy.array([by_token[token] for token in range(WORDS)])


def off(one: numpy.ndarray, other: numpy.ndarray) -> float:
    return float(abs(one - other).max())


by_itself, without = ({cache: log_probabilities(cache, flash) for cache in ("F32", "F16")} for flash in (-1, 0))
between, between_without = off(by_itself["F32"], by_itself["F16"]), off(without["F32"], without["F16"])
print(f"a float32 cache and a float16 one are {between:.1g} apart; without flash attention {between_without:.1g}")
print(f"with a float32 cache flash attention is {off(by_itself['F32'], without['F32']):.1g} off what it is without")
sys.exit(0 if between == 0 and between_without > 1e-5 and off(by_itself["F32"], without["F32"]) > 1e-5 else 1)
PYTHON
