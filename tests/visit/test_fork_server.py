"""multiprocessing's fork server leaves nothing in the temporary folder, however its host ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FORK = """
import multiprocessing, os, sys
from raybench.visit import fork_server

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload([])

def answer():
    process = context.Process(target=os.getpid)
    fork_server.start(process)
    process.join()
    return process.exitcode

def unseen(ensure_running):
    # As where a server that was killed is not gone yet when it is looked for: by us, and by multiprocessing.
    calls = []

    def looked_for():
        calls.append(1)
        if len(calls) > 2:
            ensure_running()

    return looked_for

if __name__ == "__main__":
    found = [answer()]
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    os.kill(server, 9)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    found += [answer()]
    server = multiprocessing.forkserver._forkserver
    os.kill(server._forkserver_pid, 9)
    os.waitid(os.P_PID, server._forkserver_pid, os.WEXITED | os.WNOWAIT)
    server.ensure_running = unseen(server.ensure_running)
    found += [answer()]
    print(found, os.listdir(os.environ["TMPDIR"]), flush=True)
    os.kill(os.getpid(), int(sys.argv[1]))
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("length", [1, 150])
def test_a_host_that_is_killed_leaves_nothing(tmp_path: Path, signum: signal.Signals, length: int) -> None:
    """Its folder may also have a longer name than a socket can."""
    folder = tmp_path / ("x" * length)
    folder.mkdir()
    script = tmp_path / "fork.py"
    script.write_text(FORK)
    done = subprocess.run(
        [sys.executable, str(script), str(int(signum))],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (-signum, "")
    assert done.stdout == "[0, 0, 0] []\n"
    assert list(folder.iterdir()) == []
