"""A fake server for the tests of one module, told how to answer by each test."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raybench.serve import Endpoint, endpoint_of

SCRIPT = Path(__file__).parent / "fake_server.py"


class Told:
    """A fake server as a test has it. ``url``: its API."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def behave(self, **behaviour: Any) -> Endpoint:
        """From now on so, and nothing of before is known any more."""
        self._ask("/control", json.dumps(behaviour).encode())
        self._ask("/asked?forget")
        return endpoint_of(self.url)

    def asked(self) -> list[dict[str, Any]]:
        """The requests since `behave`."""
        return list(self._ask("/asked")["asked"])

    def connections(self) -> tuple[int, int]:
        """Opened since `behave`, and open now; those of this object are not counted."""
        told = self._ask("/asked")
        return told["connections"], told["open"]

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", body, timeout=30) as answer:
            return json.loads(answer.read())


@contextlib.contextmanager
def fake_server(*options: str) -> Iterator[int]:
    """Its port."""
    command = [sys.executable, str(SCRIPT), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def _server() -> Iterator[Told]:
    with fake_server() as port:
        yield Told(port)


@pytest.fixture
def server(_server: Told) -> Told:
    _server.behave()
    return _server
