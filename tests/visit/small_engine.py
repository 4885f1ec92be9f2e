"""A server of a language model and its adapters: transformers and PEFT behind OpenAI's interface.

    python small_engine.py MODEL PORT KEY_FILE [NAME=ADAPTER ...] [--fault=NAME]

Real tokens, by greedy decoding, each told with its id; requests that are under way at once take turns, a token each.
A text's tokens are drawn from its words. An empty file of the key: none is asked for. ``--fault``: ``base-only``
answers adapters by the base, ``sticky`` answers each request by the adapter of the one before, ``batch`` answers
those under way at once by the adapter of the first, ``dies`` ends in the 16th request, ``leaves`` after its answer,
``hangs`` answers no more from the 16th on, ``busy`` refuses it, ``short`` tells a token less than it was asked for,
``whole`` sends an answer in one piece, ``key`` takes no key.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
_NTH = 16


class Engine:
    def __init__(self, model: str, adapters: dict[str, str], fault: str) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(model).eval()
        self.adapters, self.fault, self.asked, self.before = adapters, fault, 0, "base"
        self.lock, self.under_way = threading.Lock(), list[str]()
        if adapters:
            from peft import PeftModel

            names = list(adapters)
            self.model = PeftModel.from_pretrained(self.model, adapters[names[0]], names[0])
            for name in names[1:]:
                self.model.load_adapter(adapters[name], name)
            self.model.eval()

    def tokens(self, name: str, prompt: list[int], count: int) -> Iterator[int]:
        with self.lock:
            self.asked += 1
            if self.fault == "dies" and self.asked == _NTH:
                print("ValueError: the engine has had enough", file=sys.stderr, flush=True)
                os._exit(3)
            if self.fault == "base-only":
                name = "base"
            elif self.fault == "sticky":
                name, self.before = self.before if self.asked > 8 else name, name
            self.under_way.append(name)
        ids, cache = torch.tensor([prompt]), None
        try:
            for _ in range(count):
                with self.lock, torch.inference_mode(), self._by(self.under_way[0] if self.fault == "batch" else name):
                    outputs = self.model(input_ids=ids, past_key_values=cache, use_cache=True)
                    ids, cache = outputs.logits[:, -1:].argmax(-1), outputs.past_key_values
                yield int(ids)
        finally:
            self.under_way.remove(name)

    def _by(self, name: str) -> Any:
        if name != "base":
            self.model.set_adapter(name)
        return self.model.disable_adapter() if self.adapters and name == "base" else contextlib.nullcontext()

    def ids_of(self, asked: dict[str, Any]) -> list[int]:
        prompt = asked.get("prompt")
        if isinstance(prompt, list):
            return prompt
        text = prompt if prompt is not None else " ".join(message["content"] for message in asked["messages"])
        size = self.model.config.vocab_size - 3
        return [3 + zlib.crc32(word.encode()) % size for word in text.split()]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or tokens wait for each other
    engine: Engine
    key: str
    kept: list[bytes] | None = None

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a log of each request would be the largest part of the test's output."""

    def do_GET(self) -> None:
        body = b""
        if self.path == "/v1/models":
            if not self._is_allowed():
                self.send_error(401)
                return
            body = json.dumps({"data": [{"id": name} for name in ("base", *self.engine.adapters)]}).encode()
        elif self.path == "/metrics":
            body = f"# TYPE asked_total counter\nasked_total {self.engine.asked}\n".encode()
        elif self.path != "/health":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        engine = self.engine
        if not self._is_allowed():
            self.send_error(401)
            return
        if asked["model"] not in ("base", *engine.adapters):
            self.send_error(404)
            return
        if engine.fault == "busy" and engine.asked >= _NTH:
            self.send_error(503)
            return
        if engine.fault == "hangs" and engine.asked >= _NTH:
            threading.Event().wait()
        count, ids = asked["max_tokens"] - (engine.fault == "short"), engine.ids_of(asked)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if engine.fault == "whole":
            self.kept = []
        for token in engine.tokens(asked["model"], ids, count):
            said: dict[str, Any] = {"text": f" {token}"}
            if "messages" in asked:
                said = {"delta": {"content": f" {token}"}}
            self._event({"choices": [{"index": 0, **said, "token_ids": [token], "finish_reason": None}]})
        self._event({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
        usage = {"prompt_tokens": len(ids), "completion_tokens": count}
        self._event({"choices": [], "usage": usage | {"total_tokens": sum(usage.values())}})
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"".join([*(self.kept or []), b"0\r\n\r\n"]))
        self.kept = None
        if engine.fault == "leaves" and engine.asked >= _NTH:
            self.wfile.flush()
            os._exit(3)

    def _is_allowed(self) -> bool:
        asked = self.headers["Authorization"]
        return bool(self.engine.fault != "key" and (not self.key or asked == f"Bearer {self.key}"))

    def _event(self, chunk: dict[str, Any]) -> None:
        self._chunk(f"data: {json.dumps(chunk)}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        chunk = b"%x\r\n%b\r\n" % (len(data), data)
        if self.kept is not None:
            self.kept.append(chunk)
        else:
            self.wfile.write(chunk)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    model, port, key_file, *rest = sys.argv[1:]
    fault = next((word.partition("=")[2] for word in rest if word.startswith("--fault=")), "")
    adapters = dict(word.split("=", 1) for word in rest if not word.startswith("--"))
    Handler.engine, Handler.key = Engine(model, adapters, fault), Path(key_file).read_text()
    Server(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
