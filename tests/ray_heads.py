"""A Ray head of a test's own, beside whatever else runs: its own ports and folder, and nothing of it is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from processes import end_tree, free_port

PATIENCE_S = 300.0


@contextmanager
def head_folder() -> Iterator[Path]:
    """Short, as paths of sockets must be."""
    folder = Path(tempfile.mkdtemp(prefix="rb", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ray_head(folder: Path, options: list[str], given: Mapping[str, str], is_up: Callable[[], bool]) -> Iterator[None]:
    """Start ``ray start --head`` with ``options`` and the variables ``given``, and wait until ``is_up``."""
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-gpus=0"),
        *("--node-ip-address=127.0.0.1", f"--temp-dir={folder}", f"--dashboard-agent-listen-port={free_port()}"),
        *options,
    ]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **given}
    environment.pop("RAY_ADDRESS", None)
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not is_up():
            assert process.poll() is None, (folder / "head.log").read_text()
            assert time.monotonic() < deadline, (folder / "head.log").read_text()
            time.sleep(0.5)
        yield
    finally:
        end_tree(process)
