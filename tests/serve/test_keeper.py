"""The keeper by itself: its log stays short, and without a raybench it starts nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from raybench.serve import keeper


def test_a_log_that_grows_too_long_keeps_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = (
        "from raybench.serve import keeper; import os\n"
        "keeper._LONGEST_LOG, keeper._KEPT_OF_LOG = 1000, 100\n"
        "os.write(1, b'a' * 1000); keeper._cut_log(); os.write(1, b'b' * 50); keeper._cut_log(); os.write(1, b'!')\n"
    )
    with os.fdopen(os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT), "rb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert log.read_text() == "[the log was too long: this is its end]\n" + "a" * 50 + "b" * 50 + "!"


def test_where_raybench_is_not_its_parent_nothing_is_started(tmp_path: Path) -> None:
    read, write = os.pipe()
    arguments = ["1", str(write), "1", "", "touch", str(tmp_path / "made")]
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(keeper.__file__), *arguments], pass_fds=(write,), check=False, timeout=20
    )
    os.close(write)
    with os.fdopen(read, "rb") as told:
        assert told.read() == b""
    assert done.returncode == 1
    assert not (tmp_path / "made").exists()
