"""A server of transformers and PEFT that runs already, as people have one (small_engine.py)."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from processes import end_tree, free_port

PATIENCE_S = 150


@contextlib.contextmanager
def running_engine(model: str, adapters: Mapping[str, str]) -> Iterator[str]:
    """Its URL; ``adapters``: folders by name. It asks for no key."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with tempfile.NamedTemporaryFile() as key:
        script = Path(__file__).with_name("small_engine.py")
        named = [f"{name}={folder}" for name, folder in adapters.items()]
        command = [sys.executable, str(script), model, str(port), key.name, *named]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _wait(process, f"{url}/health")
            yield url
        finally:
            end_tree(process)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.1)
    raise AssertionError(f"no server at {url}")
