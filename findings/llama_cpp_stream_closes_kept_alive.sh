#!/usr/bin/env bash
# llama.cpp's server (xllamacpp 2026.10.11549): the head of a streamed answer says Keep-Alive, and the server closes the
# connection as soon as the stream has ended.
#
# A client that keeps the connection, as the head says, and sends its next request at once sends it into a connection that
# is being closed: the request is lost without an answer. Answers in one piece say the same and do keep it open.
#
# Seen, with xllamacpp==2026.10.11549, gguf==0.19.0:
#     in one piece: says "Keep-Alive: timeout=5, max=100"; a second later the connection is open
#     streamed: says "Keep-Alive: timeout=5, max=100"; a second later the connection is closed
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet xllamacpp==2026.10.11549 gguf==0.19.0
cd "$folder"
venv/bin/python - 2> server.txt <<'PYTHON' || { status=$?; tail -n 5 server.txt >&2; exit "$status"; }
import http.client
import select
import sys

import gguf
import numpy
import xllamacpp

WORDS, HIDDEN, WIDE, HEADS = 64, 64, 128, 2
draw = numpy.random.default_rng(0)
writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_context_length(128)
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

parameters = xllamacpp.CommonParams()
parameters.model.path = "model.gguf"
parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 128, 1, 1
server = xllamacpp.Server(parameters)
port = int(server.listening_address.rpartition(":")[2])


def ask(stream: str) -> tuple[str, bool]:
    """What the head says of keeping the connection, and whether it is closed a second after the whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = f'{{"prompt": [1, 2, 3], "max_tokens": 4, "ignore_eos": true, "stream": {stream}}}'
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    held = connection.sock
    answer = connection.getresponse()
    said = answer.headers.get("Keep-Alive", "nothing")
    assert answer.status == 200 and answer.read()
    readable, _, _ = select.select([held], [], [], 1.0)
    closed = bool(readable) and held.recv(1) == b""
    return said, closed


seen = {"in one piece": ask("false"), "streamed": ask("true")}
for what, (said, closed) in seen.items():
    print(f'{what}: says "Keep-Alive: {said}"; a second later the connection is {"closed" if closed else "open"}')
kept = "timeout=5, max=100"
sys.exit(0 if seen == {"in one piece": (kept, False), "streamed": (kept, True)} else 1)
PYTHON
