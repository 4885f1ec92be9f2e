"""A small HTTP server for tests, run as a script of its own: ready, late, stubborn, talkative as it is told."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any


def main() -> None:
    told = _arguments()
    if told.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if told.say:
        sys.stdout.write("x" * 99 + "\n" * 1)
        for number in range(told.say // 100):
            sys.stdout.write(f"{number:099d}\n")
    if told.message:
        print(told.message.encode().decode("unicode_escape"), flush=True)
    if told.fork is not None:
        _fork_away(told.fork)
    if told.touch:
        Path(os.environ["TMPDIR"], "left").touch()
    if told.allocate:
        held = bytearray(told.allocate)
        held[::4096] = b"x" * len(held[::4096])
    if told.share is not None:
        shared = SharedMemory(create=True, size=4096)
        told.share.write_text(shared.name)
    if told.signal:
        os.kill(os.getpid(), told.signal)
    if told.exit is not None:
        sys.exit(told.exit)
    if told.never_bind:
        time.sleep(3600)
    ready_from = time.monotonic() + told.ready_after

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/environment":
                text = "\n".join(f"{name}={value}" for name, value in os.environ.items()) + f"\ncwd={Path.cwd()}"
                text += f"\ncores={sorted(os.sched_getaffinity(0))}\nsession={os.getsid(0)}"
                return self._answer(200, text)
            key = self._key()
            if self.path != "/health" and key is not None and self.headers["Authorization"] != f"Bearer {key}":
                return self._answer(401, "who are you?")
            return self._answer(200 if time.monotonic() >= ready_from else 503, "hello")

        def _key(self) -> str | None:
            return Path(told.key_file).read_text() if told.key_file else None

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            return

    HTTPServer.allow_reuse_port = told.reuse_port
    HTTPServer(("127.0.0.1", told.port), Handler).serve_forever()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--ready-after", type=float, default=0.0)
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--say", type=int, default=0)
    parser.add_argument("--message", default="")
    parser.add_argument("--fork", type=Path)
    parser.add_argument("--touch", action="store_true")
    parser.add_argument("--allocate", type=int, default=0)
    parser.add_argument("--share", type=Path)
    parser.add_argument("--signal", type=int, default=0)
    parser.add_argument("--exit", type=int)
    parser.add_argument("--reuse-port", action="store_true")
    parser.add_argument("--never-bind", action="store_true")
    parser.add_argument("--key-file")
    parser.add_argument("--adapter", action="append")
    return parser.parse_args()


def _fork_away(path: Path) -> None:
    """Start a process that leaves this one, its session and its group, as a daemon does; its pid is written."""
    if os.fork():
        while not path.exists():
            time.sleep(0.005)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    aside = path.with_suffix(".aside")
    aside.write_text(str(os.getpid()))
    aside.rename(path)
    time.sleep(3600)
    os._exit(0)


if __name__ == "__main__":
    main()
