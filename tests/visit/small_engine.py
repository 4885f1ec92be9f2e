"""A server of a language model and its adapters: transformers and PEFT behind OpenAI's interface, one by one.

    python small_engine.py MODEL PORT KEY_FILE [NAME=ADAPTER ...] [--fault=NAME]

Real tokens, by greedy decoding, each told with its id. ``--fault``: ``base-only`` answers adapters by the base,
``sticky`` answers each request by the adapter of the one before, ``dies`` ends in the 16th request, ``short`` tells a
token less than it was asked for, ``whole`` sends an answer in one piece.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)


class Engine:
    def __init__(self, model: str, adapters: dict[str, str], fault: str) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(model).eval()
        self.adapters, self.fault, self.asked, self.before = adapters, fault, 0, "base"
        if adapters:
            from peft import PeftModel

            names = list(adapters)
            self.model = PeftModel.from_pretrained(self.model, adapters[names[0]], names[0])
            for name in names[1:]:
                self.model.load_adapter(adapters[name], name)
            self.model.eval()

    def tokens(self, name: str, prompt: list[int], count: int) -> Iterator[int]:
        self.asked += 1
        if self.fault == "dies" and self.asked == 16:
            print("ValueError: the engine has had enough", file=sys.stderr, flush=True)
            os._exit(3)
        if self.fault == "base-only":
            name = "base"
        elif self.fault == "sticky":
            name, self.before = self.before if self.asked > 8 else name, name
        if name != "base":
            self.model.set_adapter(name)
        beside = self.model.disable_adapter() if self.adapters and name == "base" else contextlib.nullcontext()
        ids, cache = torch.tensor([prompt]), None
        with torch.inference_mode(), beside:
            for _ in range(count):
                outputs = self.model(input_ids=ids, past_key_values=cache, use_cache=True)
                ids, cache = outputs.logits[:, -1:].argmax(-1), outputs.past_key_values
                yield int(ids)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or tokens wait for each other
    engine: Engine
    key: str
    kept: list[bytes] | None = None

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a log of each request would be the largest part of the test's output."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {self.key}":
            self.send_error(401)
            return
        count = asked["max_tokens"] - (self.engine.fault == "short")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.engine.fault == "whole":
            self.kept = []
        for token in self.engine.tokens(asked["model"], asked["prompt"], count):
            self._event({"choices": [{"index": 0, "text": f" {token}", "token_ids": [token], "finish_reason": None}]})
        self._event({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
        usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": count}
        self._event({"choices": [], "usage": usage | {"total_tokens": sum(usage.values())}})
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"".join([*(self.kept or []), b"0\r\n\r\n"]))
        self.kept = None

    def _event(self, chunk: dict[str, Any]) -> None:
        self._chunk(f"data: {json.dumps(chunk)}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        chunk = b"%x\r\n%b\r\n" % (len(data), data)
        if self.kept is not None:
            self.kept.append(chunk)
        else:
            self.wfile.write(chunk)


def main() -> None:
    model, port, key_file, *rest = sys.argv[1:]
    fault = next((word.partition("=")[2] for word in rest if word.startswith("--fault=")), "")
    adapters = dict(word.split("=", 1) for word in rest if not word.startswith("--"))
    Handler.engine, Handler.key = Engine(model, adapters, fault), Path(key_file).read_text()
    HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
