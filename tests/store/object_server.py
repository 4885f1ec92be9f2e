"""A real S3 server (moto's) on loopback, in a thread of the tests' process, that can be told to fail."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from raybench.store.location import ObjectUri
from raybench.store.object_client import Patience

T = TypeVar("T")

BUCKET = "bench-runs"
QUICK = Patience(request_s=20.0, retries=2, total_s=60.0, first_pause_s=0.005, longest_pause_s=0.02)
"""Soon over where a store on this machine refuses or hangs up, and never where the machine is only busy."""
HASTY = dataclasses.replace(QUICK, request_s=0.4, retries=6)
"""For stores that answer too late."""
LATE_S = 0.6


@dataclasses.dataclass
class Fault:
    """What becomes of the next ``times`` requests of ``method`` whose path and query contain ``part``.

    ``refuse``: answered so, and not served. ``drop``: the connection is closed, before the request is served
    ("before") or after ("after"), or within its answer's bytes ("within"). ``delay_s``: served that much later.
    """

    part: str = ""
    method: str = ""
    times: int = 1
    refuse: str = ""
    drop: str = ""
    delay_s: float = 0.0
    before: Callable[[], object] = lambda: None
    met: int = 0


class ObjectServer:
    """S3 at ``endpoint``. moto checks a condition and then writes; a lock makes the two one, as S3 promises."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._app = DomainDispatcherApplication(create_backend_app)
        self._one_at_a_time, self._faults_lock = threading.Lock(), threading.Lock()
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self._serving = 0
        self.ignored_header = ""  # a condition that this server does not know, as CGI names it
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def create_bucket(self, name: str) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")).close()

    def reset(self) -> None:
        with self._faults_lock:
            self.faults.clear()
            self.requests.clear()
            self.ignored_header = ""

    def settle(self) -> None:
        """Wait until what was asked of it is served: also what was sent by a client that waits no more."""
        while self._serving:
            time.sleep(0.01)

    def inject(self, **fault: Any) -> Fault:
        self.faults.append(Fault(**fault))
        return self.faults[-1]

    def _fault(self, method: str, path: str) -> Fault | None:
        with self._faults_lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.met < fault.times and fault.part in path and fault.method in ("", method):
                    fault.met += 1
                    return fault
        return None

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._faults_lock:
            self._serving += 1
        try:
            return self._serve_one(environ, start_response)
        finally:
            with self._faults_lock:
                self._serving -= 1

    def _serve_one(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"] + "?" + environ.get("QUERY_STRING", "")
        fault = self._fault(environ["REQUEST_METHOD"], path) or Fault()
        fault.before()
        if fault.delay_s:
            time.sleep(fault.delay_s)
        if fault.refuse:
            status, _, code = fault.refuse.partition(":")
            body = f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode() if code else b""
            start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]
        if fault.drop == "before":
            _hang_up(environ)
        environ.pop(self.ignored_header, None)
        status, headers, body = self._answer(environ)
        if fault.drop == "after":
            _hang_up(environ)
        start_response(status, headers)
        return self._broken_off(body, environ) if fault.drop == "within" else [body]

    def _broken_off(self, body: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        _hang_up(environ)

    def _answer(self, environ: dict[str, Any]) -> tuple[str, Any, bytes]:
        found: list[Any] = []
        with self._one_at_a_time:
            body = b"".join(self._app(environ, lambda status, headers, error=None: found.append((status, headers))))
        return found[0][0], found[0][1], body


def _hang_up(environ: dict[str, Any]) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


def race(actions: Sequence[Callable[[], T]]) -> list[T]:
    """What ``actions`` return, all begun at one moment, each in a thread of its own."""
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], T]) -> T:
        start.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


@pytest.fixture(scope="session")
def _object_server() -> Iterator[ObjectServer]:
    server = ObjectServer()
    server.create_bucket(BUCKET)
    yield server
    server.close()


@pytest.fixture
def s3(_object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    """The server, where this process and those that it starts find it; without faults, and none left behind."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", _object_server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")  # or one would be looked for on the network
    _object_server.reset()
    yield _object_server
    _object_server.reset()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Patience:
    """Stores that fail are given up within a second or so."""
    monkeypatch.setattr("raybench.store.object_storage.PATIENT", QUICK)
    monkeypatch.setattr("raybench.store.object_storage.BRISK", QUICK)
    return QUICK


@pytest.fixture
def bucket(s3: ObjectServer) -> ObjectUri:
    """An empty prefix of a bucket."""
    return ObjectUri("s3", BUCKET) / uuid.uuid4().hex / "results"
