"""A server of the OpenAI API in a process of its own that answers as it is told: late, broken, lying, or well.

    python tests/serve/fake_server.py [--models base,support] [--api-key KEY] [--behaviour JSON] [--tls CERT KEY]

It prints its port. ``POST /control`` sets the `Behaviour` of requests from then on, ``GET /asked`` tells what was
asked, and when and for how long it waited, ``GET /asked?forget`` forgets it as well. Answers follow from model and
prompt alone (`expected_ids`). It needs nothing but Python.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import socket
import ssl
import struct
import sys
import time
import zlib
from typing import Any

DONE = b"data: [DONE]\n\n"


@dataclasses.dataclass
class Behaviour:
    """How requests are answered.

    ``ttft_ms`` before the first event, ``token_ms`` before each further one, ``tokens_by_event`` tokens in each.
    ``together``: events are written so many at a time. ``cut``: bytes of a chunk of HTTP; 0 is an event in each.
    ``framing``: where the body ends is told by chunks, by its length, or by closing. ``fault``: what is wrong, at event
    ``at`` where it is a matter of time. ``stamp``: an event's text is the time (perf_counter_ns) it was written at.
    """

    ttft_ms: float = 0.0
    token_ms: float = 0.0
    tokens_by_event: int = 1
    together: int = 1
    cut: int = 0
    newline: str = "\n"
    comments: bool = False
    framing: str = "chunked"
    keep_alive: bool = True
    interim: bool = False
    cached_tokens: int | None = None
    stamp: bool = False
    fault: str = ""
    at: int = 2


def expected_ids(model: str, prompt: Any, count: int) -> list[int]:
    """The tokens that are generated."""
    return [zlib.crc32(f"{model}/{json.dumps(prompt)}/{place}".encode()) % 1000 for place in range(count)]


def expected_text(model: str, prompt: Any, count: int) -> str:
    return "".join(f" {token}" for token in expected_ids(model, prompt, count))


def expected_logprobs(model: str, prompt: Any, count: int) -> list[float]:
    return [-token / 1024 for token in expected_ids(model, prompt, count)]


@dataclasses.dataclass
class Head:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class FakeServer:
    def __init__(self, models: list[str], api_key: str, behaviour: Behaviour) -> None:
        self.models, self.api_key, self.behaviour = models, api_key, behaviour
        self.asked: list[dict[str, Any]] = []
        self.connections = self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while (head := await read_head(reader)) is not None:
                if head.path.startswith(("/control", "/asked")):
                    await self.control(head, writer)
                    break
                if not await self.answer(head, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def control(self, head: Head, writer: asyncio.StreamWriter) -> None:
        """What a test says and asks, on a connection that is not counted."""
        self.connections -= 1
        told = {"asked": self.asked, "connections": self.connections, "open": self.open - 1}
        if head.path == "/control":
            self.behaviour = Behaviour(**json.loads(head.body))
        elif head.path == "/asked?forget":
            self.asked, self.connections = [], 0
        await whole(writer, 200, told)

    async def answer(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        entry: dict[str, Any] = {"method": head.method, "path": head.path, "headers": head.headers}
        entry |= {"body": json.loads(head.body or b"null"), "waited_ms": 0.0, "got_ns": time.perf_counter_ns()}
        self.asked.append(entry)
        if head.path == "/health":
            return await whole(writer, 200, None)
        if head.path == "/metrics":
            return await whole(
                writer, 200, "# TYPE fake:requests counter\nfake:requests 1\n", "text/plain; version=0.0.4"
            )
        if self.api_key and head.headers.get("authorization") != f"Bearer {self.api_key}":
            return await whole(writer, 401, {"error": "Unauthorized"})
        if head.path == "/v1/models":
            return await whole(writer, 200, {"object": "list", "data": [{"id": name} for name in self.models]})
        if head.path in ("/v1/completions", "/v1/chat/completions"):
            return await Generation(self, reader, writer, head.path, entry).run()
        return await whole(writer, 404, {"detail": "Not Found"})


class Generation:
    """One streamed answer."""

    def __init__(
        self,
        server: FakeServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        path: str,
        entry: dict[str, Any],
    ) -> None:
        self.told, self.reader, self.writer, self.entry = server.behaviour, reader, writer, entry
        self.models, self.body, self.chat = server.models, entry["body"], "chat" in path
        self.pending: list[bytes] = []
        self.all_bytes = b""

    async def run(self) -> bool:
        told, body = self.told, self.body
        if body["model"] not in self.models:
            message = f"The model `{body['model']}` does not exist."
            return await whole(self.writer, 404, {"error": {"message": message, "type": "NotFoundError", "code": 404}})
        if told.fault.startswith("status "):
            error = {"error": {"message": "as told:\x1b[31m no\nroom", "code": 1}}
            return await whole(self.writer, int(told.fault.split()[1]), error)
        if told.fault == "endless error":
            return await self.endless()
        if told.fault == "hang before the head":
            return await self.hang()
        if told.fault == "no HTTP":
            self.writer.write(b"\x00\xff\x1b[31m this is no HTTP\r\n\r\n")
            await self.writer.drain()
            return False
        if told.fault == "long head":
            self.writer.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"y" * 1000) for i in range(100)))
            await self.writer.drain()
            return False
        return await self.stream()

    async def hang(self) -> bool:
        """Says nothing until the other side closes."""
        await self.reader.read()
        return False

    async def endless(self) -> bool:
        self.writer.write(b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            self.writer.write(b"no " * 10_000)
            await self.writer.drain()

    async def stream(self) -> bool:
        told = self.told
        if told.framing != "length":
            self.writer.write(self.head())
        if told.fault == "hang after the head":
            return await self.hang()
        if self.chat:
            await self.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "usage": None})
        prompt = self.body["messages"] if self.chat else self.body["prompt"]
        asked = self.body["max_tokens"]
        ids = expected_ids(self.body["model"], prompt, asked)
        for number, first in enumerate(range(0, asked, told.tokens_by_event)):
            await self.wait(told.token_ms if number else told.ttft_ms)
            if number == told.at and await self.fails():
                return False
            if told.fault == "no tokens":
                continue
            of_event = ids[first : first + told.tokens_by_event]
            await self.event({"choices": [self.choice(of_event, first + len(of_event) == asked)], "usage": None})
        if told.fault != "no usage":
            await self.event({"choices": [], "usage": self.usage(prompt, asked)})
        if told.fault == "no last blank line":
            await self.send(DONE.rstrip())
        elif told.fault != "no [DONE]":
            await self.send(DONE.replace(b"\n", told.newline.encode()))
        return await self.end()

    def choice(self, ids: list[int], last: bool) -> dict[str, Any]:
        text = "".join(f" {token}" for token in ids)
        if self.told.stamp:
            text = str(time.perf_counter_ns())
        if self.told.fault == "empty texts" and ids[0] % 2:
            text = ""
        logprobs = [-token / 1024 for token in ids]
        choice: dict[str, Any] = {"index": 0, "finish_reason": None}
        if last and self.told.fault != "no [DONE]":
            choice["finish_reason"] = "length"
        if self.chat:
            choice["delta"] = {"content": text}
            if self.body.get("logprobs"):
                choice["logprobs"] = {"content": [{"token": "x", "logprob": one} for one in logprobs]}
        else:
            choice["text"] = text
            if self.body.get("logprobs") is not None:
                choice["logprobs"] = {"tokens": ["x"] * len(ids), "token_logprobs": logprobs}
        if self.body.get("return_token_ids"):
            choice["token_ids"] = ids
        return choice

    def usage(self, prompt: Any, asked: int) -> dict[str, Any]:
        usage = {"prompt_tokens": len(prompt), "completion_tokens": asked, "total_tokens": len(prompt) + asked}
        if self.told.fault == "wrong usage":
            usage["completion_tokens"] = asked - 1
        if self.told.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self.told.cached_tokens}
        return usage

    async def fails(self) -> bool:
        """What goes wrong within the stream; whether it ends it."""
        fault, raw = self.told.fault, self.writer
        match fault:
            case "close":
                await raw.drain()
                return True
            case "reset":
                await raw.drain()
                connection = raw.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raw.transport.abort()
                return True
            case "hang":
                await self.hang()
                return True
            case "error event":
                await self.event(
                    {"error": {"message": "the engine\x07 died", "type": "InternalServerError", "code": 500}}
                )
            case "old error event":
                await self.event({"object": "error", "message": "the engine died", "code": 500})
            case "no JSON":
                await self.send(b"data: {broken\n\n")
            case "no UTF-8":
                await self.send(b'data: {"choices": [{"index": 0, "text": "\xff\xfe"}]}\n\n')
            case "no HTTP within":
                raw.write(b"zz no chunk\r\n")
                await raw.drain()
            case "two choices":
                await self.event({"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}]})
            case "long event":
                await self.send(b"data: " + b"x" * (5 << 20) + b"\n\n")
        return False

    async def wait(self, ms: float) -> None:
        if ms:
            await self.flush()
            began = time.perf_counter_ns()
            await asyncio.sleep(ms / 1e3)
            self.entry["waited_ms"] += (time.perf_counter_ns() - began) / 1e6

    async def event(self, content: dict[str, Any]) -> None:
        newline = self.told.newline
        comment = f": ping{newline}event: message{newline}" if self.told.comments else ""
        text = json.dumps({"id": "cmpl-1", "object": "text_completion", "model": self.body["model"], **content})
        if self.told.comments:  # an event may have several data lines
            text = text.replace(', "model"', f',{newline}data: "model"')
        await self.send(f"{comment}data: {text}{newline}{newline}".encode())

    async def send(self, data: bytes) -> None:
        self.pending.append(data)
        if len(self.pending) >= self.told.together:
            await self.flush()

    async def flush(self) -> None:
        data, self.pending = b"".join(self.pending), []
        if not data:
            return
        if self.told.framing == "length":
            self.all_bytes += data
            return
        if self.told.framing == "close":
            self.writer.write(data)
        else:
            step = self.told.cut or len(data)
            parts = [data[i : i + step] for i in range(0, len(data), step)]
            self.writer.write(b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts))
        await self.writer.drain()

    async def end(self) -> bool:
        await self.flush()
        end = b""
        if self.told.framing == "length":
            end = self.head(len(self.all_bytes)) + self.all_bytes
        elif self.told.framing == "chunked":
            end = b"0\r\n\r\n"
        if self.told.fault == "more after the end":
            end += b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
        self.writer.write(end)  # in one, so that no reader finds the end alone
        await self.writer.drain()
        return self.told.keep_alive and self.told.framing != "close"

    def head(self, length: int | None = None) -> bytes:
        kind = "text/html" if self.told.fault == "content type" else "text/event-stream; charset=utf-8"
        lines = ["HTTP/1.1 200 OK", f"Content-Type: {kind}"]
        if self.told.interim:
            lines = ["HTTP/1.1 103 Early Hints", "Link: </x>", "", *lines]
        if self.told.fault == "encoded":
            lines.append("Content-Encoding: gzip")
        if length is not None:
            lines.append(f"Content-Length: {length}")
        elif self.told.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        if not self.told.keep_alive:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode()


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = raw.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Head(method, path, headers, body)


async def whole(writer: asyncio.StreamWriter, status: int, found: Any, kind: str = "application/json") -> bool:
    body = found.encode() if isinstance(found, str) else b"" if found is None else json.dumps(found).encode()
    head = f"HTTP/1.1 {status} As told\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return True


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="base,support,sales")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--behaviour", default="{}")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    asked = parser.parse_args()
    context = None
    if asked.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*asked.tls)
    fake = FakeServer(asked.models.split(","), asked.api_key, Behaviour(**json.loads(asked.behaviour)))
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=context, backlog=2048, limit=1 << 26)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Who started it holds its standard input: it ends with them, whatever becomes of them.
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    await stdin.read()


if __name__ == "__main__":
    asyncio.run(main())
