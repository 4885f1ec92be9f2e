"""multiprocessing's fork server, without anything of it in the temporary folder.

multiprocessing gives its server a socket in a folder ``pymp-...`` and removes that when the process which asked for
it ends by itself. A worker never does: Ray kills it. So the socket's names are taken away as soon as there is one,
while a descriptor still leads to it.
"""

from __future__ import annotations

import contextlib
import multiprocessing.process
import os
import tempfile
from collections.abc import Iterator
from multiprocessing import forkserver
from typing import Any, Final

_DESCRIPTORS: Final = "/proc/self/fd/"


def ensure_running() -> None:
    """Start the fork server if none runs. Its address is a descriptor of this process, whatever ``TMPDIR`` is called.

    A socket's own path may have 107 bytes only, ``/proc/self/fd/N`` always fits, and leads there after the path is
    gone.
    """
    server: Any = forkserver._forkserver
    with temporary_folder():
        before = server._forkserver_address
        server.ensure_running()
        named = server._forkserver_address
        if named == before:
            return
        if before is not None and before.startswith(_DESCRIPTORS):
            os.close(int(before.removeprefix(_DESCRIPTORS)))
        server._forkserver_address = f"{_DESCRIPTORS}{os.open(named, os.O_PATH | os.O_CLOEXEC)}"


def start(process: Any) -> None:
    """Start a process of the fork server, which is started before if none runs, or anew if it is just dying."""
    ensure_running()
    try:
        process.start()
    except ConnectionRefusedError:
        # It was killed and not yet gone when it was looked for, and multiprocessing takes such a one for running.
        server: Any = forkserver._forkserver
        os.waitid(os.P_PID, server._forkserver_pid, os.WEXITED | os.WNOWAIT)
        ensure_running()
        process.start()


@contextlib.contextmanager
def temporary_folder() -> Iterator[None]:
    """What multiprocessing puts in a folder while this lasts (a socket, shared memory with no room in /dev/shm)."""
    config: dict[str, Any] = multiprocessing.process.current_process()._config  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(prefix="raybench-") as folder:
        held = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        config["tempdir"] = f"{_DESCRIPTORS}{held}"
        try:
            yield
        finally:
            config["tempdir"] = None
            os.close(held)
